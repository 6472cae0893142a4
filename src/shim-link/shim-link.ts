/**
 * The connection to one shim process. The socket may break without the shim's death, so a lost connection is
 * dialled again for as long as the process lives; `closed` means that the process itself is gone.
 */
import { setTimeout as delay } from "node:timers/promises";
import { toDaemonError, unavailable } from "../core/errors.js";
import type { Logger } from "../core/logger.js";
import { connectTtrpc, type TtrpcCallOptions, type TtrpcClient } from "../wire/ttrpc/client.js";
import type { TtrpcMethod } from "../wire/ttrpc/method.js";

export interface ShimLinkOptions {
  readonly address: string;
  readonly isAlive: () => boolean;
  readonly log: Logger;
  /** Bound of one call when its signal does not end it sooner. Milliseconds. */
  readonly callTimeoutMs: number;
}

const redialFirstMs = 20;
const redialLongestMs = 1000;
const connectTimeoutMs = 5000;

export class ShimLink {
  readonly closed: Promise<void>;
  readonly #options: ShimLinkOptions;
  #client: TtrpcClient | undefined;
  #dialling: Promise<TtrpcClient> | undefined;
  #ended = false;
  #markClosed!: () => void;

  constructor(options: ShimLinkOptions) {
    this.#options = options;
    this.closed = new Promise((resolve) => {
      this.#markClosed = resolve;
    });
  }

  get connected(): boolean {
    return this.#client?.isClosed === false;
  }

  /** Dials; needed once before the first call. Rejects unavailable. */
  async connect(signal: AbortSignal): Promise<void> {
    await untilAborted(this.#dial(), signal);
  }

  async call<Request, Response>(
    method: TtrpcMethod<Request, Response>,
    request: Request,
    signal: AbortSignal,
  ): Promise<Response> {
    if (this.#ended) throw unavailable("ttrpc: closed");
    const client = this.#client?.isClosed === false ? this.#client : await untilAborted(this.#dial(), signal);
    const options: TtrpcCallOptions = { timeoutMs: this.#options.callTimeoutMs, signal };
    return method.call(client, request, options);
  }

  /** The process is known to have ended. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#client?.close();
    this.#markClosed();
  }

  /** Shared by everybody who needs the connection, so no caller's signal ends it. */
  #dial(): Promise<TtrpcClient> {
    this.#dialling ??= connectTtrpc(this.#options.address, { connectTimeoutMs })
      .then((client) => {
        if (this.#ended) client.close();
        this.#client = client;
        void client.closed.then(() => this.#reconnect());
        return client;
      })
      .finally(() => {
        this.#dialling = undefined;
      });
    return this.#dialling;
  }

  async #reconnect(): Promise<void> {
    for (let waitMs = redialFirstMs; !this.#ended; waitMs = Math.min(waitMs * 2, redialLongestMs)) {
      if (!this.#options.isAlive()) return this.end();
      try {
        await this.#dial();
        this.#options.log.info({}, "shim connection restored");
        return;
      } catch (error) {
        this.#options.log.debug({ err: error, waitMs }, "shim does not answer yet");
      }
      await delay(waitMs, undefined, { ref: false });
    }
  }
}

/** The promise's outcome, or the signal's reason when it aborts first. */
async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) throw toDaemonError(signal.reason);
  let onAbort: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(toDaemonError(signal.reason));
    signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    if (onAbort !== undefined) signal.removeEventListener("abort", onAbort);
  }
}
