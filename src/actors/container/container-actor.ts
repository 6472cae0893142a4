/**
 * The actor of one container: it owns the phase of its task, decides what may happen next, answers Get and Wait
 * from memory and publishes the task's events in order. It lives while there is a task or a question.
 */
import type { Clock } from "../../core/clock.js";
import { deadlineExceeded, toDaemonError, unavailable } from "../../core/errors.js";
import type { Exit } from "../../core/exit.js";
import type { TaskKey } from "../../core/ids.js";
import type { Outcome } from "../../core/outcome.js";
import type { HostedTask, ShimConnection } from "../../ports/shim-launcher-port.js";
import type { ActorContext, Behavior, PerformOptions, Reply } from "../kernel/types.js";
import type { ContainerDependencies } from "./dependencies.js";
import { dispatch } from "./dispatch.js";
import { type CreatedTask, isDoubtful, type UncertainCreation } from "./effects.js";
import { EventOrder } from "./event-order.js";
import { watchShim } from "./handling.js";
import type { ContainerRequest, ShimEvent } from "./messages.js";
import { PastTasks } from "./past-tasks.js";
import { beginRecovery } from "./shim-handlers.js";
import type { ContainerState } from "./state.js";
import { watchOrder } from "./task-events.js";

/** What an effect of this actor brought. */
export type SettledEffect =
  | { readonly kind: "create-settled"; readonly outcome: Outcome<CreatedTask | UncertainCreation> }
  /** The task of a client that went away during its creation has been removed again, or (false) has not. */
  | { readonly kind: "undo-settled"; readonly outcome: Outcome<boolean> }
  | {
      readonly kind: "recover-settled";
      readonly outcome: Outcome<{ readonly shim: ShimConnection; readonly hosted: HostedTask } | undefined>;
    }
  | {
      readonly kind: "start-settled";
      readonly life: number;
      readonly execId: string;
      readonly reply: Reply<{ pid: number }>;
      readonly outcome: Outcome<{ pid: number }>;
    }
  | { readonly kind: "pause-settled"; readonly reply: Reply<void>; readonly outcome: Outcome<void> }
  | { readonly kind: "resume-settled"; readonly reply: Reply<void>; readonly outcome: Outcome<void> }
  | {
      readonly kind: "exec-settled";
      readonly life: number;
      readonly request: Extract<ContainerRequest, { kind: "exec" }>;
      readonly outcome: Outcome<void>;
    }
  | {
      readonly kind: "delete-settled";
      readonly reply: Reply<Exit>;
      readonly outcome: Outcome<Exit | undefined>;
    }
  | {
      readonly kind: "exec-delete-settled";
      readonly life: number;
      readonly birth: number;
      readonly execId: string;
      readonly reply: Reply<Exit>;
      readonly outcome: Outcome<Exit>;
    }
  /** A call that changes nothing here: its outcome is the answer. */
  | { readonly kind: "call-settled"; readonly answer: () => void }
  | { readonly kind: "cleanup-settled"; readonly outcome: Outcome<{ pid: number }> };

export type ContainerMessage =
  | ContainerRequest
  | ShimEvent
  | SettledEffect
  /** The creation under way has got a place in this shim. */
  | { readonly kind: "placed"; readonly shim: ShimConnection }
  /** The creation under way has made its task. */
  | { readonly kind: "made"; readonly shim: ShimConnection; readonly pid: number }
  | { readonly kind: "shim-lost"; readonly shim: ShimConnection }
  | { readonly kind: "recover" }
  | { readonly kind: "order-timeout" };

/** One held or published event: the journal's acknowledgement goes to whoever sent it. */
export type OrderedEvent = Pick<ShimEvent, "envelope" | "reply">;

/** Everything a handler works with besides the state and the message. */
export interface ContainerContext {
  readonly actor: ActorContext<ContainerMessage>;
  readonly deps: ContainerDependencies;
  readonly key: TaskKey;
  readonly order: EventOrder<OrderedEvent>;
  /** Calls and lasting effects under way, those of a crashed incarnation included. */
  readonly running: ReadonlySet<Promise<void>>;
  /** Shims whose end is waited for. */
  readonly watched: Set<ShimConnection>;
  /** A number for the next task. */
  readonly newLife: () => number;
  /** Runs an effect whose outcome is awaited: the actor does not end before it came. */
  perform<T>(
    effect: (signal: AbortSignal) => Promise<T>,
    settle: (outcome: Outcome<T>) => SettledEffect,
    options?: PerformOptions,
  ): void;
  /** As perform(), for a call that changes the shim's state: it is not given up before `deadlineMs`. */
  performCall<T>(
    call: (deadline: AbortSignal) => Promise<T>,
    settle: (outcome: Outcome<T>) => SettledEffect,
    deadlineMs: number,
  ): void;
  /**
   * As performCall(), for effects that make or remove something: one at a time, those of a crashed incarnation
   * included. The outcome comes when the effect has cleaned up, however late.
   */
  performLasting<T>(
    effect: (limits: EffectLimits) => Promise<T>,
    settle: (outcome: Outcome<T>) => SettledEffect,
    deadlineMs: number,
  ): void;
  /** Whether the order timer runs. */
  orderTimer: boolean;
  readonly past: PastTasks;
  /** Calls whose answer never came. */
  readonly doubts: { takeAll(): boolean };
}

export interface EffectLimits {
  /** Aborts when the time is up, and when nobody waits for the effect any more. */
  readonly signal: AbortSignal;
  /** Aborts when the time is up: for what must not be left half done. */
  readonly deadline: AbortSignal;
}

const nothing = (): void => undefined;

interface Incarnation {
  readonly cx: ContainerContext;
  readonly container: ContainerState;
  /** Effects whose outcome is awaited. */
  readonly awaited: { count: number };
}

const settledKinds: ReadonlySet<string> = new Set<SettledEffect["kind"]>([
  "create-settled",
  "undo-settled",
  "recover-settled",
  "start-settled",
  "pause-settled",
  "resume-settled",
  "exec-settled",
  "delete-settled",
  "exec-delete-settled",
  "call-settled",
  "cleanup-settled",
]);

export function createContainerBehavior(
  deps: ContainerDependencies,
  key: TaskKey,
): Behavior<Incarnation, ContainerMessage> {
  // These outlive a crash: what an incarnation has begun goes on without it, and what it told is told.
  const running = new Set<Promise<void>>();
  let lastInTurn: Promise<void> = Promise.resolve();
  const order = new EventOrder<OrderedEvent>(({ reply }) => reply.resolve());
  const past = new PastTasks();
  let lives = 0;
  let inDoubt = false;

  async function begin<T>(
    clock: Clock,
    signal: AbortSignal,
    deadlineMs: number,
    effect: (limits: EffectLimits) => Promise<T>,
  ): Promise<T> {
    const deadline = new AbortController();
    const timer = clock.setTimer(deadlineMs, () =>
      deadline.abort(deadlineExceeded("context deadline exceeded", { bare: true })),
    );
    const work = effect({ signal: AbortSignal.any([signal, deadline.signal]), deadline: deadline.signal });
    const ended = work.then(nothing, nothing);
    running.add(ended);
    try {
      return await work;
    } catch (thrown) {
      inDoubt ||= isDoubtful(toDaemonError(thrown));
      throw thrown;
    } finally {
      timer.cancel();
      running.delete(ended);
    }
  }

  function createContext(
    actor: ActorContext<ContainerMessage>,
    awaited: Incarnation["awaited"],
  ): ContainerContext {
    const perform: ContainerContext["perform"] = (effect, settle, options) => {
      awaited.count += 1;
      actor.perform(effect, settle, options);
    };
    return {
      actor,
      deps,
      key,
      order,
      running,
      watched: new Set(),
      newLife: () => ++lives,
      orderTimer: false,
      perform,
      past,
      doubts: {
        takeAll() {
          const had = inDoubt;
          inDoubt = false;
          return had;
        },
      },
      performCall: (call, settle, deadlineMs) =>
        perform((signal) => begin(actor.clock, signal, deadlineMs, ({ deadline }) => call(deadline)), settle),
      performLasting: (effect, settle, deadlineMs) =>
        perform((signal) => {
          const before = lastInTurn;
          const work = begin(actor.clock, signal, deadlineMs, async (limits) => {
            await before;
            return effect(limits);
          });
          lastInTurn = work.then(nothing, nothing);
          return work;
        }, settle),
    };
  }

  return {
    kind: "container",
    init(actor) {
      const awaited = { count: 0 };
      const cx = createContext(actor, awaited);
      for (const { shim } of past.all) watchShim(shim, cx);
      const known = running.size > 0 || deps.shims.hosting(key) !== undefined;
      const container: ContainerState = known ? beginRecovery(cx) : { phase: "absent" };
      watchOrder(container, cx);
      return { cx, awaited, container };
    },
    lane: (message) => (message.kind === "shim-event" || message.kind === "kill" ? "priority" : "normal"),
    phaseOf: (state) => state.container.phase,
    handle(state, message) {
      const { cx, awaited } = state;
      if (settledKinds.has(message.kind)) awaited.count -= 1;
      let container: ContainerState;
      try {
        container = dispatch(state.container, message, cx);
      } catch (error) {
        // The one message whose sender would not hear of the crash by itself.
        if (message.kind === "shim-event")
          message.reply.reject(unavailable("the container's actor crashed", { cause: error }));
        throw error;
      }
      const unsettled = watchOrder(container, cx);
      if (container.phase === "absent" && awaited.count === 0 && !unsettled) cx.actor.stopIfIdle();
      return { cx, awaited, container };
    },
    terminated({ cx }) {
      // Their senders deliver them again, to the next incarnation.
      for (const { reply } of cx.order.abandon()) reply.reject(unavailable("the container's actor ended"));
    },
  };
}
