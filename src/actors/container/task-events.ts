/** What the shim's events mean for a container's state, and how they reach the journal. */
import { notFound, toDaemonError } from "../../core/errors.js";
import { type Exit, instantFromMs } from "../../core/exit.js";
import { envelopeOf, type TaskEvent } from "../../ports/event-codec-port.js";
import type { HostedTask, ShimConnection } from "../../ports/shim-launcher-port.js";
import type { Reply } from "../kernel/types.js";
import type { ContainerContext, OrderedEvent } from "./container-actor.js";
import type { JoinedLife } from "./event-order.js";
import type { ShimEvent } from "./messages.js";
import {
  type ContainerState,
  findProcess,
  newProcess,
  type Present,
  type RestingPhase,
  type Task,
  type TaskProcess,
  withProcess,
} from "./state.js";

const noStdio = { stdin: "", stdout: "", stderr: "", terminal: false };
/** Events that may come before a task is described; the shim has no more for one task by then. */
const earlyLimit = 1024;
/** Exits that may come before an exec's pid is known. */
const earlyExitLimit = 16;

/** Takes a shim's event: the state first, so that whoever sees the event and asks gets the new answer. */
export function applyTaskEvent(
  state: ContainerState,
  message: ShimEvent,
  cx: ContainerContext,
): ContainerState {
  let event: TaskEvent | undefined;
  try {
    event = cx.deps.codec.decodeTask(message.envelope);
  } catch (thrown) {
    message.reply.reject(toDaemonError(thrown));
    return state;
  }
  if (event === undefined) {
    publishReady([message], cx);
    return state;
  }
  const next = withEvent(state, event);
  publishReady(cx.order.offer(event, message), cx);
  return next;
}

function withEvent(state: ContainerState, event: TaskEvent): ContainerState {
  if ("task" in state) return applyToTask(state, event);
  if (!("early" in state)) return state;
  return { ...state, early: [...state.early, event].slice(-earlyLimit) };
}

/** The state after an event. Those of an earlier life change nothing: their pids are not this task's. */
export function applyToTask(state: Present, event: TaskEvent): Present {
  const { init } = state.task;
  switch (event.topic) {
    case "/tasks/start":
      return init.pid === event.pid && init.life === "created" ? startedState(state) : state;
    case "/tasks/exec-added": {
      if (!state.task.doubtful || findProcess(state.task, event.execId) !== undefined) return state;
      const process = { ...newProcess(event.execId, noStdio, 0), doubtful: true };
      return { ...state, task: withProcess(state.task, process) };
    }
    case "/tasks/exec-started": {
      const process = findProcess(state.task, event.execId);
      // Elsewhere the answer to the start says it; this may be of an earlier exec with the same id.
      if (process === undefined || !process.doubtful || process.life !== "created") return state;
      const running = { ...process, life: "running", pid: event.pid } as const;
      return { ...state, task: withProcess(state.task, running) };
    }
    case "/tasks/paused":
    case "/tasks/resumed":
      return changedState(state, event.topic === "/tasks/paused" ? "paused" : "running");
    case "/tasks/delete":
      return init.pid === event.exit.pid ? { ...state, task: { ...state.task, gone: true } } : state;
    case "/tasks/exit":
      return afterExit(state, event.processId === event.containerId ? "" : event.processId, event.exit);
    default:
      return state;
  }
}

/** Believed only where the answer to a pause or resume never came: elsewhere it may be of an earlier one. */
function changedState(state: Present, phase: "paused" | "running"): Present {
  if (!state.task.doubtful) return state;
  if (state.phase === "paused" || state.phase === "running") return { phase, task: state.task };
  const isLive = "from" in state && (state.from === "paused" || state.from === "running");
  return isLive ? { ...state, from: phase } : state;
}

/** Init runs, whatever became of the answer to Start. */
function startedState(state: Present): Present {
  const task = withProcess(state.task, { ...state.task.init, life: "running" });
  if (state.phase === "created") return { phase: "running", task };
  if ("from" in state && state.from === "created") return { ...state, task, from: "running" };
  return { ...state, task };
}

function afterExit(state: Present, execId: string, exit: Exit): Present {
  const process = findProcess(state.task, execId);
  if (process === undefined || process.exit !== undefined) return state;
  if (process.pid === exit.pid || (process.pid === 0 && process.doubtful))
    return exitedState(state, execId, exit);
  if (process.pid !== 0) return state;
  // Before its pid is known, an exit may be of an earlier exec with this id.
  const earlyExits = [...process.earlyExits, exit].slice(-earlyExitLimit);
  return { ...state, task: withProcess(state.task, { ...process, earlyExits }) };
}

/** The state once a process has ended: waiters are answered. */
export function exitedState(state: Present, execId: string, exit: Exit): Present {
  const process = findProcess(state.task, execId);
  if (process === undefined || process.exit !== undefined) return state;
  for (const waiter of process.waiters) waiter.resolve(exit);
  const { pid } = exit;
  const ended: TaskProcess = { ...process, life: "stopped", pid, exit, waiters: [], earlyExits: [] };
  const task = withProcess(state.task, ended);
  if (execId !== "") return { ...state, task };
  if ("from" in state) return { ...state, task, from: "stopped" };
  if (state.phase === "cleaning") return { ...state, task };
  return { phase: "stopped", task };
}

/** Hands events to the journal in this order; its answer acknowledges them to their sender. */
export function publishReady(events: readonly OrderedEvent[], cx: ContainerContext): void {
  for (const { envelope, reply } of events) {
    cx.deps.journal().tell({ kind: "publish", envelope, reply: acknowledging(reply) }, cx.actor.path);
  }
}

const acknowledging = (reply: Reply<void>): Reply<bigint> => ({
  get settled() {
    return reply.settled;
  },
  resolve: () => reply.resolve(),
  reject: (error) => reply.reject(error),
});

/** Runs the order timer while something is awaited; true then. It is not prolonged by what comes meanwhile. */
export function watchOrder(state: ContainerState, cx: ContainerContext): boolean {
  const pid = "task" in state ? state.task.init.pid : undefined;
  const unsettled = cx.order.unsettled(pid);
  if (unsettled && !cx.orderTimer)
    cx.actor.startTimer("order", cx.deps.timeouts.eventOrderMs, { kind: "order-timeout" });
  else if (!unsettled && cx.orderTimer) cx.actor.cancelTimer("order");
  cx.orderTimer = unsettled;
  if (!unsettled && isSettled(state)) cx.past.forgetAllBut(pid);
  return unsettled;
}

const isSettled = (state: ContainerState): boolean => state.phase === "absent" || !("deferred" in state);

/** Whoever waits for an exec of a task that is gone learns so. */
export function failExecWaiters(task: Task): void {
  for (const process of task.execs.values()) {
    for (const waiter of process.waiters) waiter.reject(notFound(`process does not exist ${process.execId}`));
  }
}

const nobody: Reply<void> = { settled: true, resolve: () => undefined, reject: () => undefined };

/** Publishes what a dead shim had still to say, and returns it. */
function takeLastWords(shim: ShimConnection, cx: ContainerContext): TaskEvent[] {
  return cx.deps.shims.undelivered(shim, cx.key).flatMap((envelope) => {
    const event = cx.deps.codec.decodeTask(envelope);
    if (event === undefined) return [];
    publishReady(cx.order.offer(event, { envelope, reply: nobody }), cx);
    return [event];
  });
}

/** The state after what its dead shim had still to say. */
export const withLastWords = (state: Present, cx: ContainerContext): Present =>
  takeLastWords(state.task.shim, cx).reduce(applyToTask, state);

/**
 * Tasks that are gone owe their last events, and those do not come when their shim has died. Whoever saw such a
 * task begin is told of its end all the same. `pid`: of the present task, which is cared for elsewhere.
 */
export function closeLostTasks(pid: number | undefined, cx: ContainerContext): void {
  for (const task of cx.past.all) {
    if (cx.watched.has(task.shim) || (task.pid === pid && pid !== undefined)) continue;
    takeLastWords(task.shim, cx);
    cx.past.forget(task);
    // A creation that failed has no pid here; its events may have told one that nobody else knows.
    const present = cx.order.present;
    const life = task.pid ?? (present !== undefined && !cx.past.knows(present) ? present : undefined);
    if (life === undefined) continue;
    const unknown: Exit = { pid: life, exitStatus: 255, exitedAt: instantFromMs(cx.actor.clock.now()) };
    if (present === life) publishEnd(life, task.exit ?? unknown, cx);
    publishReady(cx.order.closed(life), cx);
  }
}

/** A life that nobody here knows, and that has been waited for, is nobody's: its events need not stay in order. */
export function forgetStrangers(pid: number | undefined, cx: ContainerContext): void {
  const { present } = cx.order;
  if (present !== undefined && present !== pid && !cx.past.knows(present))
    publishReady(cx.order.giveUp(present), cx);
}

/** The end of a life as far as it was not told: of its execs, of init, of the task. */
function publishEnd(pid: number, exit: Exit, cx: ContainerContext): void {
  const at = instantFromMs(cx.actor.clock.now());
  const { namespace, id } = cx.key;
  const publish = (event: Parameters<typeof envelopeOf>[1]): void => {
    const envelope = envelopeOf(namespace, event, cx.deps.codec, at);
    publishReady([{ envelope, reply: nobody }], cx);
  };
  for (const [processId, execPid] of cx.order.runningExecs(pid))
    publish({ topic: "/tasks/exit", containerId: id, processId, exit: { ...exit, pid: execPid } });
  if (!cx.order.exited(pid)) publish({ topic: "/tasks/exit", containerId: id, processId: id, exit });
  publish({ topic: "/tasks/delete", containerId: id, exit });
}

/** The events of a task whose shim died: what was held back, then exit and delete unless they went out. */
export function publishDeath(task: Task, exit: Exit, cx: ContainerContext): void {
  const { pid } = task.init;
  if (pid === 0 && cx.past.isUnmade(task.shim)) return;
  publishReady(cx.order.releaseHeld(), cx);
  if (!cx.order.deleted(pid)) publishEnd(pid, exit, cx);
  publishReady(cx.order.closed(pid), cx);
}

const restingPhases: Readonly<Record<HostedTask["processes"][number]["state"]["status"], RestingPhase>> = {
  created: "created",
  running: "running",
  stopped: "stopped",
  paused: "paused",
  pausing: "paused",
  unknown: "running",
};

/**
 * The task as its shim describes it. `doubtful`: somebody may have asked for more, and it is not done yet.
 * Throws for one without init: no shim lists such.
 */
export function taskOf(
  shim: ShimConnection,
  hosted: HostedTask,
  life: number,
  doubtful: boolean,
): { readonly task: Task; readonly phase: RestingPhase; readonly joined: JoinedLife } {
  const processes = hosted.processes.map(({ execId, state }): TaskProcess => {
    const exit: Exit = { pid: state.pid, exitStatus: state.exitStatus, exitedAt: state.exitedAt };
    const base = { ...newProcess(execId, state.stdio, state.pid), doubtful };
    if (state.status === "stopped") return { ...base, life: "stopped", exit };
    return state.status === "created" ? base : { ...base, life: "running" };
  });
  const init = processes.find(({ execId }) => execId === "");
  const initState = hosted.processes.find(({ execId }) => execId === "")?.state;
  if (init === undefined || initState === undefined)
    throw new Error(`shim ${shim.shimId} listed ${hosted.id} without init`);
  const execs = new Map(
    processes.filter(({ execId }) => execId !== "").map((process) => [process.execId, process]),
  );
  const runningExecs = [...execs.values()].filter((process) => process.life === "running");
  const joined = {
    pid: init.pid,
    started: init.life !== "created",
    exited: init.life === "stopped",
    runningExecs,
  };
  const task: Task = { life, shim, bundle: hosted.bundle, init, execs, doubtful, gone: false };
  return { task, phase: restingPhases[initState.status], joined };
}
