/** Create+start one by one and many at a time, exec, and removal: milliseconds as the client sees them. */
import { processAny } from "../test/support/spec.js";
import { createTask, type Task } from "../test/support/tasks.js";
import { concurrently } from "../test/support/until.js";
import type { Bench, BenchContext } from "./lib/bench.js";
import { type Arena, alternate, type Contestant, openArena } from "./lib/contestants.js";

const timed = async <T>(work: () => Promise<T>): Promise<{ value: T; ms: number }> => {
  const begin = performance.now();
  const value = await work();
  return { value, ms: performance.now() - begin };
};

let counter = 0;

async function startOne(contestant: Contestant): Promise<Task> {
  const { daemon, namespace, runtimeOptions } = contestant;
  const options = runtimeOptions === undefined ? {} : { runtimeOptions };
  const id = `bench${counter++}`;
  const task = await createTask(daemon, namespace, { id, args: ["/bin/sleep", "100000"], ...options });
  await task.start();
  return task;
}

async function startBurst(context: BenchContext, arena: Arena, width: number, count: number): Promise<void> {
  const { recorder } = context;
  const rounds = context.quick ? 1 : 5;
  await alternate(arena, rounds, async (contestant) => {
    const tasks: Task[] = [];
    const burst = await timed(() =>
      concurrently(width, Array.from({ length: count }), async () => {
        const one = await timed(() => startOne(contestant));
        tasks.push(one.value);
        recorder.add(`create+start, ${width} at a time`, "ms", "lower", contestant.name, one.ms);
      }),
    );
    const rate = (count * 1000) / burst.ms;
    recorder.add(`starts per second, ${width} at a time`, "1/s", "higher", contestant.name, rate);
    const removal = await timed(() => concurrently(width, tasks, (task) => task.remove()));
    const removed = (count * 1000) / removal.ms;
    recorder.add(`removals per second, ${width} at a time`, "1/s", "higher", contestant.name, removed);
  });
}

async function runExec(contestant: Contestant, containerId: string, execId: string): Promise<void> {
  const { tasks } = contestant.daemon.clients;
  const call = { namespace: contestant.namespace };
  const request = { containerId, execId };
  await tasks.exec({ ...request, spec: processAny({ args: ["/bin/true"] }) }, call);
  const waiting = tasks.wait(request, call);
  await tasks.start(request, call);
  await waiting;
  await tasks.deleteProcess(request, call);
}

/**
 * The first lives of a daemon open what it keeps, and a just-in-time compiler has seen nothing yet: daemons run
 * for weeks, so neither is part of any sample. Both contestants get the same.
 */
async function warmUp(contestant: Contestant, quick: boolean): Promise<void> {
  await concurrently(4, Array.from({ length: quick ? 1 : 60 }), async () =>
    (await startOne(contestant)).remove(),
  );
  const host = await startOne(contestant);
  for (let i = 0; i < (quick ? 1 : 200); i++) await runExec(contestant, host.id, `warm${i}`);
  await host.remove();
}

export const lifecycleBench: Bench = {
  name: "lifecycle",
  runtimes: ["runc", "crun"],
  run: async (context) => {
    const { recorder, quick } = context;
    const arena = await openArena(context.entries, context.runtime);
    try {
      for (const contestant of arena.contestants) await warmUp(contestant, quick);

      await alternate(arena, quick ? 2 : 10, async (contestant) => {
        const tasks: Task[] = [];
        for (let i = 0; i < (quick ? 3 : 10); i++) {
          const one = await timed(() => startOne(contestant));
          recorder.add("create+start, one by one", "ms", "lower", contestant.name, one.ms);
          tasks.push(one.value);
        }
        for (const task of tasks) {
          const one = await timed(() => task.remove());
          recorder.add("kill+wait+delete, one by one", "ms", "lower", contestant.name, one.ms);
        }
      });

      await startBurst(context, arena, 8, quick ? 16 : 64);
      await startBurst(context, arena, 32, quick ? 32 : 96);

      const hosts = new Map<string, Task>();
      for (const contestant of arena.contestants) hosts.set(contestant.name, await startOne(contestant));
      await alternate(arena, quick ? 2 : 10, async (contestant, round) => {
        const containerId = hosts.get(contestant.name)?.id ?? "";
        for (let i = 0; i < (quick ? 3 : 10); i++) {
          const one = await timed(() => runExec(contestant, containerId, `e${round}x${i}`));
          recorder.add("exec of true, added to deleted", "ms", "lower", contestant.name, one.ms);
        }
      });
    } finally {
      await arena.dispose();
    }
  },
};
