/**
 * One function per message of a container actor. Lifecycle commands run one at a time: what comes meanwhile is
 * deferred and taken up, in order, when the running one has settled. Everything else goes through at once.
 */
import { alreadyExists, notFound, resourceExhausted, unimplemented } from "../../core/errors.js";
import { type Exit, instantFromMs, zeroInstant } from "../../core/exit.js";
import type { Outcome } from "../../core/outcome.js";
import type { ShimConnection } from "../../ports/shim-launcher-port.js";
import type { Reply } from "../kernel/types.js";
import type { ContainerContext, ContainerMessage } from "./container-actor.js";
import { createTask, deleteTask, prefixed, startExec, undoCreate } from "./effects.js";
import type { ContainerRequest } from "./messages.js";
import {
  type ContainerState,
  type Deferred,
  describeProcess,
  findProcess,
  newProcess,
  type Present,
  type RestingPhase,
  type Task,
  type TaskProcess,
  withoutExec,
  withProcess,
} from "./state.js";
import {
  applyTaskEvent,
  exitedState,
  failExecWaiters,
  publishDeath,
  publishReady,
  resumeOrder,
} from "./task-events.js";

type Of<K extends ContainerMessage["kind"]> = Extract<ContainerMessage, { readonly kind: K }>;
type Handler<K extends ContainerMessage["kind"]> = (
  state: ContainerState,
  message: Of<K>,
  cx: ContainerContext,
) => ContainerState;
type Handlers = { readonly [K in ContainerMessage["kind"]]: Handler<K> };

/** Commands that wait for one container at a time; beyond it they are refused. */
const deferredLimit = 256;
/** Clients that may wait for one process. */
const waiterLimit = 4096;

export function dispatch(
  state: ContainerState,
  message: ContainerMessage,
  cx: ContainerContext,
): ContainerState {
  const deferred = deferIfBusy(state, message);
  if (deferred !== undefined) return deferred;
  const handler = handlers[message.kind] as Handler<typeof message.kind>;
  return handler(state, message as never, cx);
}

/** The state with the message put off, or undefined when it may run now. */
function deferIfBusy(state: ContainerState, message: ContainerMessage): ContainerState | undefined {
  if (!("deferred" in state) || !isRequest(message)) return undefined;
  // Nothing can be said until the shim has been heard; elsewhere only lifecycle commands wait for each other.
  if (state.phase !== "recovering" && state.phase !== "cleaning" && !isLifecycle(message)) return undefined;
  if (state.deferred.length >= deferredLimit) {
    message.reply.reject(
      resourceExhausted(`${state.deferred.length} commands wait for this container already`),
    );
    return state;
  }
  return { ...state, deferred: [...state.deferred, message] };
}

const effectKinds: ReadonlySet<ContainerMessage["kind"]> = new Set([
  "shim-event",
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
  "shim-lost",
  "cleanup-settled",
  "order-timeout",
]);
const isRequest = (message: ContainerMessage): message is ContainerRequest => !effectKinds.has(message.kind);

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

/** Takes up what was put off, as if it came now. */
const resumeDeferred = (state: ContainerState, deferred: Deferred, cx: ContainerContext): ContainerState =>
  deferred.reduce((current, message) => dispatch(current, message, cx), state);

/** The task, or undefined after the request was refused in containerd's words. */
function presentOrRefuse(
  state: ContainerState,
  reply: Reply<never>,
  cx: ContainerContext,
): Present | undefined {
  const { namespace, id } = cx.key;
  if (!cx.deps.store.hasContainer(namespace, id)) {
    reply.reject(notFound(`container ${JSON.stringify(id)} in namespace ${JSON.stringify(namespace)}`));
    return undefined;
  }
  if (!("task" in state)) {
    reply.reject(notFound(`task ${id} not found`, { bare: true }));
    return undefined;
  }
  return state;
}

/** A process of the task, or undefined after the request was refused. */
function processOrRefuse(present: Present, execId: string, reply: Reply<never>): TaskProcess | undefined {
  const process = findProcess(present.task, execId);
  if (process === undefined) reply.reject(notFound(`process does not exist ${execId}`));
  return process;
}

function settle<T>(reply: Reply<T>, outcome: Outcome<T>): void {
  if (outcome.ok) reply.resolve(outcome.value);
  else reply.reject(outcome.error);
}

/** A call on the shim that changes nothing here. */
function callShim<T>(
  state: ContainerState,
  reply: Reply<T>,
  cx: ContainerContext,
  call: (shim: ShimConnection, signal: AbortSignal) => Promise<T>,
  deadlineMs = cx.deps.timeouts.callMs,
): ContainerState {
  const present = presentOrRefuse(state, reply as Reply<never>, cx);
  if (present === undefined) return state;
  cx.actor.perform(
    (signal) => call(present.task.shim, signal),
    (outcome) => ({ kind: "call-settled", answer: () => settle(reply, outcome) }),
    { deadlineMs },
  );
  return state;
}

/** Back to rest: stopped when the process has ended meanwhile. */
function rest(task: Task, phase: RestingPhase): Present {
  return { phase: task.init.life === "stopped" ? "stopped" : phase, task };
}

/** A task at rest that may begin a lifecycle command, or undefined after the request was refused. */
function resting(
  state: ContainerState,
  reply: Reply<never>,
  cx: ContainerContext,
): { phase: RestingPhase; task: Task } | undefined {
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
function watchShim(shim: ShimConnection, cx: ContainerContext): void {
  cx.actor.perform(
    () => shim.closed,
    () => ({ kind: "shim-lost", shim }),
  );
}

const handlers: Handlers = {
  create(state, message, cx) {
    const { namespace, id } = cx.key;
    const record = cx.deps.store.getContainer(namespace, id);
    if (record === undefined) {
      message.reply.reject(
        notFound(`container ${JSON.stringify(id)} in namespace ${JSON.stringify(namespace)}`),
      );
      return state;
    }
    if (state.phase !== "absent") {
      message.reply.reject(alreadyExists(`task ${id}`));
      return state;
    }
    if (message.checkpoint !== undefined) {
      message.reply.reject(unimplemented("restore from a checkpoint is not supported"));
      return state;
    }
    cx.actor.perform(
      (signal) => createTask(cx.deps, cx.key, message, record, signal),
      (outcome) => ({ kind: "create-settled", outcome }),
      { deadlineMs: cx.deps.timeouts.createMs },
    );
    return { phase: "creating", request: message, deferred: [], earlyExit: undefined };
  },

  "create-settled"(state, { outcome }, cx) {
    if (state.phase !== "creating") throw new Error(`create settled while ${state.phase}`);
    const { request, deferred } = state;
    if (!outcome.ok) {
      request.reply.reject(outcome.error);
      return resumeDeferred({ phase: "absent" }, deferred, cx);
    }
    const { shim, bundle, pid } = outcome.value;
    if (request.reply.settled) {
      // The client went away, so nobody knows of this task: containerd undoes it, and so do we.
      cx.actor.perform(
        () => undoCreate(cx.deps, cx.key, shim),
        (undone) => ({ kind: "undo-settled", outcome: undone }),
      );
      return state;
    }
    watchShim(shim, cx);
    const init = newProcess("", request.stdio, pid);
    const created: ContainerState = { phase: "created", task: { shim, bundle, init, execs: new Map() } };
    const next = state.earlyExit === undefined ? created : exitedState(created, "", state.earlyExit);
    request.reply.resolve({ pid });
    return resumeDeferred(next, deferred, cx);
  },

  "undo-settled"(state, { outcome }, cx) {
    if (state.phase !== "creating") throw new Error(`undo settled while ${state.phase}`);
    if (!outcome.ok) cx.actor.log.error({ err: outcome.error }, "removal of an abandoned task failed");
    return resumeDeferred({ phase: "absent" }, state.deferred, cx);
  },

  "recover-settled"(state, { shim, outcome }, cx) {
    if (state.phase !== "recovering") throw new Error(`recovery settled while ${state.phase}`);
    if (!outcome.ok) {
      cx.actor.log.warn({ err: outcome.error }, "shim did not say what it knows of the task");
      // A shim that is gone shows in `closed`; one that hangs is asked again.
      if (!shim.connected) return resumeDeferred({ phase: "absent" }, state.deferred, cx);
      cx.actor.perform(
        (signal) => shim.task(cx.key.id, signal),
        (again) => ({ kind: "recover-settled", shim, outcome: again }),
        { deadlineMs: cx.deps.timeouts.callMs },
      );
      for (const message of state.deferred) if (isRequest(message)) message.reply.reject(outcome.error);
      return { phase: "recovering", deferred: [] };
    }
    const hosted = outcome.value;
    if (hosted === undefined) return resumeDeferred({ phase: "absent" }, state.deferred, cx);
    watchShim(shim, cx);
    const { task, phase } = resumeOrder(shim, hosted, cx.order);
    return resumeDeferred({ phase, task }, state.deferred, cx);
  },

  start(state, message, cx) {
    const { execId, reply } = message;
    if (execId !== "") {
      const present = presentOrRefuse(state, reply as Reply<never>, cx);
      if (present === undefined || processOrRefuse(present, execId, reply as Reply<never>) === undefined)
        return state;
      const { shim } = present.task;
      cx.order.expectStart(execId);
      cx.actor.perform(
        (signal) => startExec(cx.deps, cx.key, shim, execId, signal),
        (outcome) => ({ kind: "start-settled", execId, reply, outcome }),
        { deadlineMs: cx.deps.timeouts.startMs },
      );
      return state;
    }
    const at = resting(state, reply as Reply<never>, cx);
    if (at === undefined) return state;
    if (at.phase === "created") cx.order.expectStart("");
    // Not admitted by the gate: runc's start is one read of a FIFO, and crun's is short.
    cx.actor.perform(
      (signal) => at.task.shim.start(cx.key.id, "", signal),
      (outcome) => ({ kind: "start-settled", execId, reply, outcome }),
      { deadlineMs: cx.deps.timeouts.startMs },
    );
    return { phase: "starting", task: at.task, from: at.phase, deferred: [] };
  },

  "start-settled"(state, message, cx) {
    const { execId, reply, outcome } = message;
    settle(reply, outcome);
    if (!outcome.ok) publishReady(cx.order.startFailed(execId), cx);
    if (!("task" in state)) return state;
    const process = findProcess(state.task, execId);
    let next: Present = state;
    if (process !== undefined && process.life === "created") {
      if (outcome.ok) {
        next = {
          ...state,
          task: withProcess(state.task, { ...process, life: "running", pid: outcome.value.pid }),
        };
      } else if (execId !== "") {
        for (const waiter of process.waiters) waiter.resolve({ exitStatus: 0, exitedAt: zeroInstant });
        next = { ...state, task: withProcess(state.task, { ...process, life: "start-failed", waiters: [] }) };
      }
    }
    if (execId !== "" || next.phase !== "starting") return next;
    return resumeDeferred(rest(next.task, outcome.ok ? "running" : next.from), next.deferred, cx);
  },

  delete(state, message, cx) {
    const { reply } = message;
    if (message.execId !== undefined && message.execId !== "") {
      const { execId } = message;
      const present = presentOrRefuse(state, reply as Reply<never>, cx);
      if (present === undefined || processOrRefuse(present, execId, reply as Reply<never>) === undefined)
        return state;
      cx.actor.perform(
        (signal) => present.task.shim.delete(cx.key.id, execId, signal),
        (outcome) => ({ kind: "exec-delete-settled", execId, reply, outcome }),
        { deadlineMs: cx.deps.timeouts.deleteMs },
      );
      return state;
    }
    const at = resting(state, reply as Reply<never>, cx);
    if (at === undefined) return state;
    const prefix = message.execId === undefined ? "failed to delete task" : undefined;
    cx.actor.perform(
      (signal) =>
        deleteTask(cx.deps, cx.key, at.task.shim, signal).catch((thrown) => {
          throw prefix === undefined ? thrown : prefixed(prefix, thrown);
        }),
      (outcome) => ({ kind: "delete-settled", reply, outcome }),
      { deadlineMs: cx.deps.timeouts.deleteMs },
    );
    return { phase: "deleting", task: at.task, from: at.phase, deferred: [] };
  },

  "delete-settled"(state, { reply, outcome }, cx) {
    settle(reply, outcome);
    if (state.phase !== "deleting") return state; // the shim died meanwhile and cleaning took over
    const { task, deferred } = state;
    if (!outcome.ok) return resumeDeferred(rest(task, state.from), deferred, cx);
    for (const waiter of task.init.waiters) waiter.resolve(outcome.value);
    failExecWaiters(task);
    if (cx.order.awaitingDelete)
      cx.actor.startTimer("order", cx.deps.timeouts.eventOrderMs, { kind: "order-timeout" });
    return resumeDeferred({ phase: "absent" }, deferred, cx);
  },

  "exec-delete-settled"(state, { execId, reply, outcome }) {
    settle(reply, outcome);
    if (!outcome.ok || !("task" in state)) return state;
    const process = findProcess(state.task, execId);
    for (const waiter of process?.waiters ?? []) waiter.resolve(outcome.value);
    return { ...state, task: withoutExec(state.task, execId) };
  },

  get(state, { execId, reply }, cx) {
    const present = presentOrRefuse(state, reply as Reply<never>, cx);
    if (present === undefined) return state;
    const process = processOrRefuse(present, execId, reply as Reply<never>);
    if (process !== undefined) reply.resolve(describeProcess(present, cx.key.id, process));
    return state;
  },

  kill: (state, { execId, signalNumber, all, reply }, cx) =>
    callShim(
      state,
      reply,
      cx,
      (shim, signal) => shim.kill(cx.key.id, execId, signalNumber, all, signal),
      cx.deps.timeouts.killMs,
    ),

  exec(state, message, cx) {
    const present = presentOrRefuse(state, message.reply as Reply<never>, cx);
    if (present === undefined) return state;
    const { shim } = present.task;
    cx.actor.perform(
      (signal) => shim.exec(cx.key.id, message.execId, message.stdio, message.spec, signal),
      (outcome) => ({ kind: "exec-settled", request: message, outcome }),
      { deadlineMs: cx.deps.timeouts.callMs },
    );
    return state;
  },

  "exec-settled"(state, { request, outcome }) {
    settle(request.reply, outcome);
    if (!outcome.ok || !("task" in state)) return state;
    return { ...state, task: withProcess(state.task, newProcess(request.execId, request.stdio, 0)) };
  },

  "resize-pty": (state, { execId, width, height, reply }, cx) =>
    callShim(state, reply, cx, (shim, signal) => shim.resizePty(cx.key.id, execId, width, height, signal)),

  "close-io"(state, { execId, stdin, reply }, cx) {
    if (stdin) return callShim(state, reply, cx, (shim, signal) => shim.closeIo(cx.key.id, execId, signal));
    const present = presentOrRefuse(state, reply as Reply<never>, cx);
    if (present !== undefined && processOrRefuse(present, execId, reply as Reply<never>) !== undefined)
      reply.resolve();
    return state;
  },

  pause(state, { reply }, cx) {
    const at = resting(state, reply as Reply<never>, cx);
    if (at === undefined) return state;
    cx.actor.perform(
      (signal) => at.task.shim.pause(cx.key.id, signal),
      (outcome) => ({ kind: "pause-settled", reply, outcome }),
      { deadlineMs: cx.deps.timeouts.callMs },
    );
    return { phase: "pausing", task: at.task, from: at.phase, deferred: [] };
  },

  "pause-settled"(state, { reply, outcome }, cx) {
    settle(reply, outcome);
    if (state.phase !== "pausing") return state;
    return resumeDeferred(rest(state.task, outcome.ok ? "paused" : state.from), state.deferred, cx);
  },

  resume(state, { reply }, cx) {
    const at = resting(state, reply as Reply<never>, cx);
    if (at === undefined) return state;
    cx.actor.perform(
      (signal) => at.task.shim.resume(cx.key.id, signal),
      (outcome) => ({ kind: "resume-settled", reply, outcome }),
      { deadlineMs: cx.deps.timeouts.callMs },
    );
    return { phase: "resuming", task: at.task, from: at.phase, deferred: [] };
  },

  "resume-settled"(state, { reply, outcome }, cx) {
    settle(reply, outcome);
    if (state.phase !== "resuming") return state;
    return resumeDeferred(rest(state.task, outcome.ok ? "running" : state.from), state.deferred, cx);
  },

  pids: (state, { reply }, cx) => callShim(state, reply, cx, (shim, signal) => shim.pids(cx.key.id, signal)),

  update: (state, { resources, annotations, reply }, cx) =>
    callShim(state, reply, cx, (shim, signal) => shim.update(cx.key.id, resources, annotations, signal)),

  stats: (state, { reply }, cx) =>
    callShim(state, reply, cx, (shim, signal) => shim.stats(cx.key.id, signal)),

  wait(state, { execId, reply }, cx) {
    const present = presentOrRefuse(state, reply as Reply<never>, cx);
    if (present === undefined) return state;
    const process = processOrRefuse(present, execId, reply as Reply<never>);
    if (process === undefined) return state;
    if (process.exit !== undefined) {
      reply.resolve(process.exit);
      return state;
    }
    if (process.life === "start-failed") {
      reply.resolve({ exitStatus: 0, exitedAt: zeroInstant });
      return state;
    }
    // Clients that went away left settled replies behind; they go whenever somebody new comes.
    const waiters = process.waiters.filter((waiter) => !waiter.settled);
    if (waiters.length >= waiterLimit) {
      reply.reject(resourceExhausted(`${waiters.length} clients wait for this process already`));
      return state;
    }
    return { ...present, task: withProcess(present.task, { ...process, waiters: [...waiters, reply] }) };
  },

  "shim-event": (state, message, cx) => applyTaskEvent(state, message, cx),

  "order-timeout"(state, _message, cx) {
    publishReady(cx.order.releaseAll(), cx);
    cx.order.giveUpOnDelete();
    return state;
  },

  "call-settled"(state, { answer }) {
    answer();
    return state;
  },

  "shim-lost"(state, { shim }, cx) {
    if (!("task" in state) || state.task.shim !== shim || state.phase === "cleaning") return state;
    const { task } = state;
    cx.actor.log.warn({ shim: shim.shimId, pid: task.init.pid }, "shim lost, cleaning up its task");
    cx.actor.perform(
      async (signal) => {
        const cleaned = await cx.deps.shims.cleanUpTask(cx.key, task.bundle, signal);
        await cx.deps.bundles.remove(cx.key);
        return cleaned;
      },
      (outcome) => ({ kind: "cleanup-settled", outcome }),
      { deadlineMs: cx.deps.timeouts.deleteMs },
    );
    return { phase: "cleaning", task, deferred: "deferred" in state ? state.deferred : [] };
  },

  "cleanup-settled"(state, { outcome }, cx) {
    if (state.phase !== "cleaning") throw new Error(`cleanup settled while ${state.phase}`);
    const { task, deferred } = state;
    if (!outcome.ok)
      cx.actor.log.error({ err: outcome.error, bundle: task.bundle }, "cleanup after a dead shim failed");
    const exit: Exit = {
      pid: outcome.ok ? outcome.value.pid : 0,
      exitStatus: outcome.ok ? 137 : 255,
      exitedAt: instantFromMs(cx.actor.clock.now()),
    };
    publishDeath(task, task.init.exit ?? exit, cx);
    for (const process of [task.init, ...task.execs.values()]) {
      for (const waiter of process.waiters) waiter.resolve(exit);
    }
    cx.deps.shims.release(cx.key);
    return resumeDeferred({ phase: "absent" }, deferred, cx);
  },
};
