/** What the kernel's benches share: a system to measure on, and how they print. */
import { cpus } from "node:os";
import { createActorSystem } from "../src/actors/kernel/system.js";
import type { ActorSpec, ActorSystem, ChildSpec, SupervisorRef } from "../src/actors/kernel/types.js";
import { systemClock } from "../src/core/clock.js";
import { createEventLoopScheduler } from "../src/core/event-loop-scheduler.js";
import { silentLogger } from "../src/core/logger.js";

export const machine = `${cpus()[0]?.model ?? "unknown cpu"}, ${cpus().length} cores, node ${process.version}`;

export const fromEnv = (name: string, otherwise: number): number => Number(process.env[name] ?? otherwise);

/** A system as the daemon runs it: real clock, event-loop scheduler. */
export function newSystem(intensity = 1): { readonly system: ActorSystem; readonly root: SupervisorRef } {
  const system = createActorSystem({
    clock: systemClock,
    scheduler: createEventLoopScheduler(),
    log: silentLogger,
  });
  const root = system.start({
    type: "supervisor",
    strategy: "one-for-one",
    intensity,
    periodMs: 60_000,
    children: [],
  });
  return { system, root };
}

export function permanent<M>(
  id: string,
  start: ActorSpec<unknown, M>,
): ChildSpec & { readonly start: ActorSpec<unknown, M> } {
  return { id, start, restart: "permanent", shutdownMs: 1000 };
}

const at = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;

/** Rates of several rounds: the slowest ones are the tail. */
export function printRates(name: string, rates: readonly number[], unit: string): void {
  const sorted = [...rates].sort((a, b) => b - a);
  const text = (rate: number): string => Math.round(rate).toLocaleString("en-US");
  console.log(
    `${name.padEnd(44)} median ${text(at(sorted, 0.5))} ${unit}, slowest of ${rates.length} ${text(at(sorted, 1))}`,
  );
}

export function printLatencies(name: string, latenciesMs: readonly number[]): void {
  const sorted = [...latenciesMs].sort((a, b) => a - b);
  const text = (ms: number): string => `${(ms * 1000).toFixed(1)} us`;
  console.log(
    `${name.padEnd(44)} median ${text(at(sorted, 0.5))}, p99 ${text(at(sorted, 0.99))}, max ${text(at(sorted, 1))}`,
  );
}

/** A promise and its resolver. */
export function deferred<T>(): { readonly promise: Promise<T>; readonly resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => {};
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}
