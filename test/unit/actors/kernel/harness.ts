/** A system under a virtual clock, and a scriptable actor, for the kernel's tests. */
import { createActorSystem } from "../../../../src/actors/kernel/system.js";
import type {
  ActorContext,
  ActorRef,
  ActorSpec,
  ActorSystem,
  Behavior,
  ChildSpec,
  Reply,
  RestartType,
  Strategy,
  SupervisorSpec,
  TapEvent,
} from "../../../../src/actors/kernel/types.js";
import { silentLogger } from "../../../../src/core/logger.js";
import { SeededScheduler } from "../../../support/seeded-scheduler.js";
import { VirtualClock } from "../../../support/virtual-clock.js";

export interface World {
  readonly system: ActorSystem;
  readonly clock: VirtualClock;
  readonly scheduler: SeededScheduler;
  readonly events: TapEvent[];
}

export function createWorld(seed?: number): World {
  const scheduler = new SeededScheduler(seed);
  const clock = new VirtualClock({ scheduler });
  const system = createActorSystem({ clock, scheduler, log: silentLogger });
  const events: TapEvent[] = [];
  system.tap((event) => events.push(event));
  return { system, clock, scheduler, events };
}

/** A message that carries what to do. */
export interface Script {
  readonly kind: string;
  readonly lane?: "normal" | "priority";
  readonly reply?: Reply<unknown>;
  readonly run?: (ctx: ActorContext<Script>) => void;
}

export interface Scripted {
  /** Kinds of the messages handled, with "init", "stopping" and "terminated:<reason>" among them. */
  readonly log: string[];
  readonly spec: ActorSpec<unknown, Script>;
}

export function scripted(
  overrides: Partial<Behavior<unknown, Script>> = {},
  mailboxLimit?: number,
): Scripted {
  const log: string[] = [];
  const behavior: Behavior<unknown, Script> = {
    kind: "scripted",
    init: () => {
      log.push("init");
      return undefined;
    },
    handle: (state, message, ctx) => {
      log.push(message.kind);
      message.run?.(ctx);
      return state;
    },
    lane: (message) => message.lane ?? "normal",
    terminated: (_state, reason) => {
      log.push(`terminated:${reason.kind}`);
    },
    ...overrides,
  };
  return { log, spec: { type: "actor", behavior, ...(mailboxLimit === undefined ? {} : { mailboxLimit }) } };
}

export const child = <S extends ChildSpec["start"]>(
  id: string,
  start: S,
  restart: RestartType = "permanent",
  shutdownMs = 1000,
): ChildSpec & { readonly start: S } => ({ id, start, restart, shutdownMs });

export const supervisor = (
  strategy: Strategy,
  children: readonly ChildSpec[],
  more: Partial<SupervisorSpec> = {},
): SupervisorSpec => ({ type: "supervisor", strategy, intensity: 5, periodMs: 1000, children, ...more });

/** One scripted actor under a one-for-one root. */
export function oneActor(
  overrides: Partial<Behavior<unknown, Script>> = {},
  options: { readonly restart?: RestartType; readonly mailboxLimit?: number; readonly seed?: number } = {},
): World & { readonly ref: ActorRef<Script>; readonly log: string[] } {
  const world = createWorld(options.seed);
  const actor = scripted(overrides, options.mailboxLimit);
  world.system.start(supervisor("one-for-one", [child("a", actor.spec, options.restart)]));
  return { ...world, ref: refOf(world, "root/a"), log: actor.log };
}

export function refOf(world: World, path: string): ActorRef<Script> {
  const ref = world.system.lookup<Script>(path);
  if (ref === undefined) throw new Error(`no actor ${path}`);
  return ref;
}

export const boom = (): never => {
  throw new Error("boom");
};

/** Records how a promise settles, so that a test can look without waiting. */
export function watchPromise<T>(promise: Promise<T>): { readonly settled: string[] } {
  const settled: string[] = [];
  promise.then(
    (value) => settled.push(`ok:${String(value)}`),
    (error: { readonly kind?: string }) => settled.push(`error:${error.kind}`),
  );
  return { settled };
}
