/**
 * Output of one container through the client's FIFO: MB/s to a reader in a process of its own, and CPU seconds
 * that daemon and shims spend per GB. Containers' and reader's CPU time is not counted.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { stdioConfig } from "../test/support/daemon.js";
import { makeFifo } from "../test/support/fifo.js";
import { processFacts } from "../test/support/proc.js";
import { createContainer, endTask } from "../test/support/tasks.js";
import type { Bench } from "./lib/bench.js";
import { alternate, type Contestant, openArena } from "./lib/contestants.js";

const ticksPerSecond = 100;

function cpuSeconds(contestant: Contestant): number {
  const pids = [contestant.daemon.pid, ...contestant.shims()];
  return pids.reduce((sum, pid) => sum + (processFacts(pid)?.cpuTicks ?? 0), 0) / ticksPerSecond;
}

export const stdioBench: Bench = {
  name: "stdio",
  runtimes: ["runc"],
  run: async ({ entries, runtime, recorder, quick }) => {
    const list = entries.flatMap((entry) =>
      entry.kind === "berthd"
        ? [
            { ...entry, name: "berthd, direct", config: stdioConfig("direct") },
            { ...entry, name: "berthd, pumped", config: stdioConfig("pump") },
          ]
        : [entry],
    );
    const arena = await openArena(list, runtime);
    try {
      const megabytes = quick ? 200 : 2000;
      await alternate(arena, quick ? 1 : 5, async (contestant, round) => {
        const { name, daemon, namespace } = contestant;
        const call = { namespace };
        for (const terminal of [false, true]) {
          const size = terminal ? megabytes / 10 : megabytes;
          const id = `io${round}${terminal ? "t" : "p"}`;
          const fifo = makeFifo(join(daemon.workspace.newDirectory("f"), "out"));
          const args = ["/bin/dd", "if=/dev/zero", "bs=65536", `count=${Math.round((size * 1e6) / 65536)}`];
          await createContainer(daemon, namespace, { id, args, terminal });
          const reader = spawn("cat", [fifo], { stdio: ["ignore", "ignore", "inherit"] });
          const closed = once(reader, "exit");
          const request = { containerId: id, stdout: fifo, stderr: "", terminal };
          // containerd wants both streams or none, unless it is a terminal; dd's summary goes to /dev/null.
          await daemon.clients.tasks.create(terminal ? request : { ...request, stderr: "/dev/null" }, call);
          const cpuBefore = cpuSeconds(contestant);
          const begin = performance.now();
          await daemon.clients.tasks.start({ containerId: id }, call);
          await daemon.clients.tasks.wait({ containerId: id }, { ...call, timeoutMs: 300_000 });
          // Ends when the shim lets go of the FIFO, which is when the last byte was delivered.
          await closed;
          const seconds = (performance.now() - begin) / 1000;
          const cpu = cpuSeconds(contestant) - cpuBefore;
          const what = terminal ? "terminal output" : "output";
          recorder.add(`${what}, MB per second`, "MB/s", "higher", name, size / seconds);
          recorder.add(`${what}, daemon and shim CPU per GB`, "s/GB", "lower", name, (cpu * 1000) / size);
          await endTask(daemon, namespace, id);
          await daemon.clients.containers.delete({ id }, call);
        }
      });
    } finally {
      await arena.dispose();
    }
  },
};
