/**
 * The stdio of processes, as the shim proper sees it: opened before the runtime is called, told when the
 * process exists and when it is gone, closed when the process is deleted. No byte passes the main thread.
 */
import { unavailable } from "../../core/errors.js";
import type { Logger } from "../../core/logger.js";
import type { Stdio } from "../../ports/shim-port.js";
import { PumpHost, type PumpHostStats } from "../../workers/stdio-pump-host.js";
import type { LoggerProcess } from "./logger-process.js";
import { openPlainIo } from "./plain-io.js";
import { SharedPoller } from "./shared-poller.js";
import { planStdio, type StdioMode } from "./stdio-plan.js";
import { openTerminalIo } from "./terminal-io.js";

export type { StdioMode } from "./stdio-plan.js";

export interface ProcessIoRequest {
  /** `namespace/id` or `namespace/id/exec`, for logs and for what a logger is told. */
  readonly streamKey: string;
  readonly stdio: Stdio;
  readonly mode: StdioMode;
  /** Who owns the process's pipes; 0 leaves a client's FIFO to its owner. */
  readonly ioUid: number;
  readonly ioGid: number;
  /** How long `open` waits for readers of the output FIFOs; 0 does not wait (bytes then wait for the reader). */
  readonly openTimeoutMs: number;
  /** How long `exited` waits for pumps to reach end of file. */
  readonly drainTimeoutMs: number;
  /** Where console sockets go; short, because a socket path has at most 107 bytes. */
  readonly temporaryDirectory: string;
  /** Where a `binary://` logger is started; the shim's own directory when absent. */
  readonly bundle?: string;
}

export interface StreamReport {
  readonly stream: "stdin" | "stdout" | "stderr";
  /** How its bytes travel; all but "pump" bypass the shim, which then has nothing to count. */
  readonly route: "null" | "direct" | "file" | "logger" | "pump";
  /** Taken from the process (stdin: from the client): always delivered + dropped. */
  readonly readBytes: number;
  readonly deliveredBytes: number;
  /** Taken, but the sink failed for good. */
  readonly droppedBytes: number;
  /** Written by the process and still in the shim's pipe; what `close` finds there is lost. */
  readonly waitingBytes: number;
  /** In the client's FIFO, not read yet; kept for a late reader until `close`. */
  readonly unreadBytes: number;
  /** Nothing more is to come through the shim. */
  readonly drained: boolean;
}

export interface DrainReport {
  /** Every output was drained. */
  readonly drained: boolean;
  readonly waitedMs: number;
  readonly streams: readonly StreamReport[];
}

/**
 * Order of calls: `childStdio` and `consoleSocketPath` go to the runtime; `childReady` when it has returned;
 * `exited` when the process was reaped; `close`. `close` may come at any time, `closeStdin` and `resize` too.
 */
export interface ProcessIo {
  /** For the runtime's create or exec; ours to close, in `childReady`. Never -1: /dev/null where there is no stream. */
  readonly childStdio: readonly [number, number, number];
  /** Terminals only. */
  readonly consoleSocketPath: string | undefined;
  /**
   * Closes our copies of the process's ends, takes the terminal and starts the pumps, within `timeoutMs` from
   * now. Rejects `deadline-exceeded` when no terminal came, `unavailable` when no pump runs; then `close`.
   */
  childReady(timeoutMs: number): Promise<void>;
  /** Idempotent; before `childReady` it is remembered. */
  closeStdin(): void;
  /** Columns and rows; remembered until there is a terminal, ignored where there is none. */
  resize(width: number, height: number): void;
  /** The process was reaped. Resolves when its output is drained or the budget is spent; pumps go on after that. Never rejects. */
  exited(): Promise<DrainReport>;
  /** Frees everything, after failures too. Idempotent; never rejects. */
  close(): Promise<void>;
}

export interface StdioStats {
  /** Processes whose stdio is open. */
  readonly processes: number;
  /** FIFOs waited for: readers that `open` expects, and late readers of exited processes. */
  readonly awaitedReaders: number;
  readonly pump: PumpHostStats;
}

export interface StdioPlane {
  /**
   * Opens the streams. Rejects with containerd's texts: `unknown` for paths and schemes that cannot be used,
   * `deadline-exceeded` when no reader came, `cancelled` when `signal` aborted; nothing stays open then.
   */
  open(request: ProcessIoRequest, signal: AbortSignal): Promise<ProcessIo>;
  /** Closes every process's stdio and ends the pump threads. Idempotent; never rejects. */
  close(): Promise<void>;
  stats(): StdioStats;
}

export interface StdioPlaneOptions {
  readonly log: Logger;
  /** A working criu is installed: `auto` then pumps, because criu cannot dump a process with a host's FIFO. */
  readonly criuPresent: boolean;
  /** The built `stdio-pump.worker.js`. */
  readonly workerUrl: URL;
  /** Threads at most; none runs before a stream needs it. */
  readonly pumpWorkers: number;
}

/** What the parts of one process's stdio share. */
export interface PlaneParts {
  readonly log: Logger;
  readonly poller: SharedPoller;
  readonly pump: PumpHost;
  /** Those that have not ended yet. */
  readonly loggers: Set<LoggerProcess>;
}

export function createStdioPlane(options: StdioPlaneOptions): StdioPlane {
  const log = options.log.child({ room: "shim/stdio" });
  const poller = new SharedPoller();
  const pump = new PumpHost({ log, workerUrl: options.workerUrl, threads: options.pumpWorkers });
  const loggers = new Set<LoggerProcess>();
  const opened = new Set<ProcessIo>();
  let closing: Promise<void> | undefined;
  const closeAll = async (): Promise<void> => {
    await Promise.all([...opened].map((io) => io.close()));
    poller.close();
    // Only those that ignored SIGTERM are left.
    for (const logger of [...loggers]) logger.kill();
    if (!(await pump.close())) log.error({}, "a stdio pump thread did not end");
  };
  return {
    async open(request, signal) {
      if (closing !== undefined) throw unavailable("stdio is closing");
      const plan = planStdio(request.stdio, request.mode, options.criuPresent);
      const parts: PlaneParts = { log: log.child({ streamKey: request.streamKey }), poller, pump, loggers };
      const open = plan.terminal ? openTerminalIo : openPlainIo;
      const io = await open(plan, request, parts, signal);
      const tracked: ProcessIo = {
        childStdio: io.childStdio,
        consoleSocketPath: io.consoleSocketPath,
        childReady: (timeoutMs) => io.childReady(timeoutMs),
        closeStdin: () => io.closeStdin(),
        resize: (width, height) => io.resize(width, height),
        exited: () => io.exited(),
        async close() {
          await io.close();
          opened.delete(tracked);
        },
      };
      opened.add(tracked);
      if (closing !== undefined) {
        await tracked.close();
        throw unavailable("stdio is closing");
      }
      return tracked;
    },
    close() {
      closing ??= closeAll();
      return closing;
    },
    stats: () => ({ processes: opened.size, awaitedReaders: poller.size, pump: pump.stats() }),
  };
}
