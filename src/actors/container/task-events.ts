/** What the shim's events mean for a container's state, and how they reach the journal. */
import { notFound } from "../../core/errors.js";
import { type Exit, instantFromMs } from "../../core/exit.js";
import { envelopeOf } from "../../ports/event-codec-port.js";
import type { HostedTask, ShimConnection } from "../../ports/shim-launcher-port.js";
import type { Reply } from "../kernel/types.js";
import type { ContainerContext, OrderedEvent } from "./container-actor.js";
import type { EventOrder } from "./event-order.js";
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

/** Takes a shim's event: the state first, so that whoever sees the event and asks gets the new answer. */
export function applyTaskEvent(
  state: ContainerState,
  message: ShimEvent,
  cx: ContainerContext,
): ContainerState {
  const event = cx.deps.codec.decodeTask(message.envelope);
  if (event === undefined) {
    publishReady([message], cx);
    return state;
  }
  const next = event.topic === "/tasks/exit" ? afterExit(state, event.processId, event.exit, cx) : state;
  publishReady(cx.order.offer(event, message), cx);
  if (cx.order.holding) {
    cx.actor.startTimer("order", cx.deps.timeouts.eventOrderMs, { kind: "order-timeout" });
  } else if (!cx.order.awaitingDelete) {
    cx.actor.cancelTimer("order");
  }
  return next;
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

function afterExit(
  state: ContainerState,
  processId: string,
  exit: Exit,
  cx: ContainerContext,
): ContainerState {
  const execId = processId === cx.key.id ? "" : processId;
  if (state.phase === "creating") return execId === "" ? { ...state, earlyExit: exit } : state;
  if (!("task" in state)) return state;
  const process = findProcess(state.task, execId);
  // A pid that is not this process's belongs to an earlier life of the same id.
  if (process === undefined || (process.pid !== 0 && process.pid !== exit.pid)) return state;
  return exitedState(state, execId, exit);
}

/** The state once a process has ended: waiters are answered. */
export function exitedState(state: Present, execId: string, exit: Exit): Present {
  const process = findProcess(state.task, execId);
  if (process === undefined || process.exit !== undefined) return state;
  for (const waiter of process.waiters) waiter.resolve(exit);
  const ended: TaskProcess = { ...process, life: "stopped", pid: exit.pid, exit, waiters: [] };
  const task = withProcess(state.task, ended);
  if (execId !== "") return { ...state, task };
  if ("from" in state) return { ...state, task, from: "stopped" };
  if (state.phase === "cleaning") return { ...state, task };
  return { phase: "stopped", task };
}

/** Whoever waits for an exec of a task that is gone learns so. */
export function failExecWaiters(task: Task): void {
  for (const process of task.execs.values()) {
    for (const waiter of process.waiters) waiter.reject(notFound(`process does not exist ${process.execId}`));
  }
}

/** The events of a task whose shim died: what was held back, then exit (unless it was seen), then delete. */
export function publishDeath(task: Task, exit: Exit, cx: ContainerContext): void {
  publishReady(cx.order.releaseAll(), cx);
  const at = instantFromMs(cx.actor.clock.now());
  const { namespace, id } = cx.key;
  const publish = (event: Parameters<typeof envelopeOf>[1]): void =>
    cx.deps
      .journal()
      .tell(
        { kind: "publish", envelope: envelopeOf(namespace, event, cx.deps.codec, at), reply: undefined },
        cx.actor.path,
      );
  if (task.init.exit === undefined) publish({ topic: "/tasks/exit", containerId: id, processId: id, exit });
  publish({ topic: "/tasks/delete", containerId: id, exit });
  cx.order.giveUpOnDelete();
}

/** The task as its shim describes it; the order of events goes on from there. */
export function resumeOrder(
  shim: ShimConnection,
  hosted: HostedTask,
  order: EventOrder<OrderedEvent>,
): { readonly task: Task; readonly phase: RestingPhase } {
  const processes = hosted.processes.map(({ execId, state }): TaskProcess => {
    const exit: Exit = { pid: state.pid, exitStatus: state.exitStatus, exitedAt: state.exitedAt };
    const base = newProcess(execId, state.stdio, state.pid);
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
  const running = [...execs.values()].filter(({ life }) => life === "running").map(({ execId }) => execId);
  order.resume({ started: init.life !== "created", exited: init.life === "stopped", runningExecs: running });
  const phases: Record<typeof initState.status, RestingPhase> = {
    created: "created",
    running: "running",
    stopped: "stopped",
    paused: "paused",
    pausing: "paused",
    unknown: "running",
  };
  return { task: { shim, bundle: hosted.bundle, init, execs }, phase: phases[initState.status] };
}
