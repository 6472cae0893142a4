/** Those who wait for one process's exit: each is answered once, or leaves when its call ends. */
import { toDaemonError } from "../core/errors.js";
import type { Exit } from "../core/exit.js";

export type Ended = Omit<Exit, "pid">;

export class ExitWaiters {
  #ended: Ended | undefined;
  readonly #waiters = new Set<(ended: Ended) => void>();

  /** Answers everybody, now and from now on; only the first call counts. */
  settle(ended: Ended): void {
    if (this.#ended !== undefined) return;
    this.#ended = ended;
    for (const waiter of this.#waiters) waiter(ended);
    this.#waiters.clear();
  }

  get size(): number {
    return this.#waiters.size;
  }

  /** Rejects with the signal's reason when it aborts first. */
  wait(signal: AbortSignal): Promise<Ended> {
    if (this.#ended !== undefined) return Promise.resolve(this.#ended);
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiters.delete(waiter);
        reject(toDaemonError(signal.reason));
      };
      const waiter = (ended: Ended): void => {
        signal.removeEventListener("abort", onAbort);
        resolve(ended);
      };
      if (signal.aborted) return onAbort();
      this.#waiters.add(waiter);
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }
}
