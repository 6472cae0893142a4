/** Taking containers apart: the task first, then the record, and what a client of ours left on disk. */
import { constants } from "node:os";
import type { DaemonClient } from "../client/daemon-client.js";
import { removeFifoDirectory } from "../client/fifo-set.js";
import { type Process, taskState } from "../client/records.js";
import { toDaemonError } from "../core/errors.js";
import { CliError } from "./cli-error.js";

/** Killing, reaping and deleting together; above any drain budget of a daemon. */
const removalMs = 30_000;

/** `pending`'s value, or undefined when the daemon says that there is no such thing. */
export async function ifFound<T>(pending: Promise<T>): Promise<T | undefined> {
  try {
    return await pending;
  } catch (error) {
    if (toDaemonError(error).kind === "not-found") return undefined;
    throw error;
  }
}

/** The task of a container, or undefined when it has none. */
export async function taskOf(client: DaemonClient, id: string): Promise<Process | undefined> {
  return (await ifFound(client.tasks.get({ containerId: id })))?.process;
}

/** Kills and reaps the task if there is one. */
export async function destroyTask(client: DaemonClient, id: string): Promise<void> {
  const task = await taskOf(client, id);
  if (task === undefined) return;
  if (taskState(task) !== "stopped") {
    await ifFound(client.tasks.kill({ containerId: id, signal: constants.signals.SIGKILL, all: true }));
    // On cgroup v1 a frozen process does not even die.
    if (taskState(task).startsWith("paus")) await client.tasks.resume({ containerId: id }).catch(() => {});
    await ifFound(client.tasks.wait({ containerId: id }, { deadlineMs: removalMs }));
  }
  await deleteTask(client, id, task);
}

/** Deletes a task that has stopped (or was never started). */
export async function deleteTask(client: DaemonClient, id: string, task: Process): Promise<void> {
  await ifFound(client.tasks.delete({ containerId: id }, { deadlineMs: removalMs }));
  if (task.stdout.startsWith("/")) removeFifoDirectory(task.stdout);
}

/** Removes task and record, whatever state they are in. */
export async function destroyContainer(client: DaemonClient, id: string): Promise<void> {
  await destroyTask(client, id);
  await ifFound(client.containers.delete({ id }));
}

/** As `destroyContainer`, but only of a container that does not run; says so otherwise. */
export async function removeContainer(client: DaemonClient, id: string, force: boolean): Promise<void> {
  // Asked first: deleting an unknown container must be an error, not a quiet success.
  await client.containers.get({ id });
  const task = await taskOf(client, id);
  if (task !== undefined && !force) {
    if (taskState(task) !== "stopped")
      throw new CliError(`container ${id} is ${taskState(task)}: stop it first, or use rm -f`);
    await deleteTask(client, id, task);
  } else if (task !== undefined) await destroyTask(client, id);
  await client.containers.delete({ id });
}
