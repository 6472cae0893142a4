/**
 * Which message a container actor handles when. Lifecycle commands run one at a time: what comes meanwhile is
 * deferred and taken up, in order, when the running one has settled. Everything else goes through at once.
 */
import { resourceExhausted } from "../../core/errors.js";
import type { ContainerContext, ContainerMessage } from "./container-actor.js";
import { lifecycleHandlers } from "./lifecycle-handlers.js";
import type { ContainerRequest } from "./messages.js";
import { processHandlers } from "./process-handlers.js";
import { beginRecovery, shimHandlers } from "./shim-handlers.js";
import type { ContainerState } from "./state.js";
import { failExecWaiters } from "./task-events.js";

type Handlers = {
  readonly [K in ContainerMessage["kind"]]: (
    state: ContainerState,
    message: Extract<ContainerMessage, { readonly kind: K }>,
    cx: ContainerContext,
  ) => ContainerState;
};

const handlers: Handlers = { ...lifecycleHandlers, ...processHandlers, ...shimHandlers };

/** Commands that wait for one container at a time; beyond it they are refused. */
const deferredLimit = 256;

/** The state after a message, and after the deferred ones that it set free. */
export function dispatch(
  state: ContainerState,
  message: ContainerMessage,
  cx: ContainerContext,
): ContainerState {
  const deferred = deferIfBusy(state, message);
  if (deferred !== undefined) return deferred;
  const handler = handlers[message.kind] as Handlers[typeof message.kind];
  const next = afterSettling(handler(state, message as never, cx), cx);
  if (!("deferred" in state) || "deferred" in next) return next;
  // A command whose client has gone meanwhile is as one that never came.
  return state.deferred.reduce<ContainerState>(
    (current, waiting) => (waiting.reply.settled ? current : dispatch(current, waiting, cx)),
    next,
  );
}

/** What follows from a state by itself. */
function afterSettling(state: ContainerState, cx: ContainerContext): ContainerState {
  // Nothing more is awaited of the task before.
  if (state.phase === "settling" && !cx.order.owes) return { phase: "absent" };
  if (!("task" in state) || "deferred" in state || !state.task.gone) return state;
  // Nobody here deletes it: the answer to an earlier delete was lost. Its bundle and place are still there.
  failExecWaiters(state.task);
  return beginRecovery(cx);
}

/** The state with the message put off, or undefined when it may run now. */
function deferIfBusy(state: ContainerState, message: ContainerMessage): ContainerState | undefined {
  if (!("deferred" in state) || !isRequest(message)) return undefined;
  // Nothing can be said until the shim has been heard; elsewhere only lifecycle commands wait for each other.
  if (state.phase !== "recovering" && state.phase !== "cleaning" && !isLifecycle(message)) return undefined;
  const waiting = state.deferred.filter(({ reply }) => !reply.settled);
  if (waiting.length >= deferredLimit) {
    message.reply.reject(resourceExhausted(`${waiting.length} commands wait for this container already`));
    return state;
  }
  return { ...state, deferred: [...waiting, message] };
}

const requestKinds: ReadonlySet<string> = new Set<ContainerRequest["kind"]>([
  "create",
  "start",
  "delete",
  "get",
  "kill",
  "exec",
  "resize-pty",
  "close-io",
  "pause",
  "resume",
  "pids",
  "update",
  "stats",
  "wait",
]);
const isRequest = (message: ContainerMessage): message is ContainerRequest => requestKinds.has(message.kind);

function isLifecycle(message: ContainerRequest): boolean {
  switch (message.kind) {
    case "create":
    case "pause":
    case "resume":
      return true;
    case "start":
      return message.execId === "";
    case "delete":
      return message.execId === undefined || message.execId === "";
    default:
      return false;
  }
}
