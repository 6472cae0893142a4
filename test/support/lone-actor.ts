/** One actor by itself under a virtual clock: for tests of a single behaviour. */
import { createActorSystem } from "../../src/actors/kernel/system.js";
import type { ActorRef, Behavior, Reply } from "../../src/actors/kernel/types.js";
import { silentLogger } from "../../src/core/logger.js";
import { SeededScheduler } from "./seeded-scheduler.js";
import { VirtualClock } from "./virtual-clock.js";

export interface LoneActor<M> {
  readonly actor: ActorRef<M>;
  readonly clock: VirtualClock;
  /** Asks without a deadline. */
  ask<T>(build: (reply: Reply<T>) => M, signal?: AbortSignal): Promise<T>;
  /** Its phase in words. */
  phase(): string | undefined;
  mailboxDepth(): number;
  restarts(): number;
  /** Ends it as the daemon's stop does. */
  stop(): Promise<void>;
}

export function startLoneActor<S, M>(behavior: Behavior<S, M>): LoneActor<M> {
  const scheduler = new SeededScheduler();
  const clock = new VirtualClock({ scheduler });
  const system = createActorSystem({ clock, scheduler, log: silentLogger });
  system.start({
    type: "supervisor",
    strategy: "one-for-one",
    intensity: 10,
    periodMs: 1000,
    children: [{ id: "actor", start: { type: "actor", behavior }, restart: "permanent", shutdownMs: 1000 }],
  });
  const actor = system.lookup<M>("root/actor");
  if (actor === undefined) throw new Error("the actor did not start");
  const node = () => system.inspect().children[0];
  return {
    actor,
    clock,
    ask: (build, signal) => actor.ask(build, { timeoutMs: "none", signal }),
    phase: () => node()?.phase,
    mailboxDepth: () => node()?.mailboxDepth ?? 0,
    restarts: () => node()?.restarts ?? 0,
    async stop() {
      const ended = system.shutdown();
      await clock.runUntilIdle();
      await ended;
    },
  };
}

/** Runs the world until nothing more happens by itself, then gives the promise's outcome. */
export async function settled<T>(clock: VirtualClock, promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  await clock.runUntilIdle();
  return promise;
}

/** What has become of a promise so far. */
export function watched<T>(promise: Promise<T>): { value: T | undefined; error: unknown; done: boolean } {
  const seen: { value: T | undefined; error: unknown; done: boolean } = {
    value: undefined,
    error: undefined,
    done: false,
  };
  promise.then(
    (value) => Object.assign(seen, { value, done: true }),
    (error: unknown) => Object.assign(seen, { error, done: true }),
  );
  return seen;
}
