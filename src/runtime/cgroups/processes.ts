/** The processes of a cgroup and of those below it: listing, freezing, killing all. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { deadlineExceeded, failedPrecondition } from "../../core/errors.js";
import { sendSignal } from "../../native/process.js";
import { parseKeyValues, readCgroupFile, writeCgroupFile } from "./files.js";
import { type CgroupPaths, own, processDirectory } from "./locate.js";

/** Pids in the container's cgroup and below, without repeats, rising. Empty when the cgroup is gone. */
export function listPids(cgroups: CgroupPaths): number[] {
  const directory = processDirectory(cgroups);
  if (directory === undefined) return [];
  const pids = new Set<number>();
  collect(directory, pids);
  return [...pids].sort((a, b) => a - b);
}

function collect(directory: string, pids: Set<number>): void {
  for (const line of (readCgroupFile(directory, "cgroup.procs") ?? "").split("\n")) {
    const pid = Number(line);
    // 0 is a process of another pid namespace: nothing that can be named here.
    if (pid > 0) pids.add(pid);
  }
  for (const name of subdirectories(directory)) collect(join(directory, name), pids);
}

function subdirectories(directory: string): string[] {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name);
  } catch {
    return [];
  }
}

/** Stops every process until `thaw`. Rejects deadline-exceeded, thawed again, when they do not all stop. */
export async function freeze(cgroups: CgroupPaths, deadlineMs: number): Promise<void> {
  const directory = freezerDirectory(cgroups);
  const end = performance.now() + deadlineMs;
  setFrozen(cgroups, directory, true);
  for (let attempt = 1; !isFrozen(cgroups, directory); attempt++) {
    if (performance.now() >= end) {
      setFrozen(cgroups, directory, false);
      throw deadlineExceeded(`cgroup ${directory} did not freeze within ${deadlineMs} ms`);
    }
    // A v1 freezer can be stuck for ever: a thread that execs waits, unfreezable, for its siblings to die, and
    // those are frozen already. Thawing lets them go; then it starts over.
    if (cgroups.version === "v1" && attempt % attemptsBeforeThaw === 0) setFrozen(cgroups, directory, false);
    await new Promise((resolve) => setTimeout(resolve, Math.min(attempt, 10)));
    setFrozen(cgroups, directory, true);
  }
}

const attemptsBeforeThaw = 5;

/** Lets the processes run again. Harmless when they do. */
export function thaw(cgroups: CgroupPaths): void {
  setFrozen(cgroups, freezerDirectory(cgroups), false);
}

/** True while every process is stopped by the freezer; false when there is no freezer. */
export function frozen(cgroups: CgroupPaths): boolean {
  const directory = own(cgroups, cgroups.version === "v2" ? cgroups.unified : cgroups.controllers.freezer);
  return directory !== undefined && isFrozen(cgroups, directory);
}

function freezerDirectory(cgroups: CgroupPaths): string {
  const directory = own(cgroups, cgroups.version === "v2" ? cgroups.unified : cgroups.controllers.freezer);
  if (directory === undefined) throw failedPrecondition("the container has no freezer cgroup of its own");
  return directory;
}

function setFrozen(cgroups: CgroupPaths, directory: string, on: boolean): void {
  if (cgroups.version === "v2") writeCgroupFile(directory, "cgroup.freeze", on ? "1" : "0");
  else writeCgroupFile(directory, "freezer.state", on ? "FROZEN" : "THAWED");
}

function isFrozen(cgroups: CgroupPaths, directory: string): boolean {
  if (cgroups.version === "v2")
    return parseKeyValues(readCgroupFile(directory, "cgroup.events")).get("frozen") === 1n;
  return readCgroupFile(directory, "freezer.state")?.trim() === "FROZEN";
}

const SIGKILL = 9;

/**
 * Kills every process of the container and returns when none is left. Rejects deadline-exceeded naming how
 * many are (in uninterruptible sleep, say). A container without a cgroup of its own is refused.
 */
export async function killAll(cgroups: CgroupPaths, deadlineMs: number): Promise<void> {
  const directory = processDirectory(cgroups);
  if (directory === undefined) throw failedPrecondition("the container has no cgroup of its own");
  const end = performance.now() + deadlineMs;
  for (let pauseMs = 1; ; pauseMs = Math.min(pauseMs * 2, 50)) {
    killOnce(cgroups, directory);
    const left = listPids(cgroups).length;
    if (left === 0) return;
    if (performance.now() >= end)
      throw deadlineExceeded(
        `${left} processes of cgroup ${directory} outlived SIGKILL for ${deadlineMs} ms`,
      );
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

function killOnce(cgroups: CgroupPaths, directory: string): void {
  try {
    // Linux 5.14: atomic, forks included, frozen or not.
    if (cgroups.version === "v2") {
      writeCgroupFile(directory, "cgroup.kill", "1");
      return;
    }
  } catch {
    // Older: one by one, below.
  }
  for (const pid of listPids(cgroups)) sendSignal(pid, SIGKILL);
  // A v1 freezer keeps even the killed ones from dying, whether we or a pause froze them.
  if (frozen(cgroups)) thaw(cgroups);
}

/**
 * Sends a signal to every process of the container, none of which can fork away meanwhile: they are frozen for
 * that moment. A paused container stays paused and meets the signal when it resumes.
 */
export async function signalAll(cgroups: CgroupPaths, signal: number, deadlineMs: number): Promise<void> {
  const paused = frozen(cgroups);
  if (!paused) await freeze(cgroups, deadlineMs);
  try {
    for (const pid of listPids(cgroups)) sendSignal(pid, signal);
  } finally {
    if (!paused) thaw(cgroups);
  }
}
