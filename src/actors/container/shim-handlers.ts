/** What a container actor does about its shim: takes events, recovers a task, cleans up after a dead one. */
import { type Exit, instantFromMs } from "../../core/exit.js";
import type { ContainerContext } from "./container-actor.js";
import { cleanUpTask, recoverTask } from "./effects.js";
import { type HandlersOf, watchShim } from "./handling.js";
import { type ContainerState, newProcess, type Task } from "./state.js";
import {
  applyTaskEvent,
  applyToTask,
  closeLostTasks,
  forgetStrangers,
  publishDeath,
  publishReady,
  taskOf,
  withLastWords,
} from "./task-events.js";

type ShimKind =
  | "shim-event"
  | "placed"
  | "made"
  | "shim-lost"
  | "cleanup-settled"
  | "recover"
  | "recover-settled"
  | "order-timeout";

type Recovering = Extract<ContainerState, { readonly phase: "recovering" }>;

/** Pause before a shim that could not describe a task is asked again. */
const recoverPauseMs = 1000;
const noStdio = { stdin: "", stdout: "", stderr: "", terminal: false };

/** Asks what is true, once what an earlier incarnation began has ended. */
export function beginRecovery(cx: ContainerContext): Recovering {
  askShim(cx);
  const shim = cx.deps.shims.hosting(cx.key);
  if (shim !== undefined) watchShim(shim, cx);
  return { phase: "recovering", deferred: [], early: [] };
}

/** A task was made in this shim: its events come, whether anybody wants it or not. */
export function noteMade(shim: Task["shim"], pid: number, cx: ContainerContext): void {
  cx.past.made(shim, pid);
  publishReady(cx.order.born(pid), cx);
}

function askShim(cx: ContainerContext): void {
  const earlier = [...cx.running];
  cx.perform(
    (signal) => recoverTask(cx.deps, cx.key, earlier, signal),
    (outcome) => ({ kind: "recover-settled", outcome }),
    { deadlineMs: cx.deps.timeouts.callMs },
  );
}

export const shimHandlers: HandlersOf<ShimKind> = {
  "shim-event": (state, message, cx) => applyTaskEvent(state, message, cx),

  recover(state, _message, cx) {
    if (state.phase === "recovering") askShim(cx);
    return state;
  },

  "recover-settled"(state, { outcome }, cx) {
    if (state.phase === "cleaning") return state; // the shim died meanwhile
    if (state.phase !== "recovering") throw new Error(`recovery settled while ${state.phase}`);
    if (!outcome.ok) {
      cx.actor.log.warn({ err: outcome.error }, "shim did not say what it knows of the task");
      // One that is dead shows in `closed`; one that hangs is asked again, and clients need not wait for it.
      cx.actor.startTimer("recover", recoverPauseMs, { kind: "recover" });
      for (const { reply } of state.deferred) reply.reject(outcome.error);
      return { ...state, deferred: [] };
    }
    if (outcome.value === undefined) return { phase: "absent" };
    const { shim, hosted } = outcome.value;
    watchShim(shim, cx);
    // Calls of an earlier incarnation have been waited for; those of an earlier daemon may still go on.
    const known = hosted.processes.some(({ state: { pid } }) => cx.past.knows(pid));
    const doubtful = !known || cx.doubts.takeAll();
    const { phase, task, joined } = taskOf(shim, hosted, cx.newLife(), doubtful);
    cx.past.made(shim, joined.pid);
    publishReady(cx.order.join(joined), cx);
    return state.early.reduce(applyToTask, { phase, task });
  },

  placed(state, { shim }, cx) {
    watchShim(shim, cx);
    cx.past.placed(shim);
    return state;
  },

  made(state, { shim, pid }, cx) {
    noteMade(shim, pid, cx);
    return state;
  },

  "shim-lost"(state, { shim }, cx) {
    cx.watched.delete(shim);
    const task = lostTask(state, cx, shim);
    if (task === undefined) {
      // A creation under way is closed when it settles.
      if (state.phase !== "creating") closeLostTasks(pidOf(state), cx);
      return state;
    }
    cx.actor.log.warn({ shim: shim.shimId, pid: task.init.pid }, "shim lost, cleaning up its task");
    cx.performLasting(
      ({ deadline }) => cleanUpTask(cx.deps, cx.key, task.bundle, deadline),
      (outcome) => ({ kind: "cleanup-settled", outcome }),
      cx.deps.timeouts.deleteMs,
    );
    cx.actor.cancelTimer("recover");
    return { phase: "cleaning", task, deferred: "deferred" in state ? state.deferred : [] };
  },

  "cleanup-settled"(state, { outcome }, cx) {
    if (state.phase !== "cleaning") throw new Error(`cleanup settled while ${state.phase}`);
    if (!outcome.ok)
      cx.actor.log.error(
        { err: outcome.error, bundle: state.task.bundle },
        "cleanup after a dead shim failed",
      );
    const { task } = withLastWords(state, cx);
    const exit: Exit = {
      pid: outcome.ok ? task.init.pid || outcome.value.pid : 0,
      exitStatus: outcome.ok ? 137 : 255,
      exitedAt: instantFromMs(cx.actor.clock.now()),
    };
    publishDeath(task, task.init.exit ?? exit, cx);
    for (const process of [task.init, ...task.execs.values()]) {
      for (const waiter of process.waiters) waiter.resolve(exit);
    }
    closeLostTasks(undefined, cx);
    cx.deps.shims.release(cx.key);
    return { phase: "absent" };
  },

  "order-timeout"(state, _message, cx) {
    cx.orderTimer = false;
    publishReady(cx.order.releaseHeld(), cx);
    // A life whose pid is not known yet is nobody's past.
    if (state.phase !== "creating" && state.phase !== "recovering") forgetStrangers(pidOf(state), cx);
    return state;
  },
};

const pidOf = (state: ContainerState): number | undefined =>
  "task" in state ? state.task.init.pid : undefined;

/** The task that was lost with the shim, if it was this shim's and nobody cares for it yet. */
function lostTask(state: ContainerState, cx: ContainerContext, shim: Task["shim"]): Task | undefined {
  if (state.phase === "cleaning") return undefined;
  if ("task" in state) return state.task.shim === shim ? state.task : undefined;
  // A creation notices by itself.
  if (state.phase !== "recovering" || cx.deps.shims.hosting(cx.key) !== shim) return undefined;
  const init = newProcess("", noStdio, cx.past.pidIn(shim));
  return {
    life: cx.newLife(),
    shim,
    bundle: cx.deps.bundles.path(cx.key),
    init,
    execs: new Map(),
    doubtful: true,
    gone: false,
  };
}
