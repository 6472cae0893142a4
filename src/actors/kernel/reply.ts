/** One ask on its way: the caller's promise, its deadline and its abort signal. It settles exactly once. */

import type { Timer } from "../../core/clock.js";
import { cancelled, DaemonError, deadlineExceeded, toDaemonError } from "../../core/errors.js";
import { setLongTimer } from "./long-timer.js";
import type { KernelRuntime } from "./runtime.js";
import type { AskOptions, Reply } from "./types.js";

/** An aborted signal as an error: a deadline folded into the signal stays a deadline, the rest is `cancelled`. */
export function abortError(signal: AbortSignal): DaemonError {
  const error = toDaemonError(signal.reason);
  if (error.kind !== "unknown" || signal.reason instanceof DaemonError) return error;
  return cancelled("context canceled", { cause: signal.reason, bare: true });
}

// biome-ignore lint/suspicious/noExplicitAny: the kernel carries answers of every type
export class PendingAsk implements Reply<any> {
  #settled = false;
  #timer: Timer | undefined;
  #signal: AbortSignal | undefined;
  #onAbort: (() => void) | undefined;
  #holder: Set<PendingAsk> | undefined;

  constructor(
    readonly runtime: KernelRuntime,
    readonly path: string,
    readonly onValue: (value: unknown) => void,
    readonly onError: (error: DaemonError) => void,
  ) {}

  get settled(): boolean {
    return this.#settled;
  }

  resolve(value: unknown): void {
    if (this.#settle()) this.onValue(value);
  }

  reject(error: DaemonError): void {
    if (this.#settle()) this.onError(error);
  }

  /** Starts the deadline and listens to the signal; call once the message is queued. */
  arm(options: AskOptions): void {
    const { timeoutMs, signal } = options;
    if (timeoutMs !== "none") {
      this.#timer = setLongTimer(this.runtime.clock, timeoutMs, () => {
        this.reject(deadlineExceeded(`actor ${this.path} did not answer within ${timeoutMs} ms`));
      });
    }
    if (signal !== undefined) {
      this.#signal = signal;
      this.#onAbort = () => this.reject(abortError(signal));
      signal.addEventListener("abort", this.#onAbort);
    }
  }

  /** The incarnation that took the message without answering yet; it rejects what it leaves behind. */
  heldBy(open: Set<PendingAsk>): void {
    this.#holder = open;
    open.add(this);
  }

  #settle(): boolean {
    if (this.#settled) {
      this.runtime.counters.lateReplies += 1;
      return false;
    }
    this.#settled = true;
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#onAbort !== undefined) {
      this.#signal?.removeEventListener("abort", this.#onAbort);
      this.#onAbort = undefined;
      this.#signal = undefined;
    }
    this.#holder?.delete(this);
    this.#holder = undefined;
    return true;
  }
}
