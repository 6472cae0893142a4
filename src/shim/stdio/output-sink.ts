/**
 * Where a process's output ends up, opened: nowhere, a client's FIFO (fifo-sink.ts), a file, or a logger
 * (logger-sink.ts). A sink can be given to the process itself or be written to by a pump.
 */
import { constants, mkdirSync, type Stats, statSync } from "node:fs";
import { dirname } from "node:path";
import {
  closeFd,
  duplicateFd,
  O_APPEND,
  O_CREAT,
  O_NONBLOCK,
  O_WRONLY,
  openFd,
  setNonblocking,
} from "../../native/fds.js";
import { hasCode } from "../../native/libc.js";
import { FifoSink } from "./fifo-sink.js";
import { OwnedFd } from "./owned-fd.js";
import type { SharedPoller } from "./shared-poller.js";
import { goPathError, outputFailure } from "./stdio-errors.js";
import type { OutputTarget } from "./stdio-plan.js";

export interface OutputSink {
  readonly route: "null" | "fifo" | "file" | "logger";
  /** A new blocking descriptor for the process; the caller closes it. */
  childFd(): number;
  /** What a pump writes to; undefined when there is nothing to pump to. */
  readonly pumpTarget: { readonly fd: number; readonly copied: boolean } | undefined;
  /** The process has its descriptor: what only it needs to hold may be closed here. */
  handedOver(): void;
  /** Nothing more will be written through us: the reader gets what is left, then end of file. Idempotent. */
  finish(): void;
  /** Bytes that wait for the reader. */
  unreadBytes(): number;
  /** Closes all, whatever is left; idempotent. */
  close(): Promise<void>;
}

export interface SinkContext {
  readonly terminal: boolean;
  readonly poller: SharedPoller;
  /** How long to wait for a FIFO's reader; 0 goes on without one. */
  readonly readerTimeoutMs: number;
  readonly signal: AbortSignal;
}

/** Opens what a target names; a logger has been opened by whoever started it. */
export async function openSink(
  target: Exclude<OutputTarget, { readonly kind: "logger" }>,
  context: SinkContext,
): Promise<OutputSink> {
  if (target.kind === "null") return nullSink;
  const { path } = target;
  const stats = statOf(target, context.terminal);
  if (stats?.isFIFO() === true) return FifoSink.open(path, context);
  try {
    if (target.kind === "path")
      return fileSink(openFd(path, O_WRONLY | O_APPEND | O_NONBLOCK | constants.O_NOCTTY));
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    return fileSink(openFd(path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | constants.O_NOCTTY, 0o644));
  } catch (error) {
    throw openFailure(path, context.terminal, "open", error);
  }
}

function statOf(
  target: { readonly kind: string; readonly path: string },
  terminal: boolean,
): Stats | undefined {
  try {
    return statSync(target.path);
  } catch (error) {
    if (target.kind === "file" && hasCode(error, "ENOENT")) return undefined;
    throw openFailure(target.path, terminal, terminal ? "stat" : "open", error);
  }
}

function openFailure(path: string, terminal: boolean, operation: string, error: unknown): Error {
  const detail = goPathError(operation, path, error);
  return outputFailure(
    terminal,
    terminal ? detail : `containerd-shim: opening file ${JSON.stringify(path)} failed: ${detail}`,
    error,
  );
}

const nullSink: OutputSink = {
  route: "null",
  childFd: () => openFd("/dev/null", O_WRONLY),
  pumpTarget: undefined,
  handedOver: () => {},
  finish: () => {},
  unreadBytes: () => 0,
  close: async () => {},
};

function fileSink(opened: number): OutputSink {
  const file = new OwnedFd(opened);
  return {
    route: "file",
    childFd() {
      const fd = duplicateFd(file.fd);
      try {
        // Files take no notice, but a device may, and the flag belongs to the open file that the child gets.
        setNonblocking(fd, false);
        return fd;
      } catch (error) {
        closeFd(fd);
        throw error;
      }
    },
    get pumpTarget() {
      // splice refuses files opened for appending.
      return { fd: file.fd, copied: true };
    },
    handedOver: () => file.close(),
    finish: () => file.close(),
    unreadBytes: () => 0,
    close: async () => file.close(),
  };
}
