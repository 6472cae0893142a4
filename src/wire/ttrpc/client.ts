/**
 * The client's end of one ttrpc connection: many calls at once, answered in any order. A peer may ignore the
 * timeout that it is told, so calls time out here as well; cancelling only stops the waiting, ttrpc cannot say it.
 */
import { connect, type Socket } from "node:net";
import {
  cancelled,
  type DaemonError,
  deadlineExceeded,
  internal,
  resourceExhausted,
  toDaemonError,
  unavailable,
} from "../../core/errors.js";
import { type KeyValue, Request, Response } from "../gen/ttrpc/ttrpc.js";
import { errorOfStatus } from "../status-code.js";
import {
  encodeFrame,
  FrameDecoder,
  type FrameHeader,
  framePayloadLength,
  frameTypes,
  maxPayloadBytes,
  oversizedText,
} from "./frame.js";
import { FrameWriter } from "./frame-writer.js";
import { parseSocketPath } from "./socket-path.js";

export interface TtrpcCallOptions {
  /** Milliseconds until the call rejects deadline-exceeded; "none" only for calls such as Wait. */
  readonly timeoutMs: number | "none";
  readonly metadata?: Readonly<Record<string, string | readonly string[]>> | undefined;
  /** Aborting rejects with its reason when that is a DaemonError, else with `cancelled`. */
  readonly signal?: AbortSignal | undefined;
}

export interface TtrpcClient {
  /**
   * One unary call. Rejects with the peer's status as a DaemonError (its class words taken off the message),
   * deadline-exceeded, the signal's reason, unavailable `ttrpc: closed` when the connection is lost, or
   * resource-exhausted when the message is over 4 MiB or the peer has stopped reading.
   */
  call(service: string, method: string, payload: Uint8Array, options: TtrpcCallOptions): Promise<Uint8Array>;
  /** Resolves when the connection has ended, for whatever reason. */
  readonly closed: Promise<void>;
  readonly isClosed: boolean;
  /** Ends the connection; open calls reject as for a lost one. May be called twice. */
  close(): void;
  /** The process may end while the connection is idle or waits. */
  unref(): void;
  ref(): void;
}

export interface TtrpcConnectOptions {
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds for the connection to come up; 5000 by default. */
  readonly connectTimeoutMs?: number | undefined;
}

const defaultConnectTimeoutMs = 5000;
const longestTimerMs = 2 ** 31 - 1;
const lastStreamId = 2 ** 32 - 1;
/** Calls waiting on one connection; the server has the same bound. */
const maxOpenCalls = 16_384;

const closedError = (cause?: Error): DaemonError =>
  unavailable("ttrpc: closed", cause === undefined ? {} : { cause });

interface PendingCall {
  readonly settle: (error: DaemonError | undefined, payload: Uint8Array) => void;
}

/** Dials a unix socket (a path or `unix://` address). Rejects unavailable, or deadline-exceeded in time. */
export function connectTtrpc(
  address: string,
  { signal, connectTimeoutMs = defaultConnectTimeoutMs }: TtrpcConnectOptions = {},
): Promise<TtrpcClient> {
  return new Promise<TtrpcClient>((resolve, reject) => {
    const path = parseSocketPath(address);
    if (signal?.aborted) throw abortError(signal);
    const socket = connect({ path });
    const finish = (error: DaemonError | undefined): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
      socket.removeListener("connect", onConnect);
      socket.removeListener("error", onError);
      if (error === undefined) {
        resolve(ttrpcClientOver(socket));
        return;
      }
      socket.on("error", () => {});
      socket.destroy();
      reject(error);
    };
    const onConnect = (): void => finish(undefined);
    const onError = (error: Error): void =>
      finish(unavailable(`cannot connect to ${path}: ${error.message}`, { cause: error }));
    const onAbort = (): void => finish(abortError(signal));
    const timer = setTimeout(
      () => finish(deadlineExceeded(`no connection to ${path} within ${connectTimeoutMs} ms`)),
      connectTimeoutMs,
    );
    socket.once("connect", onConnect);
    socket.once("error", onError);
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

/** A client over a socket that is connected already; the client owns it from now on. */
export function ttrpcClientOver(socket: Socket): TtrpcClient {
  return new Client(socket);
}

class Client implements TtrpcClient {
  readonly closed: Promise<void>;
  readonly #socket: Socket;
  readonly #writer: FrameWriter;
  readonly #pending = new Map<number, PendingCall>();
  #nextStreamId = 1;
  #isClosed = false;
  #failure: Error | undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    this.#writer = new FrameWriter(socket);
    const decoder = new FrameDecoder({
      onFrame: (header, payload) => this.#onFrame(header, payload),
      onOversized: (header) => {
        this.#settle(header.streamId, resourceExhausted(oversizedText(header.length)), noPayload);
      },
    });
    socket.on("data", (chunk: Buffer) => decoder.push(chunk));
    socket.on("error", (error) => {
      this.#failure = error;
    });
    // The peer will not answer any more: waiting for our own half to end would only delay the news.
    socket.once("end", () => this.#onClosed());
    this.closed = new Promise((resolve) => {
      socket.once("close", () => {
        this.#onClosed();
        resolve();
      });
    });
    if (socket.destroyed) this.#onClosed();
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  close(): void {
    this.#onClosed();
  }

  unref(): void {
    this.#socket.unref();
  }

  ref(): void {
    this.#socket.ref();
  }

  call(service: string, method: string, payload: Uint8Array, options: TtrpcCallOptions): Promise<Uint8Array> {
    const refusal = this.#refusal(options);
    if (refusal !== undefined) return Promise.reject(refusal);
    const { timeoutMs, signal } = options;
    // The id is taken and the frame written in one go: ids must rise on the wire.
    const streamId = this.#nextStreamId;
    const frame = encodeFrame(streamId, frameTypes.request, 0, (writer) =>
      Request.encode(
        {
          service,
          method,
          payload: Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength),
          timeoutNano: timeoutMs === "none" ? 0n : BigInt(Math.max(1, Math.round(timeoutMs * 1e6))),
          metadata: keyValues(options.metadata),
        },
        writer,
      ),
    );
    const length = framePayloadLength(frame);
    if (length > maxPayloadBytes) return Promise.reject(resourceExhausted(oversizedText(length)));
    this.#nextStreamId += 2;
    return new Promise<Uint8Array>((resolve, reject) => {
      const timer =
        timeoutMs === "none"
          ? undefined
          : setTimeout(
              () =>
                this.#settle(
                  streamId,
                  deadlineExceeded(`no answer to ${service}/${method} within ${timeoutMs} ms`),
                  noPayload,
                ),
              Math.min(timeoutMs, longestTimerMs),
            );
      // The socket keeps the process alive while a call waits, unless the owner chose otherwise.
      timer?.unref();
      const onAbort = (): void => this.#settle(streamId, abortError(signal), noPayload);
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#pending.set(streamId, {
        settle: (error, answer) => {
          clearTimeout(timer);
          signal?.removeEventListener("abort", onAbort);
          if (error === undefined) resolve(answer);
          else reject(error);
        },
      });
      this.#writer.write(frame);
    });
  }

  #refusal(options: TtrpcCallOptions): DaemonError | undefined {
    if (this.#isClosed) return closedError(this.#failure);
    if (options.signal?.aborted) return abortError(options.signal);
    if (this.#pending.size >= maxOpenCalls)
      return resourceExhausted(`more than ${maxOpenCalls} calls open on one connection`);
    if (this.#writer.congested)
      return resourceExhausted("the peer has stopped reading: too many bytes wait for it");
    if (this.#nextStreamId > lastStreamId) {
      // Ids are used up after two thousand million calls; a new connection starts afresh.
      this.#onClosed();
      return closedError();
    }
    return undefined;
  }

  #onFrame(header: FrameHeader, payload: Uint8Array): void {
    // Nothing but responses is ours; an unknown id is an answer that came after its call gave up.
    if (header.type !== frameTypes.response || !this.#pending.has(header.streamId)) return;
    let response: Response;
    try {
      response = Response.decode(payload);
    } catch (error) {
      this.#settle(header.streamId, internal("ttrpc: malformed response", { cause: error }), noPayload);
      return;
    }
    const { status } = response;
    if (status === undefined || status.code === 0) this.#settle(header.streamId, undefined, response.payload);
    else this.#settle(header.streamId, errorOfStatus(status.code, status.message), noPayload);
  }

  #settle(streamId: number, error: DaemonError | undefined, payload: Uint8Array): void {
    const pending = this.#pending.get(streamId);
    if (pending === undefined) return;
    this.#pending.delete(streamId);
    pending.settle(error, payload);
  }

  #onClosed(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#socket.destroy();
    for (const streamId of [...this.#pending.keys()]) {
      this.#settle(streamId, closedError(this.#failure), noPayload);
    }
  }
}

const noPayload = new Uint8Array(0);

function keyValues(metadata: TtrpcCallOptions["metadata"]): KeyValue[] {
  if (metadata === undefined) return [];
  return Object.entries(metadata).flatMap(([key, values]) =>
    (typeof values === "string" ? [values] : values).map((value) => ({ key: key.toLowerCase(), value })),
  );
}

function abortError(signal: AbortSignal | undefined): DaemonError {
  const reason: unknown = signal?.reason;
  if (reason === undefined || reason === null) return cancelled("context canceled", { bare: true });
  const error = toDaemonError(reason);
  return error.kind === "unknown" ? cancelled("context canceled", { bare: true, cause: reason }) : error;
}
