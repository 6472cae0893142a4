/** How many tells per second actors take, and how long a tell to an idle actor waits. Run: npx tsx bench/mailbox.ts */
import type { ActorRef } from "../src/actors/kernel/types.js";
import {
  deferred,
  fromEnv,
  machine,
  newSystem,
  permanent,
  printLatencies,
  printRates,
} from "./kernel-report.js";

const messages = fromEnv("BENCH_MESSAGES", 1_000_000);
const rounds = fromEnv("BENCH_ROUNDS", 9);

interface Tick {
  readonly kind: "tick";
  readonly left: number;
}

/** Bursts of 1000 into one mailbox; the time ends when the last message is handled. */
async function oneReceiver(): Promise<number> {
  const { system, root } = newSystem();
  const finished = deferred<void>();
  let count = 0;
  const receiver = root.startActor(
    permanent<Tick>("receiver", {
      type: "actor",
      mailboxLimit: messages,
      behavior: {
        kind: "receiver",
        init: () => undefined,
        handle: (state) => {
          if (++count === messages) finished.resolve();
          return state;
        },
      },
    }),
  );
  const tick: Tick = { kind: "tick", left: 0 };
  const startedAt = performance.now();
  for (let sent = 0; sent < messages; ) {
    for (let burst = 0; burst < 1000 && sent < messages; burst++, sent++) receiver.tell(tick, "bench");
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  await finished.promise;
  const seconds = (performance.now() - startedAt) / 1000;
  await system.shutdown();
  return messages / seconds;
}

/** A thousand actors in a ring pass a hundred tokens on: every message wakes another actor. */
async function ring(): Promise<number> {
  const { system, root } = newSystem();
  const size = 1000;
  const tokens = 100;
  const hops = Math.floor(messages / tokens);
  const refs: ActorRef<Tick>[] = [];
  const finished = deferred<void>();
  let arrived = 0;
  for (let index = 0; index < size; index++) {
    refs.push(
      root.startActor(
        permanent<Tick>(`node-${index}`, {
          type: "actor",
          behavior: {
            kind: "node",
            init: () => undefined,
            handle: (state, message) => {
              if (message.left > 0) refs[(index + 1) % size]?.tell({ kind: "tick", left: message.left - 1 });
              else if (++arrived === tokens) finished.resolve();
              return state;
            },
          },
        }),
      ),
    );
  }
  const startedAt = performance.now();
  for (let token = 0; token < tokens; token++) refs[token * 10]?.tell({ kind: "tick", left: hops - 1 });
  await finished.promise;
  const seconds = (performance.now() - startedAt) / 1000;
  await system.shutdown();
  return (hops * tokens) / seconds;
}

/** One tell at a time into an idle system, from an event-loop callback. */
async function idleLatency(samples: number): Promise<number[]> {
  const { system, root } = newSystem();
  let handledAt = deferred<number>();
  const receiver = root.startActor(
    permanent<Tick>("receiver", {
      type: "actor",
      behavior: {
        kind: "receiver",
        init: () => undefined,
        handle: (state) => {
          handledAt.resolve(performance.now());
          return state;
        },
      },
    }),
  );
  const latencies: number[] = [];
  for (let sample = 0; sample < samples; sample++) {
    handledAt = deferred<number>();
    await new Promise<void>((resolve) => setImmediate(resolve));
    const sentAt = performance.now();
    receiver.tell({ kind: "tick", left: 0 });
    latencies.push((await handledAt.promise) - sentAt);
  }
  await system.shutdown();
  return latencies;
}

console.log(machine);
for (const [name, run] of [
  ["tell, one receiver, bursts of 1000", oneReceiver],
  ["tell, ring of 1000 actors, 100 tokens", ring],
] as const) {
  const rates: number[] = [];
  for (let round = 0; round < rounds; round++) rates.push(await run());
  printRates(name, rates, "messages/s");
}
printLatencies("tell to an idle actor, until handled", await idleLatency(20_000));
