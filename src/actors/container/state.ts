/** What a container actor knows of its task. */
import { type Exit, type Instant, zeroInstant } from "../../core/exit.js";
import type { TaskEvent } from "../../ports/event-codec-port.js";
import type { ShimConnection } from "../../ports/shim-launcher-port.js";
import type { ProcessState, ProcessStatus, Stdio } from "../../ports/shim-port.js";
import type { Reply } from "../kernel/types.js";
import type { ContainerRequest, CreateTask } from "./messages.js";

export type WaitReply = Reply<{ readonly exitStatus: number; readonly exitedAt: Instant }>;

/** Init (exec id "") or an exec. An exec whose start failed stays `created`, as clients must still delete it. */
export interface TaskProcess {
  /** Tells an exec from a later one with the same id. */
  readonly birth: number;
  readonly execId: string;
  readonly stdio: Stdio;
  readonly pid: number;
  readonly life: "created" | "start-failed" | "running" | "stopped";
  readonly exit: Exit | undefined;
  readonly waiters: readonly WaitReply[];
  /** A start whose answer never came: it may run, as its events will tell. */
  readonly doubtful: boolean;
  /** Exits under its id from before its pid was known: one of them may be its own. */
  readonly earlyExits: readonly Exit[];
}

export interface Task {
  /** Tells a task from the next one of the same id: answers meant for the earlier one may still come. */
  readonly life: number;
  readonly shim: ShimConnection;
  readonly bundle: string;
  readonly init: TaskProcess;
  readonly execs: ReadonlyMap<string, TaskProcess>;
  /** The answer to some call never came: the shim may know of an exec, or of a pause, that is not known here. */
  readonly doubtful: boolean;
  /** The shim has deleted it, though perhaps nobody here knows why. */
  readonly gone: boolean;
}

/** Commands that came while another lifecycle command ran; taken up again, in order, when it has settled. */
export type Deferred = readonly ContainerRequest[];

/** What the shim told of a task before its description came; it counts from then on. */
export type EarlyEvents = readonly TaskEvent[];

/** The phases in which a task is at rest. */
export type RestingPhase = "created" | "running" | "paused" | "stopped";
/** The phases in which one lifecycle command runs. */
export type BusyPhase = "starting" | "pausing" | "resuming" | "deleting";

export type ContainerState =
  | { readonly phase: "absent" }
  /** Asking the shim what is true, after a restart of this actor or of the daemon. */
  | { readonly phase: "recovering"; readonly deferred: Deferred; readonly early: EarlyEvents }
  /** Between two tasks: the last events of one come before the next is made. */
  | { readonly phase: "settling"; readonly deferred: Deferred }
  | {
      readonly phase: "creating";
      readonly request: CreateTask;
      readonly deferred: Deferred;
      readonly early: EarlyEvents;
    }
  | { readonly phase: RestingPhase; readonly task: Task }
  | {
      readonly phase: BusyPhase;
      readonly task: Task;
      readonly from: RestingPhase;
      readonly deferred: Deferred;
    }
  /** The shim is gone; its remains are being cleaned up. */
  | { readonly phase: "cleaning"; readonly task: Task; readonly deferred: Deferred };

export type Present = Extract<ContainerState, { readonly task: Task }>;

let births = 0;

export const newProcess = (execId: string, stdio: Stdio, pid: number): TaskProcess => ({
  birth: ++births,
  execId,
  stdio,
  pid,
  life: "created",
  exit: undefined,
  waiters: [],
  doubtful: false,
  earlyExits: [],
});

export const findProcess = (task: Task, execId: string): TaskProcess | undefined =>
  execId === "" ? task.init : task.execs.get(execId);

export function withProcess(task: Task, process: TaskProcess): Task {
  if (process.execId === "") return { ...task, init: process };
  const execs = new Map(task.execs);
  execs.set(process.execId, process);
  return { ...task, execs };
}

export function withoutExec(task: Task, execId: string): Task {
  const execs = new Map(task.execs);
  execs.delete(execId);
  return { ...task, execs };
}

/** The process as clients see it. Execs of a paused task are paused as well. */
export function describeProcess(state: Present, containerId: string, process: TaskProcess): ProcessState {
  return {
    id: process.execId === "" ? containerId : process.execId,
    bundle: state.task.bundle,
    pid: process.pid,
    status: statusOf(state, process),
    stdio: process.stdio,
    exitStatus: process.exit?.exitStatus ?? 0,
    exitedAt: process.exit?.exitedAt ?? zeroInstant,
  };
}

function statusOf(state: Present, process: TaskProcess): ProcessStatus {
  switch (process.life) {
    case "created":
    case "start-failed":
      return "created";
    case "stopped":
      return "stopped";
    case "running":
      if (state.phase === "paused" || state.phase === "resuming") return "paused";
      if (state.phase === "pausing") return "pausing";
      if (state.phase === "deleting" && state.from === "paused") return "paused";
      return "running";
  }
}
