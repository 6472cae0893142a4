/**
 * The life of a container's first process as a tagged union, and which operations each moment of it allows, in
 * the words of containerd's shim. Deciding only: effects are `task.ts`'s.
 */
import { type DaemonError, notFound, unknownError } from "../core/errors.js";
import { type Exit, zeroInstant } from "../core/exit.js";
import type { ProcessStatus } from "../ports/shim-port.js";

export type InitState =
  /** Made by the runtime; its program has not begun. */
  | { readonly phase: "created"; readonly pid: number }
  /** To be restored from criu's images at start: there is no process yet. */
  | { readonly phase: "restorable" }
  /** Start is under way. An exit that beats its outcome waits here. */
  | { readonly phase: "starting"; readonly pid: number; readonly earlyExit?: Exit }
  | { readonly phase: "running"; readonly pid: number }
  /** `killed`: SIGKILL came meanwhile, and takes effect only if it is thawed again. */
  | { readonly phase: "pausing"; readonly pid: number; readonly killed?: true }
  | { readonly phase: "paused"; readonly pid: number }
  /** Reaped, but not told yet: execs and output come first. Clients still see it running. */
  | { readonly phase: "ending"; readonly pid: number; readonly exit: Exit }
  | { readonly phase: "stopped"; readonly pid: number; readonly exit: Exit }
  | { readonly phase: "deleted"; readonly pid: number };

export type InitPhase = InitState["phase"];
export type InitOperation = "start" | "delete" | "pause" | "resume" | "update" | "exec" | "checkpoint";

const deleted: Readonly<Record<InitOperation, string>> = {
  start: "cannot start a deleted process",
  delete: "cannot delete a deleted process",
  pause: "cannot pause a deleted process",
  resume: "cannot resume a deleted process",
  update: "cannot update a deleted process",
  exec: "cannot exec in a deleted state",
  checkpoint: "cannot checkpoint a deleted process",
};
const created = {
  pause: "cannot pause task in created state",
  resume: "cannot resume task in created state",
  checkpoint: "cannot checkpoint a task in created state",
};
const running = {
  start: "cannot start a running process",
  delete: "cannot delete a running process",
  resume: "cannot resume a running process",
};
const paused = {
  start: "cannot start a paused process",
  delete: "cannot delete a paused process",
  pause: "cannot pause a paused container",
  exec: "cannot exec in a paused state",
};
const stopped = {
  start: "cannot start a stopped process",
  pause: "cannot pause a stopped container",
  resume: "cannot resume a stopped container",
  update: "cannot update a stopped container",
  exec: "cannot exec in a stopped state",
  checkpoint: "cannot checkpoint a stopped container",
};

const refusals: Readonly<Record<InitPhase, Readonly<Partial<Record<InitOperation, string>>>>> = {
  created,
  restorable: {
    ...created,
    exec: "cannot exec in a created state",
    update: "cannot update a created container",
  },
  starting: created,
  running,
  pausing: paused,
  paused,
  ending: { ...stopped, delete: running.delete },
  stopped,
  deleted,
};

/** Why `operation` is not possible now, as containerd says it; undefined when it is. */
export function initRefusal(state: InitState, operation: InitOperation): DaemonError | undefined {
  const text = refusals[state.phase][operation];
  return text === undefined ? undefined : unknownError(text);
}

/** The pid that a signal may go to; throws not-found once there is no process to signal. */
export function signallableInit(state: InitState): number {
  switch (state.phase) {
    case "created":
    case "starting":
    case "running":
    case "pausing":
    case "paused":
      if (!("earlyExit" in state)) return state.pid;
      throw notFound("process already finished");
    case "restorable":
    case "ending":
    case "stopped":
    case "deleted":
      throw notFound("process already finished");
  }
}

/** True while the process exists and its exit is still to come. */
export const isInitAlive = (state: InitState): boolean =>
  !("exit" in state || "earlyExit" in state || state.phase === "restorable" || state.phase === "deleted");

export const initPid = (state: InitState): number => (state.phase === "restorable" ? 0 : state.pid);

const statuses: Readonly<Record<InitPhase, ProcessStatus>> = {
  created: "created",
  restorable: "created",
  starting: "created",
  running: "running",
  pausing: "pausing",
  paused: "paused",
  ending: "running",
  stopped: "stopped",
  deleted: "stopped",
};
export const initStatus = (state: InitState): ProcessStatus => statuses[state.phase];

/** Exit status and time as clients may see them now: Go's zero time until the exit is told. */
export function visibleExit(state: { readonly phase: string; readonly exit?: Exit }): Omit<Exit, "pid"> {
  if (state.phase !== "stopped" || state.exit === undefined) return { exitStatus: 0, exitedAt: zeroInstant };
  return { exitStatus: state.exit.exitStatus, exitedAt: state.exit.exitedAt };
}

/** The state after the kernel reported the exit: kept back while Start is under way, so that start is told first. */
export function initReaped(state: InitState, exit: Exit): InitState {
  switch (state.phase) {
    case "starting":
      return { ...state, earlyExit: exit };
    case "created":
    case "running":
    case "pausing":
    case "paused":
      return { phase: "ending", pid: state.pid, exit };
    case "restorable":
    case "ending":
    case "stopped":
    case "deleted":
      return state;
  }
}
