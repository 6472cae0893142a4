/** From kill(2) on a container's init to its exit event in a subscriber, and to the answer of a waiting client. */
import type { EventStream } from "../test/support/event-stream.js";
import { createTask } from "../test/support/tasks.js";
import type { Bench } from "./lib/bench.js";
import { alternate, openArena } from "./lib/contestants.js";

export const exitLatencyBench: Bench = {
  name: "exit-latency",
  runtimes: ["runc"],
  run: async ({ entries, runtime, recorder, quick }) => {
    const arena = await openArena(entries, runtime);
    const streams = new Map<string, EventStream>();
    try {
      for (const { name, daemon } of arena.contestants) streams.set(name, await daemon.clients.subscribe([]));
      await alternate(arena, quick ? 2 : 10, async ({ name, daemon, namespace }, round) => {
        const stream = streams.get(name) as EventStream;
        for (let i = 0; i < (quick ? 3 : 10); i++) {
          const id = `exit${round}x${i}`;
          const task = await createTask(daemon, namespace, { id, args: ["/bin/sleep", "100000"] });
          await task.start();
          const waiting = task.wait().then(() => performance.now());
          const told = stream.next("exit", (e) => e.topic === "/tasks/exit" && e.payload?.id === id);
          const killedAt = performance.now();
          process.kill(task.pid, "SIGKILL");
          const [event, answeredAt] = await Promise.all([told, waiting]);
          recorder.add("kill(2) to exit event", "ms", "lower", name, event.receivedAtMs - killedAt);
          recorder.add("kill(2) to answer of wait", "ms", "lower", name, answeredAt - killedAt);
          await task.remove();
        }
      });
    } finally {
      for (const stream of streams.values()) stream.close();
      await arena.dispose();
    }
  },
};
