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
  if (state.phase === "absent") return state;
  return { ...state, early: [...state.early, event].slice(-earlyLimit) };
}

/** The state after an event. Those of an earlier life change nothing: their pids are not this task's. */
export function applyToTask(state: Present, event: TaskEvent): Present {
  const { init } = state.task;
  switch (event.topic) {
    case "/tasks/start":
      return init.pid === event.pid && init.life === "created" ? startedState(state) : state;
    case "/tasks/exec-started": {
      const process = findProcess(state.task, event.execId);
      // Elsewhere the answer to the start says it; this may be of an earlier exec with the same id.
      if (process === undefined || !process.doubtful || process.life !== "created") return state;
      const running = { ...process, life: "running", pid: event.pid } as const;
      return { ...state, task: withProcess(state.task, running) };
    }
    case "/tasks/exit":
      return afterExit(state, event.processId === event.containerId ? "" : event.processId, event.exit);
    default:
      return state;
  }
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
  const unsettled = cx.order.unsettled("task" in state ? state.task.init.pid : undefined);
  if (unsettled && !cx.orderTimer)
    cx.actor.startTimer("order", cx.deps.timeouts.eventOrderMs, { kind: "order-timeout" });
  else if (!unsettled && cx.orderTimer) cx.actor.cancelTimer("order");
  cx.orderTimer = unsettled;
  return unsettled;
}

/** Whoever waits for an exec of a task that is gone learns so. */
export function failExecWaiters(task: Task): void {
  for (const process of task.execs.values()) {
    for (const waiter of process.waiters) waiter.reject(notFound(`process does not exist ${process.execId}`));
  }
}

const nobody: Reply<void> = { settled: true, resolve: () => undefined, reject: () => undefined };

/** What a dead shim had still to say counts as if it had come. */
export function takeLastWords(state: Present, cx: ContainerContext): Present {
  let next = state;
  for (const envelope of cx.deps.shims.undelivered(state.task.shim, cx.key)) {
    const event = cx.deps.codec.decodeTask(envelope);
    if (event === undefined) continue;
    next = applyToTask(next, event);
    publishReady(cx.order.offer(event, { envelope, reply: nobody }), cx);
  }
  return next;
}

/** The events of a task whose shim died: what was held back, then exit and delete unless they went out. */
export function publishDeath(task: Task, exit: Exit, cx: ContainerContext): void {
  const { pid } = task.init;
  publishReady(cx.order.releaseHeld(), cx);
  const at = instantFromMs(cx.actor.clock.now());
  const { namespace, id } = cx.key;
  const publish = (event: Parameters<typeof envelopeOf>[1]): void => {
    const envelope = envelopeOf(namespace, event, cx.deps.codec, at);
    publishReady([{ envelope, reply: nobody }], cx);
  };
  if (!cx.order.exited(pid)) publish({ topic: "/tasks/exit", containerId: id, processId: id, exit });
  if (!cx.order.deleted(pid)) publish({ topic: "/tasks/delete", containerId: id, exit });
  cx.order.over();
}

const restingPhases: Readonly<Record<HostedTask["processes"][number]["state"]["status"], RestingPhase>> = {
  created: "created",
  running: "running",
  stopped: "stopped",
  paused: "paused",
  pausing: "paused",
  unknown: "running",
};

/** The task as its shim describes it. Throws for one without init: no shim lists such. */
export function taskOf(
  shim: ShimConnection,
  hosted: HostedTask,
  life: number,
): { readonly task: Task; readonly phase: RestingPhase; readonly joined: JoinedLife } {
  const processes = hosted.processes.map(({ execId, state }): TaskProcess => {
    const exit: Exit = { pid: state.pid, exitStatus: state.exitStatus, exitedAt: state.exitedAt };
    // The incarnation before may have asked for its start.
    const base = { ...newProcess(execId, state.stdio, state.pid), doubtful: true };
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
  const runningExecs = [...execs.values()]
    .filter((process) => process.life === "running")
    .map(({ execId }) => execId);
  const joined = {
    pid: init.pid,
    started: init.life !== "created",
    exited: init.life === "stopped",
    runningExecs,
  };
  const task: Task = { life, shim, bundle: hosted.bundle, init, execs };
  return { task, phase: restingPhases[initState.status], joined };
}
