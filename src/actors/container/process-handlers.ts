/** Execs, and everything about processes that needs no turn among the lifecycle commands. */
import { resourceExhausted } from "../../core/errors.js";
import { type Exit, zeroInstant } from "../../core/exit.js";
import type { Outcome } from "../../core/outcome.js";
import type { Reply } from "../kernel/types.js";
import type { ContainerContext } from "./container-actor.js";
import { isDoubtful, startExec } from "./effects.js";
import { callShim, type HandlersOf, presentOrRefuse, processOrRefuse, settle } from "./handling.js";
import {
  type ContainerState,
  describeProcess,
  findProcess,
  newProcess,
  type Present,
  withoutExec,
  withProcess,
} from "./state.js";
import { exitedState } from "./task-events.js";

type ProcessKind =
  | "get"
  | "kill"
  | "exec"
  | "exec-settled"
  | "exec-delete-settled"
  | "resize-pty"
  | "close-io"
  | "pids"
  | "update"
  | "stats"
  | "wait"
  | "call-settled";

/** Clients that may wait for one process. */
const waiterLimit = 4096;
/** What Wait and Delete say of an exec that never ran. */
const neverRan = { exitStatus: 0, exitedAt: zeroInstant };

export const processHandlers: HandlersOf<ProcessKind> = {
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
    const { shim, life } = present.task;
    cx.performCall(
      (signal) => shim.exec(cx.key.id, message.execId, message.stdio, message.spec, signal),
      (outcome) => ({ kind: "exec-settled", life, request: message, outcome }),
      cx.deps.timeouts.callMs,
    );
    return state;
  },

  "exec-settled"(state, { request, life, outcome }) {
    settle(request.reply, outcome);
    if (!("task" in state) || state.task.life !== life) return state;
    if (!outcome.ok)
      return isDoubtful(outcome.error) ? { ...state, task: { ...state.task, doubtful: true } } : state;
    return { ...state, task: withProcess(state.task, newProcess(request.execId, request.stdio, 0)) };
  },

  "exec-delete-settled"(state, { execId, life, birth, reply, outcome }) {
    settle(reply, outcome);
    if (!("task" in state) || state.task.life !== life) return state;
    const process = findProcess(state.task, execId);
    // Its id may have been taken again before this answer came.
    if (process === undefined || process.birth !== birth) return state;
    if (outcome.ok) for (const waiter of process.waiters) waiter.resolve(outcome.value);
    else if (outcome.error.kind !== "not-found") return state;
    else for (const waiter of process.waiters) waiter.reject(outcome.error);
    return { ...state, task: withoutExec(state.task, execId) };
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
      reply.resolve(neverRan);
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

  "call-settled"(state, { answer }) {
    answer();
    return state;
  },
};

export function startExecProcess(
  state: ContainerState,
  execId: string,
  reply: Reply<{ readonly pid: number }>,
  cx: ContainerContext,
): ContainerState {
  const present = presentOrRefuse(state, reply as Reply<never>, cx);
  if (present === undefined) return state;
  const process = processOrRefuse(present, execId, reply as Reply<never>);
  if (process === undefined) return state;
  const { shim, life } = present.task;
  if (process.life === "created") cx.order.expectStart(execId);
  cx.performCall(
    (signal) => startExec(cx.deps, cx.key, shim, execId, signal),
    (outcome) => ({ kind: "start-settled", life, execId, reply, outcome }),
    cx.deps.timeouts.startMs,
  );
  return state;
}

export function settleExecStart(
  state: Present,
  execId: string,
  outcome: Outcome<{ readonly pid: number }>,
): Present {
  const process = findProcess(state.task, execId);
  if (process === undefined || (process.life !== "created" && process.life !== "start-failed")) return state;
  if (outcome.ok) {
    const { pid } = outcome.value;
    const running = { ...process, life: "running", pid, earlyExits: [] } as const;
    const next = { ...state, task: withProcess(state.task, running) };
    const exit = process.earlyExits.find((early) => early.pid === pid);
    return exit === undefined ? next : exitedState(next, execId, exit);
  }
  if (isDoubtful(outcome.error)) {
    const next = { ...state, task: withProcess(state.task, { ...process, doubtful: true }) };
    const exit = process.earlyExits.at(-1);
    return exit === undefined ? next : exitedState(next, execId, exit);
  }
  for (const waiter of process.waiters) waiter.resolve(neverRan);
  return { ...state, task: withProcess(state.task, { ...process, life: "start-failed", waiters: [] }) };
}

export function deleteExec(
  state: ContainerState,
  execId: string,
  reply: Reply<Exit>,
  cx: ContainerContext,
): ContainerState {
  const present = presentOrRefuse(state, reply as Reply<never>, cx);
  if (present === undefined) return state;
  const process = processOrRefuse(present, execId, reply as Reply<never>);
  if (process === undefined) return state;
  const { shim, life } = present.task;
  const { birth } = process;
  cx.performCall(
    (signal) => shim.delete(cx.key.id, execId, signal),
    (outcome) => ({ kind: "exec-delete-settled", life, birth, execId, reply, outcome }),
    cx.deps.timeouts.deleteMs,
  );
  return state;
}
