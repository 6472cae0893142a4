/** The daemon ends, politely or not, and comes back on the same directories; shims end under it. */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Daemon, startDaemon } from "../support/daemon.js";
import type { EventStream, ReceivedEvent } from "../support/event-stream.js";
import { expectNoLeaks, keptShim, takeLeakSnapshot } from "../support/leaks.js";
import { isAlive, mountsUnder } from "../support/proc.js";
import { processAny } from "../support/spec.js";
import { createTask, type Task } from "../support/tasks.js";
import { until } from "../support/until.js";
import { cgroupsOf } from "../support/workspace.js";

const status = { created: 1, running: 2, stopped: 3 };
const sleeper = ["sleep", "1000"];

let daemon: Daemon;
let namespace: string;
beforeEach(async () => {
  daemon = await startDaemon({ kind: "berthd" });
  namespace = daemon.workspace.newNamespace();
});
afterEach(async () => daemon.dispose());

const processOf = async (id: string, execId = "") =>
  (await daemon.clients.tasks.get({ containerId: id, execId }, { namespace })).process;
const startedTask = async (id: string, args: readonly string[] = sleeper): Promise<Task> => {
  const task = await createTask(daemon, namespace, { id, args });
  await task.start();
  return task;
};
const shimPids = (): number[] =>
  readdirSync(join(daemon.state, "shims")).flatMap((shim) => {
    const file = join(daemon.state, "shims", shim, "pid");
    return existsSync(file) ? [Number(JSON.parse(readFileSync(file, "utf8")).pid)] : [];
  });
const eventsOf = (stream: EventStream, id: string): ReceivedEvent[] =>
  stream.received.filter(({ payload }) => payload?.containerId === id);
const isExitOf =
  (id: string) =>
  ({ topic, payload }: ReceivedEvent): boolean =>
    topic === "/tasks/exit" && payload?.id === id;

describe.each(["stop", "kill"] as const)("a daemon that was ended by %s and started again", (end) => {
  it("has its tasks, running as before, and they obey it", async () => {
    const before = takeLeakSnapshot(daemon);
    const running = await startedTask("r");
    const created = await createTask(daemon, namespace, { id: "c", args: sleeper });
    await daemon.clients.tasks.exec(
      { containerId: "r", execId: "e", spec: processAny({ args: sleeper }) },
      { namespace },
    );
    await daemon.clients.tasks.start({ containerId: "r", execId: "e" }, { namespace });
    await daemon[end]();
    expect(isAlive(running.pid)).toBe(true);
    expect(existsSync(daemon.address)).toBe(end === "kill");
    await daemon.restart();
    expect(await processOf("r")).toMatchObject({ pid: running.pid, status: status.running });
    expect(await processOf("r", "e")).toMatchObject({ status: status.running });
    expect(await processOf("c")).toMatchObject({ pid: created.pid, status: status.created });
    const waited = running.wait();
    const execWaited = daemon.clients.tasks.wait({ containerId: "r", execId: "e" }, { namespace });
    await daemon.clients.tasks.kill({ containerId: "r", execId: "e", signal: 9 }, { namespace });
    expect((await execWaited).exitStatus).toBe(137);
    await created.start();
    await running.kill(15);
    await running.kill(9);
    expect(await waited).toBe(137);
    await running.remove();
    await created.remove();
    await expectNoLeaks(daemon, before, keptShim);
  });

  it("tells of an exit that happened meanwhile, once, and knows its status", async () => {
    const task = await startedTask("x");
    await daemon[end]();
    process.kill(task.pid, "SIGTERM"); // init of a pid namespace: only KILL ends a sleep that handles nothing
    process.kill(task.pid, "SIGKILL");
    await until("the container to end", () => !isAlive(task.pid));
    await daemon.restart();
    const stream = await daemon.clients.subscribe([]);
    await stream.next("exit", isExitOf("x"), 10_000);
    expect(await task.wait()).toBe(137);
    expect(await processOf("x")).toMatchObject({ status: status.stopped, exitStatus: 137 });
    await task.remove();
    await stream.next(
      "delete",
      ({ topic, payload }) => topic === "/tasks/delete" && payload?.containerId === "x",
    );
    // What the old daemon had not acknowledged may come again; the end comes once.
    const ends = eventsOf(stream, "x").filter(({ topic }) => /exit|delete/.test(topic));
    expect(ends.map(({ topic }) => topic)).toEqual(["/tasks/exit", "/tasks/delete"]);
    stream.close();
  });
});

describe("a second daemon", () => {
  it("on the same directories is refused, by name of what is in its way", async () => {
    const [node = "", ...args] = commandLineOf(daemon.pid);
    const { status: exitStatus, stderr } = spawnSync(node, args, { encoding: "utf8", timeout: 20_000 });
    expect(exitStatus).toBe(1);
    expect(stderr).toContain(`another berthd (pid ${daemon.pid}) serves ${daemon.state}`);
    expect(await daemon.clients.isServing()).toBe(true);
  });
});

describe("kill -9 of a shim", () => {
  it("ends its tasks with 137, tells everybody, and leaves nothing", async () => {
    const stream = await daemon.clients.subscribe([]);
    const before = takeLeakSnapshot(daemon);
    const tasks = [await startedTask("a"), await startedTask("b")];
    await daemon.clients.tasks.exec(
      { containerId: "a", execId: "e", spec: processAny({ args: sleeper }) },
      { namespace },
    );
    await daemon.clients.tasks.start({ containerId: "a", execId: "e" }, { namespace });
    const waits = tasks.map((task) => task.wait());
    await delay(200); // so that the waits have arrived
    for (const pid of shimPids()) process.kill(pid, "SIGKILL");
    expect(await Promise.all(waits)).toEqual([137, 137]);
    for (const { id, pid } of tasks) {
      await stream.next(
        "delete",
        ({ topic, payload }) => topic === "/tasks/delete" && payload?.containerId === id,
      );
      const told = eventsOf(stream, id);
      expect(told.map(({ topic }) => topic).slice(-2)).toEqual(["/tasks/exit", "/tasks/delete"]);
      expect(told.at(-1)?.payload).toMatchObject({ pid, exitStatus: 137 });
      await expect(processOf(id)).rejects.toMatchObject({ details: `task ${id} not found` });
      expect(isAlive(pid)).toBe(false);
    }
    expect(eventsOf(stream, "a").filter(({ topic }) => topic === "/tasks/exit")).toHaveLength(2);
    expect(mountsUnder(daemon.state)).toEqual([]);
    expect(cgroupsOf(daemon.workspace)).toEqual([]);
    await expectNoLeaks(daemon, before);
    stream.close();
    await tasks[0]?.remove();
    const again = await startedTask("a");
    await again.remove();
    await tasks[1]?.remove();
  });

  it("while the daemon is down is cleaned up when it starts", async () => {
    const before = takeLeakSnapshot(daemon);
    const task = await startedTask("d");
    await daemon.kill();
    for (const pid of shimPids()) process.kill(pid, "SIGKILL");
    await daemon.restart();
    await expect(processOf("d")).rejects.toMatchObject({ details: "task d not found" });
    await until("the container to end", () => !isAlive(task.pid));
    await expectNoLeaks(daemon, before, { allowFds: 8 });
    await task.remove();
  });
});

describe("kill -9 of the daemon at any moment", () => {
  it("leaves only tasks that its successor knows and can delete", async () => {
    const before = takeLeakSnapshot(daemon);
    const names = Array.from({ length: 6 }, (_, n) => `k${n}`);
    for (const pauseMs of [10, 60, 150]) {
      const lives = Promise.allSettled(
        names.map(async (id) => {
          const task = await startedTask(id, ["true"]);
          await task.remove();
        }),
      );
      await delay(pauseMs);
      await daemon.kill();
      await lives;
      await daemon.restart();
      for (const id of names) await removeWhatIsThere(id);
    }
    await expectNoLeaks(daemon, before, keptShim, 20_000);
  });
});

/** Ends and deletes the task and the container, as far as there are any; a creation may still be under way. */
async function removeWhatIsThere(id: string): Promise<void> {
  const { tasks, containers } = daemon.clients;
  await until(`${id} to be gone`, async () => {
    await tasks.kill({ containerId: id, signal: 9 }, { namespace }).catch(() => undefined);
    await tasks.delete({ containerId: id }, { namespace }).catch(() => undefined);
    const left = await processOf(id).catch((error: { statusCode?: number }) => error.statusCode);
    return left === 5;
  });
  await containers.delete({ id }, { namespace }).catch(() => undefined);
}

describe("an OCI runtime that is not there", () => {
  it("fails Create with its name, and leaves nothing", async () => {
    await daemon.dispose();
    daemon = await startDaemon({
      kind: "berthd",
      config: '[plugins."berth.runtime"]\nbinary = "no-such-runc"\n',
    });
    namespace = daemon.workspace.newNamespace();
    const before = takeLeakSnapshot(daemon);
    await expect(createTask(daemon, namespace, { id: "m", args: sleeper })).rejects.toMatchObject({
      statusCode: 2,
      details: expect.stringMatching(/^failed to create shim task: .*no-such-runc.*(not found|no such file)/),
    });
    await expectNoLeaks(daemon, before, keptShim);
  });
});

const commandLineOf = (pid: number): string[] =>
  readFileSync(`/proc/${pid}/cmdline`, "utf8")
    .split("\0")
    .filter((word) => word !== "");
