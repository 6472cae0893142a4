/** Containers that exit at once, many at a time: each exit status must be the process' own. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Daemon, startDaemon, subjectKind } from "../support/daemon.js";
import type { EventStream } from "../support/event-stream.js";
import { expectNoLeaks, keptShim, takeLeakSnapshot } from "../support/leaks.js";
import { describeWith } from "../support/requirements.js";
import { scaled } from "../support/scale.js";
import { createTask } from "../support/tasks.js";
import { concurrently } from "../support/until.js";

const count = scaled(1000);
const width = 8;
/** Signals whose default action ends a process, and that no shell handles. */
const signals = [1, 2, 6, 8, 9, 10, 11, 12, 13, 14, 15];

interface Ending {
  readonly script: string;
  readonly exitStatus: number;
}

/** Half by code, half by signal, every code and every signal many times. */
function endingOf(index: number): Ending {
  const turn = Math.floor(index / 2);
  if (index % 2 === 0) return { script: `exit ${turn % 256}`, exitStatus: turn % 256 };
  const signal = signals[turn % signals.length] ?? 9;
  return { script: `kill -${signal} $$; sleep 60`, exitStatus: 128 + signal };
}

describeWith(["runc"], "exit statuses under load", () => {
  let daemon: Daemon;
  let events: EventStream;

  beforeAll(async () => {
    daemon = await startDaemon({ kind: subjectKind() });
    events = await daemon.clients.subscribe([]);
  }, 60_000);

  afterAll(async () => {
    events?.close();
    await daemon?.dispose();
  }, 120_000);

  it(`${count} of ${count} containers report their own exit status, in wait, delete and event`, {
    timeout: 400_000,
  }, async () => {
    const namespace = daemon.workspace.newNamespace();
    const before = takeLeakSnapshot(daemon);
    const wrong: string[] = [];
    const expected = new Map<string, number>();
    await concurrently(width, Array.from({ length: count }), async (_, index) => {
      const id = `exit${index}`;
      const { script, exitStatus } = endingOf(index);
      expected.set(id, exitStatus);
      const task = await createTask(daemon, namespace, {
        id,
        args: ["/bin/sh", "-c", script],
        // In a pid namespace of its own, init is immune to its own signals.
        linuxNamespaces: ["ipc", "uts", "mount"],
      });
      const waiting = task.wait();
      await task.start();
      const waited = await waiting;
      const deleted = await daemon.clients.tasks.delete({ containerId: id }, { namespace });
      await daemon.clients.containers.delete({ id }, { namespace });
      if (waited !== exitStatus || deleted.exitStatus !== exitStatus) {
        wrong.push(`${id}: wait ${waited}, delete ${deleted.exitStatus}, expected ${exitStatus}`);
      }
    });
    expect(wrong).toEqual([]);

    await events.next(
      "the last delete event",
      () => events.received.filter((event) => event.topic === "/tasks/delete").length >= count,
    );
    const inOrder = new Map<string, string[]>();
    for (const event of events.received.filter((event) => event.namespace === namespace)) {
      const id = String(event.payload?.containerId ?? "");
      if (!event.topic.startsWith("/tasks/")) continue;
      inOrder.set(id, [...(inOrder.get(id) ?? []), event.topic]);
      if (event.topic === "/tasks/exit") expect(event.payload?.exitStatus, id).toBe(expected.get(id));
    }
    const life = ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"];
    expect([...inOrder].filter(([, topics]) => topics.join() !== life.join())).toEqual([]);
    expect(inOrder.size).toBe(count);
    await expectNoLeaks(daemon, before, keptShim, 30_000);
  });
});
