/**
 * A client's output FIFO. While the process lives the shim holds it open for reading and writing, so that a
 * client that goes away is not a broken pipe: output waits in the FIFO, and then the writer does. All later
 * opens go through /proc/self/fd, so a client that renames or removes its FIFO changes nothing for us.
 */
import {
  closeFd,
  O_NONBLOCK,
  O_RDWR,
  O_WRONLY,
  openFd,
  POLLERR,
  pipeSize,
  pollFd,
  readableBytes,
  setPipeSize,
} from "../../native/fds.js";
import { hasCode } from "../../native/libc.js";
import type { OutputSink, SinkContext } from "./output-sink.js";
import { OwnedFd } from "./owned-fd.js";
import type { SharedPoller } from "./shared-poller.js";
import { goPathError, outputFailure, readerMissing } from "./stdio-errors.js";

/** Twice the throughput of the usual 64 KiB; only bytes that wait take memory. */
export const wantedPipeBytes = 1024 * 1024;

export class FifoSink implements OutputSink {
  readonly route = "fifo";
  readonly #holder: OwnedFd;
  /** After `finish`, while nobody reads: the last writing end, which keeps the bytes. */
  #lingering: OwnedFd | undefined;
  #stopAsking: (() => void) | undefined;

  private constructor(
    holder: number,
    private readonly poller: SharedPoller,
  ) {
    this.#holder = new OwnedFd(holder);
  }

  /** Waits for a reader as containerd does, then holds the FIFO. */
  static async open(path: string, context: SinkContext): Promise<FifoSink> {
    // The probe stays open until the holder is: a reader that it let in must not see an end of file.
    const probe = context.readerTimeoutMs > 0 ? await openWithReader(path, context) : undefined;
    try {
      const holder = openFd(probe === undefined ? path : `/proc/self/fd/${probe}`, O_RDWR | O_NONBLOCK);
      enlargePipe(holder);
      return new FifoSink(holder, context.poller);
    } catch (error) {
      throw openFailure(path, context, error);
    } finally {
      if (probe !== undefined) closeFd(probe);
    }
  }

  // Its own open file: O_NONBLOCK on the holder's must not reach the process. Does not wait: we are a reader.
  childFd(): number {
    return openFd(`/proc/self/fd/${this.#holder.fd}`, O_WRONLY);
  }

  get pumpTarget(): { readonly fd: number; readonly copied: boolean } {
    return { fd: this.#holder.fd, copied: false };
  }

  handedOver(): void {}

  /**
   * Closing our last writing end gives the reader its end of file; but when nobody reads, the bytes go with the
   * last end. So exchange the holder (which is a reader itself) for a writing end and ask that one.
   */
  finish(): void {
    if (!this.#holder.open) return;
    const end = new OwnedFd(openFd(`/proc/self/fd/${this.#holder.fd}`, O_WRONLY | O_NONBLOCK));
    this.#holder.close();
    if (isRead(end.fd)) {
      end.close();
      return;
    }
    this.#lingering = end;
    this.#stopAsking = this.poller.add(() => {
      if (!isRead(end.fd)) return false;
      end.close();
      return true;
    });
  }

  unreadBytes(): number {
    const fd = this.#holder.open ? this.#holder : this.#lingering;
    return fd?.open === true ? readableBytes(fd.fd) : 0;
  }

  async close(): Promise<void> {
    this.#stopAsking?.();
    this.#lingering?.close();
    this.#holder.close();
  }
}

/** POLLERR on a writing end: it has no reader. */
const isRead = (fd: number): boolean => (pollFd(fd, 0) & POLLERR) === 0;

/** Makes a pipe bigger where that is permitted; never smaller than its maker wanted. */
export function enlargePipe(fd: number): void {
  try {
    if (pipeSize(fd) < wantedPipeBytes) setPipeSize(fd, wantedPipeBytes);
  } catch (error) {
    // EPERM: beyond this user's share of pipe memory. The usual size works too.
    if (!hasCode(error, "EPERM", "EBUSY", "ENOMEM")) throw error;
  }
}

/** A writing end, once a reader exists: without one a non-blocking open says ENXIO. */
function openWithReader(path: string, context: SinkContext): Promise<number> {
  const attempt = (): number | undefined => {
    try {
      return openFd(path, O_WRONLY | O_NONBLOCK);
    } catch (error) {
      if (hasCode(error, "ENXIO")) return undefined;
      throw openFailure(path, context, error);
    }
  };
  const { poller, readerTimeoutMs, signal, terminal } = context;
  const deadline = performance.now() + readerTimeoutMs;
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      settle(() => reject(readerMissing(terminal, path, abortReason(signal))));
    };
    let stop: (() => void) | undefined;
    const settle = (done: () => void): true => {
      stop?.();
      signal.removeEventListener("abort", onAbort);
      done();
      return true;
    };
    const ask = (): boolean => {
      try {
        const fd = attempt();
        if (fd !== undefined) return settle(() => resolve(fd));
        if (performance.now() < deadline) return false;
        return settle(() => reject(readerMissing(terminal, path, "timeout")));
      } catch (error) {
        return settle(() => reject(error));
      }
    };
    if (signal.aborted) onAbort();
    else if (!ask()) {
      signal.addEventListener("abort", onAbort, { once: true });
      stop = poller.add(ask);
    }
  });
}

const abortReason = (signal: AbortSignal): "timeout" | "aborted" =>
  signal.reason instanceof Error && signal.reason.name === "TimeoutError" ? "timeout" : "aborted";

function openFailure(path: string, context: SinkContext, error: unknown): Error {
  const detail = goPathError("open", path, error);
  return outputFailure(
    context.terminal,
    context.terminal ? detail : `containerd-shim: opening w/o fifo ${JSON.stringify(path)} failed: ${detail}`,
    error,
  );
}
