/**
 * Exits of children: those started here (`spawn`) and adopted ones (`watch`). In the shim it is the only source of
 * exits and reaps every child of the process; where child_process is used too, it must be told to reap its own only,
 * or libuv would miss its exits.
 */
import type { Instant } from "../core/exit.js";
import {
  type ChildExit,
  type ChildFds,
  P_ALL,
  P_PID,
  processStat,
  realtimeNow,
  spawnProcess,
  waitChild,
} from "./process.js";

export { becomeSubreaper } from "./process.js";

/** How a child ended. */
export interface WaitStatus {
  readonly pid: number;
  /** Exit code, or 128 + N when signal N ended it. */
  readonly exitStatus: number;
  readonly signalled: boolean;
  readonly reapedAt: Instant;
}

export interface SpawnOptions {
  readonly stdio: ChildFds;
  /** The child's whole environment; this process's own when absent. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  /** What the child sees as argv[0]; its path when absent. */
  readonly argv0?: string;
}

export interface Spawned {
  readonly pid: number;
  /** Never rejects. The child is reaped when it resolves. */
  readonly exited: Promise<WaitStatus>;
}

export interface Reaper {
  /**
   * Starts `argv[0]` (a path) in its own process group. Throws the SystemError of exec, such as ENOENT, and then
   * leaves nothing behind.
   */
  spawn(argv: readonly string[], options: SpawnOptions): Spawned;
  /**
   * Calls `onExit` once when `pid` is reaped, or soon when that already happened. `since`, a `mark()` taken
   * before the process can have started, rules out an exit of an earlier owner of the pid. Throws
   * already-watched as an Error: a pid has one owner. Returns how to stop watching.
   */
  watch(pid: number, onExit: (status: WaitStatus) => void, since?: number): () => void;
  /** How many children were reaped so far. */
  mark(): number;
  /** Reaps what is ready now instead of at the next SIGCHLD. */
  reapNow(): void;
  readonly stats: { readonly reaped: number; readonly parked: number; readonly parkedDropped: number };
  /** Stops listening; children are no longer reaped. */
  close(): void;
}

export interface ReaperOptions {
  /**
   * "all" reaps every child and needs a process without child_process. "own" reaps only pids that were spawned or
   * watched here, so it may live beside child_process; nothing is parked then. Default "all".
   */
  readonly scope?: "all" | "own";
  /** How many exits nobody watches (yet) are remembered. Default 4096. */
  readonly parkedLimit?: number;
  /** How often to look without a signal, in ms: a missed SIGCHLD must not hang a container for ever. Default 5000. */
  readonly safetyIntervalMs?: number;
  /** A listener threw: the reaper goes on. */
  readonly onListenerError?: (error: unknown) => void;
}

interface Parked {
  readonly status: WaitStatus;
  readonly sequence: number;
}

export function createReaper(options: ReaperOptions = {}): Reaper {
  const { scope = "all", parkedLimit = 4096, safetyIntervalMs = 5000, onListenerError = () => {} } = options;
  const watchers = new Map<number, (status: WaitStatus) => void>();
  const parked = new Map<number, Parked>();
  let sequence = 0;
  let parkedDropped = 0;

  const park = (status: WaitStatus): void => {
    // Delete first: a later exit of the same pid counts as the newest.
    parked.delete(status.pid);
    parked.set(status.pid, { status, sequence });
    if (parked.size <= parkedLimit) return;
    const oldest = parked.keys().next();
    if (!oldest.done) parked.delete(oldest.value);
    parkedDropped++;
  };

  const deliver = (child: ChildExit): void => {
    sequence++;
    const status: WaitStatus = { ...child, reapedAt: realtimeNow() };
    const onExit = watchers.get(status.pid);
    if (onExit === undefined) {
      park(status);
      return;
    }
    // Before the callback: it may well start a child that gets this pid.
    watchers.delete(status.pid);
    try {
      onExit(status);
    } catch (error) {
      onListenerError(error);
    }
  };

  // Signals coalesce, so one SIGCHLD may stand for many exits.
  const reapAll = (): void => {
    for (let child = waitChild(P_ALL, 0); typeof child === "object"; child = waitChild(P_ALL, 0))
      deliver(child);
  };
  const reapOwn = (): void => {
    for (const pid of [...watchers.keys()]) {
      const child = waitChild(P_PID, pid);
      if (typeof child === "object") deliver(child);
    }
  };
  const reapNow = scope === "all" ? reapAll : reapOwn;

  const takeParked = (pid: number, since: number): WaitStatus | undefined => {
    const entry = parked.get(pid);
    if (entry === undefined) return undefined;
    parked.delete(pid);
    // Reaped before the caller's process began, or the pid is alive: an earlier owner's exit.
    if (entry.sequence <= since || processStat(pid) !== undefined) return undefined;
    return entry.status;
  };

  const watch: Reaper["watch"] = (pid, onExit, since = -1) => {
    if (watchers.has(pid)) throw new Error(`pid ${pid} is watched already`);
    const status = takeParked(pid, since);
    let listening = true;
    if (status !== undefined) {
      queueMicrotask(() => {
        if (!listening) return;
        try {
          onExit(status);
        } catch (error) {
          onListenerError(error);
        }
      });
    } else {
      watchers.set(pid, onExit);
    }
    return () => {
      listening = false;
      if (watchers.get(pid) === onExit) watchers.delete(pid);
    };
  };

  process.on("SIGCHLD", reapNow);
  const safety = setInterval(reapNow, safetyIntervalMs);
  safety.unref();

  return {
    spawn(argv, { stdio, env = process.env, cwd, argv0 }) {
      const [path, ...args] = argv;
      if (path === undefined) throw new Error("spawn needs a program");
      const pid = spawnProcess({
        path,
        args,
        stdio,
        env: environmentList(env),
        ...(cwd === undefined ? {} : { cwd }),
        ...(argv0 === undefined ? {} : { argv0 }),
      });
      // No turn of the event loop lies between the spawn and this line, so the exit cannot have been reaped.
      parked.delete(pid);
      watchers.delete(pid);
      const exited = new Promise<WaitStatus>((resolve) => watchers.set(pid, resolve));
      return { pid, exited };
    },
    watch,
    mark: () => sequence,
    reapNow,
    get stats() {
      return { reaped: sequence, parked: parked.size, parkedDropped };
    },
    close() {
      process.off("SIGCHLD", reapNow);
      clearInterval(safety);
    },
  };
}

function environmentList(env: Readonly<Record<string, string | undefined>>): string[] {
  const list: string[] = [];
  for (const [name, value] of Object.entries(env)) if (value !== undefined) list.push(`${name}=${value}`);
  return list;
}
