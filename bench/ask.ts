/** Asks with a deadline: how many per second, and how long one takes. Run: npx tsx bench/ask.ts */
import type { ActorRef, Reply } from "../src/actors/kernel/types.js";
import { fromEnv, machine, newSystem, permanent, printLatencies, printRates } from "./kernel-report.js";

const asks = fromEnv("BENCH_ASKS", 200_000);
const rounds = fromEnv("BENCH_ROUNDS", 9);

interface Add {
  readonly kind: "add";
  readonly reply: Reply<number>;
}

const adder = () =>
  permanent<Add>("adder", {
    type: "actor",
    behavior: {
      kind: "adder",
      init: () => undefined,
      handle: (state, message) => {
        message.reply.resolve(1);
        return state;
      },
    },
  });

const add = (ref: ActorRef<Add>, signal?: AbortSignal): Promise<number> =>
  ref.ask<number>((reply) => ({ kind: "add", reply }), { timeoutMs: 10_000, signal });

async function concurrent(atOnce: number, withSignal: boolean): Promise<number> {
  const { system, root } = newSystem();
  const ref = root.startActor(adder());
  const startedAt = performance.now();
  let left = asks;
  const worker = async (): Promise<void> => {
    while (left-- > 0) await add(ref, withSignal ? new AbortController().signal : undefined);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  const seconds = (performance.now() - startedAt) / 1000;
  await system.shutdown();
  return asks / seconds;
}

async function oneByOne(samples: number): Promise<number[]> {
  const { system, root } = newSystem();
  const ref = root.startActor(adder());
  const latencies: number[] = [];
  for (let sample = 0; sample < samples; sample++) {
    // From a fresh turn of the loop, as a request from a socket would come.
    await new Promise<void>((resolve) => setImmediate(resolve));
    const startedAt = performance.now();
    await add(ref);
    latencies.push(performance.now() - startedAt);
  }
  await system.shutdown();
  return latencies;
}

console.log(machine);
for (const [name, atOnce, withSignal] of [
  ["ask, 100 at once, deadline", 100, false],
  ["ask, 100 at once, deadline and signal", 100, true],
  ["ask, one at a time, deadline", 1, false],
] as const) {
  const rates: number[] = [];
  for (let round = 0; round < rounds; round++) rates.push(await concurrent(atOnce, withSignal));
  printRates(name, rates, "asks/s");
}
printLatencies("ask of an idle actor, until answered", await oneByOne(20_000));
