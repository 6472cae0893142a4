/**
 * The actor of one container: it owns the phase of its task, decides what may happen next, answers Get and Wait
 * from memory and publishes the task's events in order. It lives while there is a task or a question.
 */
import { unavailable } from "../../core/errors.js";
import type { Exit } from "../../core/exit.js";
import type { TaskKey } from "../../core/ids.js";
import type { Outcome } from "../../core/outcome.js";
import type { HostedTask, ShimConnection } from "../../ports/shim-launcher-port.js";
import type { ActorContext, Behavior, PerformOptions, Reply } from "../kernel/types.js";
import type { ContainerDependencies } from "./dependencies.js";
import { dispatch } from "./dispatch.js";
import type { CreatedTask } from "./effects.js";
import { EventOrder } from "./event-order.js";
import type { ContainerRequest, ShimEvent } from "./messages.js";
import { beginRecovery } from "./shim-handlers.js";
import type { ContainerState } from "./state.js";
import { watchOrder } from "./task-events.js";

/** What an effect of this actor brought. */
export type SettledEffect =
  | { readonly kind: "create-settled"; readonly outcome: Outcome<CreatedTask> }
  /** The task of a client that went away during its creation has been removed again. */
  | { readonly kind: "undo-settled"; readonly outcome: Outcome<void> }
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
  /** Effects of this container under way that change the shim or the disk, those of a crashed incarnation included. */
  readonly running: Set<Promise<unknown>>;
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
  /** As perform(), for effects that make or remove something: a later incarnation waits for their end. */
  performLasting<T>(
    effect: (signal: AbortSignal) => Promise<T>,
    settle: (outcome: Outcome<T>) => SettledEffect,
    options?: PerformOptions,
  ): void;
  /** Whether the order timer runs. */
  orderTimer: boolean;
}

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
  // These outlive a crash: what an incarnation has begun goes on without it.
  const running = new Set<Promise<unknown>>();
  let lives = 0;

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
      order: new EventOrder(({ reply }) => reply.resolve()),
      running,
      watched: new Set(),
      newLife: () => ++lives,
      orderTimer: false,
      perform,
      performLasting: (effect, settle, options) =>
        perform(
          (signal) => {
            const work = effect(signal);
            const over = work.then(
              () => undefined,
              () => undefined,
            );
            running.add(over);
            void over.then(() => running.delete(over));
            return work;
          },
          settle,
          options,
        ),
    };
  }

  return {
    kind: "container",
    init(actor) {
      const awaited = { count: 0 };
      const cx = createContext(actor, awaited);
      const known = running.size > 0 || deps.shims.hosting(key) !== undefined;
      return { cx, awaited, container: known ? beginRecovery(cx) : { phase: "absent" } };
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
