/**
 * What a storm of crashes costs: thousands of actors that fall at once, how long until all are back, and how
 * long a healthy actor's answer takes meanwhile. Also the memory of an idle actor. Run: npx tsx bench/restart-storm.ts
 */
import type { ActorRef, Reply } from "../src/actors/kernel/types.js";
import { fromEnv, machine, newSystem, permanent, printLatencies, printRates } from "./kernel-report.js";

const actors = fromEnv("BENCH_ACTORS", 10_000);
const rounds = fromEnv("BENCH_ROUNDS", 9);

type Message = { readonly kind: "crash" } | { readonly kind: "ping"; readonly reply: Reply<void> };

const fragile = (id: string) =>
  permanent<Message>(id, {
    type: "actor",
    behavior: {
      kind: "fragile",
      init: () => undefined,
      handle: (state, message) => {
        if (message.kind === "crash") throw new Error("storm");
        message.reply.resolve();
        return state;
      },
    },
  });

const ping = (ref: ActorRef<Message>): Promise<void> =>
  ref.ask<void>((reply) => ({ kind: "ping", reply }), { timeoutMs: 60_000 });

async function storm(latencies: number[]): Promise<number> {
  const { system, root } = newSystem(Number.POSITIVE_INFINITY);
  const refs = Array.from({ length: actors }, (_, index) => root.startActor(fragile(`a${index}`)));
  const healthy = root.startActor(fragile("healthy"));
  const startedAt = performance.now();
  for (const ref of refs) ref.tell({ kind: "crash" });
  // The ping waits behind the crash: answered means restarted.
  let waiting = true;
  const back = Promise.all(refs.map(ping)).then(() => {
    waiting = false;
  });
  while (waiting) {
    const askedAt = performance.now();
    await ping(healthy);
    latencies.push(performance.now() - askedAt);
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  await back;
  const seconds = (performance.now() - startedAt) / 1000;
  if (system.counters.restarts !== actors) throw new Error(`${system.counters.restarts} restarts`);
  await system.shutdown();
  return actors / seconds;
}

async function memoryPerActor(): Promise<number | undefined> {
  const collect = (globalThis as { gc?: () => void }).gc;
  if (collect === undefined) return undefined;
  const { system, root } = newSystem();
  collect();
  const before = process.memoryUsage().heapUsed;
  const refs = Array.from({ length: actors }, (_, index) => root.startActor(fragile(`a${index}`)));
  await Promise.all(refs.map(ping));
  collect();
  const after = process.memoryUsage().heapUsed;
  await system.shutdown();
  return (after - before) / actors;
}

console.log(machine);
const rates: number[] = [];
const latencies: number[] = [];
for (let round = 0; round < rounds; round++) rates.push(await storm(latencies));
printRates(`crash and restart of ${actors} actors`, rates, "restarts/s");
printLatencies("ask of a healthy neighbour meanwhile", latencies);
const bytes = await memoryPerActor();
console.log(
  bytes === undefined
    ? "memory per idle actor: run with --expose-gc"
    : `memory per idle actor: ${Math.round(bytes)} bytes`,
);
