/**
 * Drives one OCI runtime binary (runc, crun, …) with containerd's command lines, for the containers under one
 * `--root`. Each call has a deadline; failures are DaemonErrors in containerd's words. It keeps no state about
 * containers: phases and pids are the caller's.
 */
import { copyFileSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type DaemonError, deadlineExceeded, unknownError } from "../core/errors.js";
import type { Logger } from "../core/logger.js";
import { type ChildFd, sendSignal } from "../native/process.js";
import type { WaitStatus } from "../native/reaper.js";
import * as argv from "./runtime-argv.js";
import { type CommandRequest, type RuntimeHost, runCommand } from "./runtime-command.js";
import { killError, logSize, RuntimeFailure, readRuntimeLog, runtimeError } from "./runtime-errors.js";

export interface OciRuntimeOptions extends RuntimeHost {
  /** Options.binary_name: a name in PATH or a path. */
  readonly binary: string;
  /** The runtime's state directory for one namespace: `<R>/<ns>`. */
  readonly root: string;
  readonly systemdCgroup: boolean;
  readonly log: Logger;
}

/** What every call names. */
export interface RuntimeCall {
  readonly id: string;
  /** The runtime's working directory. */
  readonly bundle: string;
  /** Default `<bundle>/log.json`. */
  readonly logFile?: string | undefined;
  /** After this the runtime's process group is killed. Default 30 s. */
  readonly deadlineMs?: number | undefined;
}

type Stdio = readonly [ChildFd, ChildFd, ChildFd];

export interface CreateCall extends RuntimeCall {
  readonly pidFile: string;
  /** The container's own descriptors; with a console socket, /dev/null. */
  readonly stdio: Stdio;
  readonly consoleSocket?: string | undefined;
  readonly noPivot?: boolean | undefined;
  readonly noNewKeyring?: boolean | undefined;
}

export interface ExecCall extends RuntimeCall {
  /** JSON of the process to run; the caller removes it afterwards. */
  readonly processFile: string;
  readonly pidFile: string;
  readonly stdio: Stdio;
  readonly consoleSocket?: string | undefined;
}

export interface RestoreCall extends CreateCall {
  readonly imagePath: string;
  readonly workPath: string;
}

export interface CheckpointCall extends RuntimeCall, argv.CheckpointFlags {
  readonly imagePath: string;
  readonly workPath: string;
}

/** The OCI state document's fields that are read here. */
export interface RuntimeState {
  readonly id: string;
  readonly status: string;
  readonly pid: number;
  readonly bundle: string;
}

export interface OciRuntime {
  readonly binary: string;
  readonly root: string;
  readonly systemdCgroup: boolean;
  create(call: CreateCall): Promise<{ readonly pid: number }>;
  start(call: RuntimeCall): Promise<void>;
  exec(call: ExecCall): Promise<{ readonly pid: number }>;
  /** Not-found when the container or its process is gone. */
  kill(call: RuntimeCall & { readonly signal: number; readonly all: boolean }): Promise<void>;
  /** Succeeds when the runtime does not know the container. `force` kills it first. */
  delete(call: RuntimeCall & { readonly force: boolean }): Promise<void>;
  pause(call: RuntimeCall): Promise<void>;
  resume(call: RuntimeCall): Promise<void>;
  /** `resources` is the OCI LinuxResources JSON, passed on unchanged. */
  update(call: RuntimeCall & { readonly resources: Uint8Array }): Promise<void>;
  state(call: RuntimeCall): Promise<RuntimeState>;
  /** Pids of the container, as this host sees them. */
  ps(call: RuntimeCall): Promise<readonly number[]>;
  checkpoint(call: CheckpointCall): Promise<void>;
  /** Creates and starts from criu images. */
  restore(call: RestoreCall): Promise<{ readonly pid: number }>;
}

const defaultDeadlineMs = 30_000;
const SIGKILL = 9;

export function createOciRuntime(options: OciRuntimeOptions): OciRuntime {
  const { binary, root, log } = options;

  /** Runs one verb. Rejects with a RuntimeFailure, or deadline-exceeded as a DaemonError. */
  const run = async (
    call: RuntimeCall,
    verb: string,
    rest: readonly string[],
    io: Pick<CommandRequest, "stdio" | "input"> = {},
  ): Promise<string> => {
    const logFile = call.logFile ?? join(call.bundle, "log.json");
    const logStart = logSize(logFile);
    const deadlineMs = call.deadlineMs ?? defaultDeadlineMs;
    // containerd forces deletions without --systemd-cgroup.
    const systemdCgroup = options.systemdCgroup && !(verb === "delete" && rest.includes("--force"));
    const args = [...argv.globalFlags({ root, logFile, systemdCgroup }), verb, ...rest];
    const result = await runCommand(options, { binary, args, cwd: call.bundle, deadlineMs, ...io });
    if (result.timedOut) {
      const { lastLine } = readRuntimeLog(logFile, logStart);
      log.warn({ containerId: call.id, verb, deadlineMs, lastLine }, "runtime call killed at its deadline");
      throw deadlineExceeded(
        `OCI runtime ${verb} of ${call.id} killed after ${deadlineMs} ms: ${lastLine ?? "nothing in the runtime's log"}`,
      );
    }
    if (result.status.exitStatus !== 0)
      throw commandFailure(binary, result.status, result.stdout + result.stderr, io.stdio !== undefined);
    return result.stdout;
  };

  /** `run`, its failure told by the log behind `prefix`. */
  const runLogged = async (
    prefix: string,
    call: RuntimeCall,
    verb: string,
    rest: readonly string[],
    stdio?: Stdio,
  ): Promise<void> => {
    const logFile = call.logFile ?? join(call.bundle, "log.json");
    const logStart = logSize(logFile);
    try {
      await run(call, verb, rest, stdio === undefined ? {} : { stdio });
    } catch (error) {
      if (!(error instanceof RuntimeFailure)) throw error;
      throw runtimeError(prefix, error, readRuntimeLog(logFile, logStart));
    }
  };

  /** A verb that makes a process and writes its pid. */
  const runForPid = async (
    prefix: string,
    call: CreateCall | ExecCall,
    verb: string,
    rest: readonly string[],
  ) => {
    // A pid file of an earlier call must not be taken for this one's.
    rmSync(call.pidFile, { force: true });
    try {
      await runLogged(prefix, call, verb, rest, call.stdio);
    } catch (error) {
      endStray(call.pidFile);
      throw error;
    }
    const pid = readPid(call.pidFile);
    if (pid === undefined) throw unknownError(`${prefix}: no pid in ${call.pidFile}`);
    return { pid };
  };

  /** `run` for verbs whose failure is the runtime's own output. */
  const runPlain = async (
    call: RuntimeCall,
    verb: string,
    rest: readonly string[],
    classify: (failure: RuntimeFailure) => DaemonError = (failure) =>
      unknownError(failure.message, { cause: failure }),
    input?: Uint8Array,
  ): Promise<string> => {
    try {
      return await run(call, verb, rest, input === undefined ? {} : { input });
    } catch (error) {
      if (!(error instanceof RuntimeFailure)) throw error;
      throw classify(error);
    }
  };

  return {
    binary,
    root,
    systemdCgroup: options.systemdCgroup,
    create: (call) => runForPid("OCI runtime create failed", call, "create", argv.createArgs(call)),
    start: (call) => runLogged("OCI runtime start failed", call, "start", [call.id]),
    exec: (call) => runForPid("OCI runtime exec failed", call, "exec", argv.execArgs(call)),
    async kill(call) {
      const flags = call.all ? ["--all"] : [];
      await runPlain(call, "kill", [...flags, call.id, String(call.signal)], killError);
    },
    async delete(call) {
      const logFile = call.logFile ?? join(call.bundle, "log.json");
      const logStart = logSize(logFile);
      try {
        await run(call, "delete", call.force ? ["--force", call.id] : [call.id]);
      } catch (error) {
        if (!(error instanceof RuntimeFailure)) throw error;
        // Gone already, for example after a checkpoint that ended it.
        if (error.message.includes("does not exist")) return;
        throw runtimeError("failed to delete task", error, readRuntimeLog(logFile, logStart));
      }
    },
    pause: (call) => runLogged("OCI runtime pause failed", call, "pause", [call.id]),
    resume: (call) => runLogged("OCI runtime resume failed", call, "resume", [call.id]),
    async update(call) {
      await runPlain(call, "update", ["--resources=-", call.id], undefined, call.resources);
    },
    async state(call) {
      const document = parseJson(
        await runPlain(call, "state", [call.id]),
        "state",
        call.id,
      ) as Partial<RuntimeState>;
      return {
        id: String(document.id ?? call.id),
        status: String(document.status ?? ""),
        pid: Number(document.pid ?? 0),
        bundle: String(document.bundle ?? ""),
      };
    },
    async ps(call) {
      const pids = parseJson(await runPlain(call, "ps", ["--format", "json", call.id]), "ps", call.id);
      // A container without processes is printed as null.
      return Array.isArray(pids) ? pids.map(Number) : [];
    },
    async checkpoint(call) {
      await runPlain(call, "checkpoint", argv.checkpointArgs(call), (failure) => {
        const dumpLog = join(call.bundle, "criu-dump.log");
        try {
          copyFileSync(join(call.workPath, "dump.log"), dumpLog);
        } catch (error) {
          log.warn({ containerId: call.id, err: error }, "criu left no dump.log");
        }
        return unknownError(`${failure.message.split("\n")[0]} path= ${dumpLog}`, { cause: failure });
      });
    },
    restore: (call) => runForPid("OCI runtime restore failed", call, "restore", argv.restoreArgs(call)),
  };
}

function commandFailure(
  binary: string,
  status: WaitStatus,
  output: string,
  inherited: boolean,
): RuntimeFailure {
  const text = `${binary} did not terminate successfully: exit status ${status.exitStatus}`;
  return new RuntimeFailure(inherited ? text : `${text}: ${output}`, status.exitStatus);
}

/** A call that failed or was killed after it had made its process leaves one that nobody would own. */
function endStray(pidFile: string): void {
  const pid = readPid(pidFile);
  if (pid === undefined) return;
  sendSignal(pid, SIGKILL);
  rmSync(pidFile, { force: true });
}

function readPid(pidFile: string): number | undefined {
  try {
    const pid = Number(readFileSync(pidFile, "latin1").trim());
    return Number.isSafeInteger(pid) && pid > 1 ? pid : undefined;
  } catch {
    return undefined;
  }
}

function parseJson(text: string, verb: string, id: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw unknownError(`OCI runtime ${verb} of ${id} printed no JSON: ${text.slice(0, 200)}`, {
      cause: error,
    });
  }
}
