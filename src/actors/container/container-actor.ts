/**
 * The actor of one container: it owns the phase of its task, decides what may happen next, answers Get and Wait
 * from memory and publishes the task's events in order. It lives while there is a task or a question.
 */
import type { Exit } from "../../core/exit.js";
import type { TaskKey } from "../../core/ids.js";
import type { Outcome } from "../../core/outcome.js";
import type { HostedTask, ShimConnection } from "../../ports/shim-launcher-port.js";
import type { ActorContext, Behavior, Reply } from "../kernel/types.js";
import type { ContainerDependencies } from "./dependencies.js";
import { EventOrder } from "./event-order.js";
import { dispatch } from "./handlers.js";
import type { ContainerRequest, ShimEvent } from "./messages.js";
import type { ContainerState } from "./state.js";

export interface CreatedTask {
  readonly shim: ShimConnection;
  readonly bundle: string;
  readonly pid: number;
}

/** What this actor posts to itself: settled effects and timers. */
export type ContainerEffect =
  | { readonly kind: "create-settled"; readonly outcome: Outcome<CreatedTask> }
  /** The task of a client that went away during its creation has been removed again. */
  | { readonly kind: "undo-settled"; readonly outcome: Outcome<void> }
  | {
      readonly kind: "recover-settled";
      readonly shim: ShimConnection;
      readonly outcome: Outcome<HostedTask | undefined>;
    }
  | {
      readonly kind: "start-settled";
      readonly execId: string;
      readonly reply: Reply<{ pid: number }>;
      readonly outcome: Outcome<{ pid: number }>;
    }
  | { readonly kind: "pause-settled"; readonly reply: Reply<void>; readonly outcome: Outcome<void> }
  | { readonly kind: "resume-settled"; readonly reply: Reply<void>; readonly outcome: Outcome<void> }
  | {
      readonly kind: "exec-settled";
      readonly request: Extract<ContainerRequest, { kind: "exec" }>;
      readonly outcome: Outcome<void>;
    }
  | { readonly kind: "delete-settled"; readonly reply: Reply<Exit>; readonly outcome: Outcome<Exit> }
  | {
      readonly kind: "exec-delete-settled";
      readonly execId: string;
      readonly reply: Reply<Exit>;
      readonly outcome: Outcome<Exit>;
    }
  /** A call that changes nothing here: its outcome is the answer. */
  | { readonly kind: "call-settled"; readonly answer: () => void }
  | { readonly kind: "shim-lost"; readonly shim: ShimConnection }
  | { readonly kind: "cleanup-settled"; readonly outcome: Outcome<{ pid: number }> }
  | { readonly kind: "order-timeout" };

export type ContainerMessage = ContainerRequest | ShimEvent | ContainerEffect;

/** One held or published event: the journal's acknowledgement goes to whoever sent it. */
export type OrderedEvent = Pick<ShimEvent, "envelope" | "reply">;

/** Everything a handler works with besides the state and the message. */
export interface ContainerContext {
  readonly actor: ActorContext<ContainerMessage>;
  readonly deps: ContainerDependencies;
  readonly key: TaskKey;
  readonly order: EventOrder<OrderedEvent>;
}

interface Incarnation {
  readonly cx: ContainerContext;
  readonly container: ContainerState;
}

export function createContainerBehavior(
  deps: ContainerDependencies,
  key: TaskKey,
): Behavior<Incarnation, ContainerMessage> {
  return {
    kind: "container",
    init(actor) {
      const cx: ContainerContext = { actor, deps, key, order: new EventOrder() };
      const shim = deps.shims.hosting(key);
      if (shim === undefined) return { cx, container: { phase: "absent" } };
      actor.perform(
        (signal) => shim.task(key.id, signal),
        (outcome) => ({ kind: "recover-settled", shim, outcome }),
        { deadlineMs: deps.timeouts.callMs },
      );
      return { cx, container: { phase: "recovering", deferred: [] } };
    },
    lane: (message) => (message.kind === "shim-event" || message.kind === "kill" ? "priority" : "normal"),
    phaseOf: (state) => state.container.phase,
    handle({ cx, container }, message) {
      const next = dispatch(container, message, cx);
      if (next.phase === "absent" && !cx.order.holding && !cx.order.awaitingDelete) cx.actor.stopIfIdle();
      return next === container ? { cx, container } : { cx, container: next };
    },
  };
}
