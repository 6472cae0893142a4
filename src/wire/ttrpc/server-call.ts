/** One request as its handler sees it: metadata, and a signal that costs nothing until somebody asks for it. */
import { cancelled, deadlineExceeded } from "../../core/errors.js";
import type { KeyValue } from "../gen/ttrpc/ttrpc.js";

/** Serves one unary method: encoded request in, encoded response out. A rejection becomes the status. */
export type TtrpcHandler = (payload: Uint8Array, call: TtrpcCall) => Promise<Uint8Array>;

export interface TtrpcCall {
  /** Aborts, with a DaemonError as reason, when the connection is lost or the client's timeout has passed. */
  readonly signal: AbortSignal;
  /** Keys in lower case; values in the order in which they were sent. */
  readonly metadata: ReadonlyMap<string, string[]>;
  /** Milliseconds that the client gave the call; undefined when it set no limit. */
  readonly timeoutMs: number | undefined;
}

// The longest delay that Node's timers take; a longer one would fire at once.
const longestTimerMs = 2 ** 31 - 1;

export class ServerCall implements TtrpcCall {
  readonly timeoutMs: number | undefined;
  readonly #metadata: readonly KeyValue[];
  #metadataMap: ReadonlyMap<string, string[]> | undefined;
  #controller: AbortController | undefined;
  #abortReason: Error | undefined;
  readonly #timer: NodeJS.Timeout | undefined;

  constructor(timeoutNano: bigint, metadata: readonly KeyValue[]) {
    this.#metadata = metadata;
    this.timeoutMs = timeoutNano > 0n ? Math.ceil(Number(timeoutNano) / 1e6) : undefined;
    if (this.timeoutMs !== undefined) {
      this.#timer = setTimeout(
        () => this.abort(deadlineExceeded("context deadline exceeded", { bare: true })),
        Math.min(this.timeoutMs, longestTimerMs),
      );
      this.#timer.unref();
    }
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#abortReason !== undefined) this.#controller.abort(this.#abortReason);
    }
    return this.#controller.signal;
  }

  get metadata(): ReadonlyMap<string, string[]> {
    if (this.#metadataMap === undefined) {
      const map = new Map<string, string[]>();
      for (const { key, value } of this.#metadata) {
        const values = map.get(key.toLowerCase());
        if (values === undefined) map.set(key.toLowerCase(), [value]);
        else values.push(value);
      }
      this.#metadataMap = map;
    }
    return this.#metadataMap;
  }

  abort(reason: Error = cancelled("context canceled", { bare: true })): void {
    if (this.#abortReason !== undefined) return;
    this.#abortReason = reason;
    this.#controller?.abort(reason);
  }

  /** The handler has settled: no timer outlives it. */
  finish(): void {
    clearTimeout(this.#timer);
  }
}
