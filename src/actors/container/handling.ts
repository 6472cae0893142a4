/** What the handlers of a container actor share: refusals in containerd's words, and calls on the shim. */
import { notFound } from "../../core/errors.js";
import type { Outcome } from "../../core/outcome.js";
import type { ShimConnection } from "../../ports/shim-launcher-port.js";
import type { Reply } from "../kernel/types.js";
import type { ContainerContext, ContainerMessage } from "./container-actor.js";
import {
  type ContainerState,
  findProcess,
  type Present,
  type RestingPhase,
  type Task,
  type TaskProcess,
} from "./state.js";

/** The handlers of some kinds of messages. */
export type HandlersOf<K extends ContainerMessage["kind"]> = {
  readonly [Kind in K]: (
    state: ContainerState,
    message: Extract<ContainerMessage, { readonly kind: Kind }>,
    cx: ContainerContext,
  ) => ContainerState;
};

export function refuseUnknownContainer(reply: Reply<never>, { key }: ContainerContext): void {
  const { namespace, id } = key;
  reply.reject(notFound(`container ${JSON.stringify(id)} in namespace ${JSON.stringify(namespace)}`));
}

/** The task, or undefined after the request was refused. */
export function presentOrRefuse(
  state: ContainerState,
  reply: Reply<never>,
  cx: ContainerContext,
): Present | undefined {
  const { namespace, id } = cx.key;
  if (!cx.deps.store.hasContainer(namespace, id)) {
    refuseUnknownContainer(reply, cx);
    return undefined;
  }
  if (!("task" in state)) {
    reply.reject(notFound(`task ${id} not found`, { bare: true }));
    return undefined;
  }
  return state;
}

/** A process of the task, or undefined after the request was refused. */
export function processOrRefuse(
  present: Present,
  execId: string,
  reply: Reply<never>,
): TaskProcess | undefined {
  const process = findProcess(present.task, execId);
  if (process === undefined) reply.reject(notFound(`process does not exist ${execId}`));
  return process;
}

export function settle<T>(reply: Reply<T>, outcome: Outcome<T>): void {
  if (outcome.ok) reply.resolve(outcome.value);
  else reply.reject(outcome.error);
}

/** A call on the shim that changes nothing here. */
export function callShim<T>(
  state: ContainerState,
  reply: Reply<T>,
  cx: ContainerContext,
  call: (shim: ShimConnection, signal: AbortSignal) => Promise<T>,
  deadlineMs = cx.deps.timeouts.callMs,
): ContainerState {
  const present = presentOrRefuse(state, reply as Reply<never>, cx);
  if (present === undefined) return state;
  cx.perform(
    (signal) => call(present.task.shim, signal),
    (outcome) => ({ kind: "call-settled", answer: () => settle(reply, outcome) }),
    { deadlineMs },
  );
  return state;
}

/** Back to rest: stopped when the process has ended meanwhile. */
export function rest(task: Task, phase: RestingPhase): Present {
  return { phase: task.init.life === "stopped" ? "stopped" : phase, task };
}

/** A task at rest that may begin a lifecycle command, or undefined after the request was refused. */
export function resting(
  state: ContainerState,
  reply: Reply<never>,
  cx: ContainerContext,
): { readonly phase: RestingPhase; readonly task: Task } | undefined {
  const present = presentOrRefuse(state, reply, cx);
  if (present === undefined) return undefined;
  switch (present.phase) {
    case "created":
    case "running":
    case "paused":
    case "stopped":
      return present;
    default:
      throw new Error(`lifecycle command reached a container that is ${present.phase}`);
  }
}

/** Hears of the end of the shim as long as this actor lives. */
export function watchShim(shim: ShimConnection, cx: ContainerContext): void {
  if (cx.watched.has(shim)) return;
  cx.watched.add(shim);
  cx.actor.perform(
    (signal) => endOf(shim, signal),
    () => ({ kind: "shim-lost", shim }),
  );
}

/** Who waits for the end of a shim. One reaction on its promise serves all: reactions cannot be taken back. */
const listeners = new WeakMap<ShimConnection, Set<() => void>>();

function endOf(shim: ShimConnection, signal: AbortSignal): Promise<void> {
  let waiting = listeners.get(shim);
  if (waiting === undefined) {
    const created = new Set<() => void>();
    waiting = created;
    listeners.set(shim, created);
    void shim.closed.then(() => {
      for (const tell of created) tell();
      listeners.delete(shim);
    });
  }
  const all = waiting;
  return new Promise((resolve) => {
    all.add(resolve);
    signal.addEventListener("abort", () => all.delete(resolve), { once: true });
  });
}
