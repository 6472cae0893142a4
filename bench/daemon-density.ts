/**
 * What many idle containers cost the host besides themselves: memory of daemon and shims at 1, 50 and 200
 * containers, and the CPU time that daemon and shims use while nothing happens.
 */
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { pssBytes } from "../test/support/proc.js";
import { createTask, type Task } from "../test/support/tasks.js";
import { concurrently } from "../test/support/until.js";
import type { Bench } from "./lib/bench.js";
import { type Contestant, openArena } from "./lib/contestants.js";

const processesOf = (contestant: Contestant): number[] => [contestant.daemon.pid, ...contestant.shims()];

const memoryKiB = (contestant: Contestant): number =>
  processesOf(contestant).reduce((sum, pid) => sum + pssBytes(pid), 0) / 1024;

/** Nanoseconds on a CPU, of all threads: finer than the clock ticks of /proc/pid/stat. */
function cpuNanoseconds(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/task`).reduce((sum, thread) => {
      const [onCpu = "0"] = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ");
      return sum + Number(onCpu);
    }, 0);
  } catch {
    return 0;
  }
}

const cpuOf = (contestant: Contestant): number =>
  processesOf(contestant).reduce((sum, pid) => sum + cpuNanoseconds(pid), 0);

export const densityBench: Bench = {
  name: "density",
  runtimes: ["runc"],
  run: async ({ entries, runtime, recorder, quick, log }) => {
    const steps = quick ? [1, 10, 20] : [1, 50, 200];
    const settleMs = quick ? 1_000 : 5_000;
    const idleMs = quick ? 3_000 : 20_000;
    for (let round = 0; round < (quick ? 1 : 3); round++) {
      // A pair of fresh daemons each round, and one after the other: pages shared by two would flatter both.
      for (const entry of round % 2 === 0 ? entries : [...entries].reverse()) {
        const arena = await openArena([entry], runtime);
        try {
          const contestant = arena.contestants[0] as Contestant;
          const { daemon, namespace, name } = contestant;
          await delay(settleMs);
          const empty = memoryKiB(contestant);
          recorder.add("memory without containers", "KiB PSS", "lower", name, empty);
          const tasks: Task[] = [];
          for (const step of steps) {
            const missing = Array.from({ length: step - tasks.length }, (_, index) => tasks.length + index);
            await concurrently(4, missing, async (index) => {
              const id = `idle${index}`;
              const task = await createTask(daemon, namespace, { id, args: ["/bin/sleep", "100000"] });
              await task.start();
              tasks.push(task);
            });
            await delay(settleMs);
            const added = (memoryKiB(contestant) - empty) / step;
            log(`${name}: ${added.toFixed(0)} KiB per container at ${step}`);
            recorder.add(`memory added per container, at ${step}`, "KiB PSS", "lower", name, added);
          }
          const begin = performance.now();
          const cpuBefore = cpuOf(contestant);
          await delay(idleMs);
          const share = (cpuOf(contestant) - cpuBefore) / 1e6 / (performance.now() - begin);
          recorder.add(`idle CPU with ${steps.at(-1)} containers`, "% of a core", "lower", name, share * 100);
          recorder.add(
            `processes beside ${steps.at(-1)} containers`,
            "",
            "lower",
            name,
            processesOf(contestant).length,
          );
          await concurrently(4, tasks, (task) => task.remove());
        } finally {
          await arena.dispose();
        }
      }
    }
  },
};
