/** Many containers at once in one daemon: all of it works while they run, and nothing is left when they are gone. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Daemon, startDaemon, subjectKind } from "../support/daemon.js";
import { expectNoLeaks, keptShim, type LeakSnapshot, takeLeakSnapshot } from "../support/leaks.js";
import { commandLine, countFds, listFds } from "../support/proc.js";
import { describeWith } from "../support/requirements.js";
import { scaled } from "../support/scale.js";
import { processAny } from "../support/spec.js";
import { createTask, type Task } from "../support/tasks.js";
import { concurrently, until } from "../support/until.js";

const width = 8;
const count = scaled(200);

const shimsOf = (daemon: Daemon): number[] =>
  daemon.workspace.processes().filter((pid) => pid !== daemon.pid && /shim/.test(commandLine(pid)));

describeWith(["runc"], "many containers", () => {
  let daemon: Daemon;
  let namespace: string;
  let call: { readonly namespace: string };
  let before: LeakSnapshot;
  let shimFdsBefore: number;
  let tasks: Task[] = [];

  beforeAll(async () => {
    daemon = await startDaemon({ kind: subjectKind() });
    namespace = daemon.workspace.newNamespace();
    call = { namespace };
    // One life first: what a daemon opens once and keeps is no leak.
    const first = await createTask(daemon, namespace, { id: "first", args: ["/bin/sleep", "1000"] });
    await first.start();
    await daemon.clients.tasks.metrics({}, call);
    shimFdsBefore = Math.max(...shimsOf(daemon).map(countFds));
    await first.remove();
    before = takeLeakSnapshot(daemon);
  }, 120_000);

  afterAll(async () => {
    await daemon?.dispose();
  }, 120_000);

  it(`${count} sleeping containers start and run at once`, { timeout: 240_000 }, async () => {
    const ids = Array.from({ length: count }, (_, index) => `many${index}`);
    const created = new Map<string, Task>();
    const outcome = await Promise.allSettled([
      concurrently(width, ids, async (id) => {
        const task = await createTask(daemon, namespace, { id, args: ["/bin/sleep", "100000"] });
        created.set(id, task);
        expect(await task.start()).toBe(task.pid);
      }),
    ]);
    tasks = [...created.values()];
    expect(outcome[0]?.status, String((outcome[0] as PromiseRejectedResult).reason)).toBe("fulfilled");
    expect(new Set(tasks.map((task) => task.pid)).size).toBe(count);
  });

  it("all of them are listed as running", async () => {
    const answer = await daemon.clients.tasks.list({}, call);
    expect(answer.tasks).toHaveLength(count);
    // 2 is RUNNING.
    expect(answer.tasks.filter((process) => process.status !== 2)).toEqual([]);
    const pids = new Map(tasks.map((task) => [task.id, task.pid]));
    for (const process of answer.tasks) expect(process.pid).toBe(pids.get(process.id));
  });

  it("one metrics call answers for all of them", async () => {
    const answer = await daemon.clients.tasks.metrics({}, call);
    expect(new Set(answer.metrics.map((metric) => metric.id)).size).toBe(count);
    expect(answer.metrics.filter((metric) => (metric.data?.value.length ?? 0) === 0)).toEqual([]);
  });

  it("an exec in each of them returns its own exit code", { timeout: 240_000 }, async () => {
    const api = daemon.clients.tasks;
    const wrong: string[] = [];
    await concurrently(width, tasks, async (task, index) => {
      const request = { containerId: task.id, execId: "probe" };
      const expected = index % 200;
      const spec = processAny({ args: ["/bin/sh", "-c", `exit ${expected}`] });
      await api.exec({ ...request, spec }, call);
      const waiting = api.wait(request, call);
      await api.start(request, call);
      const { exitStatus } = await waiting;
      await api.deleteProcess(request, call);
      if (exitStatus !== expected) wrong.push(`${task.id}: ${exitStatus}, expected ${expected}`);
    });
    expect(wrong).toEqual([]);
  });

  it("removing all of them leaves no process, mount, cgroup or file behind", {
    timeout: 240_000,
  }, async () => {
    await concurrently(width, tasks, (task) => task.remove());
    expect((await daemon.clients.tasks.list({}, call)).tasks).toEqual([]);
    await expectNoLeaks(daemon, before, keptShim, 30_000);
  });

  it("descriptors of the daemon and of its shims are back where they were", async () => {
    await until("descriptors to be closed", () => countFds(daemon.pid) <= before.daemonFds + 8).catch(() => {
      throw new Error(`the daemon holds:\n${listFds(daemon.pid).join("\n")}`);
    });
    for (const shim of shimsOf(daemon)) {
      expect(countFds(shim), listFds(shim).join("\n")).toBeLessThanOrEqual(shimFdsBefore + 4);
    }
  });
});
