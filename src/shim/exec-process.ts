/** The life of a later process in a container, and which operations each moment of it allows. Deciding only. */
import { type DaemonError, failedPrecondition, notFound, unknownError } from "../core/errors.js";
import type { Exit } from "../core/exit.js";
import type { ProcessStatus } from "../ports/shim-port.js";

export type ExecState =
  /** Registered, or registered again after a start that failed: there is no process. */
  | { readonly phase: "created" }
  /** The runtime is starting it. Once its pid is known, an exit may beat the client's end of the streams. */
  | { readonly phase: "starting"; readonly pid?: number; readonly earlyExit?: Exit }
  | { readonly phase: "running"; readonly pid: number }
  /** Reaped, but not told yet: its output drains. */
  | { readonly phase: "ending"; readonly pid: number; readonly exit: Exit }
  | { readonly phase: "stopped"; readonly pid: number; readonly exit: Exit }
  | { readonly phase: "deleted" };

export type ExecPhase = ExecState["phase"];
export type ExecOperation = "start" | "delete" | "resize";

const running = { start: "cannot start a running process", delete: "cannot delete a running process" };
const refusals: Readonly<Record<ExecPhase, Readonly<Partial<Record<ExecOperation, string>>>>> = {
  created: {},
  starting: running,
  running,
  ending: running,
  stopped: { start: "cannot start a stopped process", resize: "cannot resize a stopped container" },
  deleted: {
    start: "cannot start a deleted process",
    delete: "cannot delete a deleted process",
    resize: "cannot resize a deleted process",
  },
};

/** Why `operation` is not possible now, as containerd says it; undefined when it is. */
export function execRefusal(state: ExecState, operation: ExecOperation): DaemonError | undefined {
  const text = refusals[state.phase][operation];
  return text === undefined ? undefined : unknownError(text);
}

/** The pid that a signal may go to; throws as containerd does before the start and after the end. */
export function signallableExec(state: ExecState): number {
  switch (state.phase) {
    case "created":
      throw failedPrecondition("process not created");
    case "starting":
      if (state.pid === undefined) throw failedPrecondition("process not created");
      if (state.earlyExit !== undefined) throw notFound("process already finished");
      return state.pid;
    case "running":
      return state.pid;
    case "ending":
    case "stopped":
    case "deleted":
      throw notFound("process already finished");
  }
}

/** Its exit, or the failure of its start, is still to come: init's exit waits for that. */
export const isExecPending = (state: ExecState): boolean =>
  state.phase === "starting" || state.phase === "running" || state.phase === "ending";

export const execPid = (state: ExecState): number => ("pid" in state ? (state.pid ?? 0) : 0);

const statuses: Readonly<Record<ExecPhase, ProcessStatus>> = {
  created: "created",
  starting: "created",
  running: "running",
  ending: "running",
  stopped: "stopped",
  deleted: "stopped",
};
export const execStatus = (state: ExecState): ProcessStatus => statuses[state.phase];

/** The state after the kernel reported the exit: kept back while the start is under way. */
export function execReaped(state: ExecState, exit: Exit): ExecState {
  switch (state.phase) {
    case "starting":
      return { ...state, earlyExit: exit };
    case "running":
      return { phase: "ending", pid: state.pid, exit };
    case "created":
    case "ending":
    case "stopped":
    case "deleted":
      return state;
  }
}
