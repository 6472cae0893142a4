/** Create, start, delete, pause and resume of a task: one at a time, each with what settles it. */
import { alreadyExists, notFound, unimplemented } from "../../core/errors.js";
import type { Outcome } from "../../core/outcome.js";
import type { Reply } from "../kernel/types.js";
import {
  type CreationProgress,
  createTask,
  deleteTask,
  isDoubtful,
  prefixed,
  undoCreate,
} from "./effects.js";
import { type HandlersOf, refuseUnknownContainer, rest, resting, settle, watchShim } from "./handling.js";
import { deleteExec, settleExecStart, startExecProcess } from "./process-handlers.js";
import { beginRecovery, noteMade } from "./shim-handlers.js";
import { newProcess, type Task, withProcess } from "./state.js";
import { applyToTask, closeLostTasks, failExecWaiters, publishReady } from "./task-events.js";

type LifecycleKind =
  | "create"
  | "create-settled"
  | "undo-settled"
  | "start"
  | "start-settled"
  | "delete"
  | "delete-settled"
  | "pause"
  | "pause-settled"
  | "resume"
  | "resume-settled";

export const lifecycleHandlers: HandlersOf<LifecycleKind> = {
  create(state, message, cx) {
    const { namespace, id } = cx.key;
    const record = cx.deps.store.getContainer(namespace, id);
    if (record === undefined) {
      refuseUnknownContainer(message.reply as Reply<never>, cx);
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
    if (cx.order.owes) return { phase: "settling", deferred: [message] };
    const { self } = cx.actor;
    const progress: CreationProgress = {
      placed: (shim) => self.tell({ kind: "placed", shim }),
      made: (shim, pid) => self.tell({ kind: "made", shim, pid }),
    };
    cx.performLasting(
      (limits) => createTask(cx.deps, cx.key, message, record, progress, limits),
      (outcome) => ({ kind: "create-settled", outcome }),
      cx.deps.timeouts.createMs,
    );
    return { phase: "creating", request: message, deferred: [], early: [] };
  },

  "create-settled"(state, { outcome }, cx) {
    if (state.phase !== "creating") throw new Error(`create settled while ${state.phase}`);
    const { request } = state;
    if (!outcome.ok) {
      request.reply.reject(outcome.error);
      closeLostTasks(undefined, cx);
      return { phase: "absent" };
    }
    if ("uncertain" in outcome.value) {
      request.reply.reject(outcome.value.uncertain);
      return { ...beginRecovery(cx), deferred: state.deferred };
    }
    const created = outcome.value;
    const { shim, bundle, pid } = created;
    noteMade(shim, pid, cx);
    if (request.reply.settled) {
      // The client went away, so nobody knows of this task: containerd undoes it, and so do we.
      cx.performLasting(
        () => undoCreate(cx.deps, cx.key, created),
        (undone) => ({ kind: "undo-settled", outcome: undone }),
        cx.deps.timeouts.deleteMs,
      );
      return state;
    }
    watchShim(shim, cx);
    const init = newProcess("", request.stdio, pid);
    const task = { life: cx.newLife(), shim, bundle, init, execs: new Map(), doubtful: false, gone: false };
    request.reply.resolve({ pid });
    return state.early.reduce(applyToTask, { phase: "created", task });
  },

  "undo-settled"(state, { outcome }, cx) {
    if (state.phase !== "creating") throw new Error(`undo settled while ${state.phase}`);
    if (!outcome.ok) cx.actor.log.error({ err: outcome.error }, "bundle of an abandoned task not removed");
    // What cannot be removed is kept, so that clients see it and may try.
    else if (!outcome.value) return { ...beginRecovery(cx), deferred: state.deferred };
    closeLostTasks(undefined, cx);
    return { phase: "absent" };
  },

  start(state, message, cx) {
    const { execId, reply } = message;
    if (execId !== "") return startExecProcess(state, execId, reply, cx);
    const at = resting(state, reply as Reply<never>, cx);
    if (at === undefined) return state;
    if (at.phase === "created") cx.order.expectStart("");
    // Not admitted by the gate: runc's start is one read of a FIFO, and crun's is short.
    cx.performCall(
      (signal) => at.task.shim.start(cx.key.id, "", signal),
      (outcome) => ({ kind: "start-settled", life: at.task.life, execId, reply, outcome }),
      cx.deps.timeouts.startMs,
    );
    return { phase: "starting", task: at.task, from: at.phase, deferred: [] };
  },

  "start-settled"(state, message, cx) {
    const { execId, reply, outcome, life } = message;
    settle(reply, outcome);
    if (!("task" in state) || state.task.life !== life) return state;
    // After a doubtful failure the start event may still come, and an exit has to wait for it.
    if (!outcome.ok && !isDoubtful(outcome.error)) publishReady(cx.order.startFailed(execId), cx);
    if (execId !== "") return settleExecStart(state, execId, outcome);
    if (state.phase !== "starting") return state;
    const { init } = state.task;
    const started = outcome.ok && init.life === "created";
    const task = started ? withProcess(state.task, { ...init, life: "running" }) : state.task;
    return rest(task, outcome.ok ? "running" : state.from);
  },

  delete(state, message, cx) {
    const { reply } = message;
    if (message.execId !== undefined && message.execId !== "") {
      return deleteExec(state, message.execId, reply, cx);
    }
    const at = resting(state, reply as Reply<never>, cx);
    if (at === undefined) return state;
    const prefix = message.execId === undefined ? "failed to delete task" : undefined;
    cx.performLasting(
      (limits) =>
        deleteTask(cx.deps, cx.key, at.task.shim, cx.actor.log, limits).catch((thrown) => {
          throw prefix === undefined ? thrown : prefixed(prefix, thrown);
        }),
      (outcome) => ({ kind: "delete-settled", reply, outcome }),
      cx.deps.timeouts.deleteMs,
    );
    return { phase: "deleting", task: at.task, from: at.phase, deferred: [] };
  },

  "delete-settled"(state, { reply, outcome }, cx) {
    if (state.phase !== "deleting") {
      // The shim died meanwhile and cleaning took over.
      if (!outcome.ok) reply.reject(outcome.error);
      else if (outcome.value !== undefined) reply.resolve(outcome.value);
      else reply.reject(notFound(`task ${cx.key.id} not found`, { bare: true }));
      return state;
    }
    const { task } = state;
    if (!outcome.ok) {
      reply.reject(outcome.error);
      return rest(task, state.from);
    }
    const exit = outcome.value ?? task.init.exit;
    if (exit === undefined) reply.reject(notFound(`task ${cx.key.id} not found`, { bare: true }));
    else reply.resolve(exit);
    for (const waiter of task.init.waiters) {
      if (exit === undefined) waiter.reject(notFound(`task ${cx.key.id} not found`, { bare: true }));
      else waiter.resolve(exit);
    }
    failExecWaiters(task);
    cx.past.deleted(task.init.pid, exit);
    return { phase: "absent" };
  },

  pause(state, { reply }, cx) {
    const at = resting(state, reply as Reply<never>, cx);
    if (at === undefined) return state;
    cx.performCall(
      (signal) => at.task.shim.pause(cx.key.id, signal),
      (outcome) => ({ kind: "pause-settled", reply, outcome }),
      cx.deps.timeouts.callMs,
    );
    return { phase: "pausing", task: at.task, from: at.phase, deferred: [] };
  },

  "pause-settled"(state, { reply, outcome }) {
    settle(reply, outcome);
    if (state.phase !== "pausing") return state;
    return rest(doubted(state.task, outcome), outcome.ok ? "paused" : state.from);
  },

  resume(state, { reply }, cx) {
    const at = resting(state, reply as Reply<never>, cx);
    if (at === undefined) return state;
    cx.performCall(
      (signal) => at.task.shim.resume(cx.key.id, signal),
      (outcome) => ({ kind: "resume-settled", reply, outcome }),
      cx.deps.timeouts.callMs,
    );
    return { phase: "resuming", task: at.task, from: at.phase, deferred: [] };
  },

  "resume-settled"(state, { reply, outcome }) {
    settle(reply, outcome);
    if (state.phase !== "resuming") return state;
    return rest(doubted(state.task, outcome), outcome.ok ? "running" : state.from);
  },
};

/** The task after a call whose answer may never have come. */
const doubted = (task: Task, outcome: Outcome<unknown>): Task =>
  outcome.ok || !isDoubtful(outcome.error) ? task : { ...task, doubtful: true };
