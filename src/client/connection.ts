/**
 * One channel to a daemon that speaks containerd's gRPC API over a unix socket. Knows transport only:
 * namespace header, deadlines, cancellation, error kinds. The calls are listed in `daemon-client.ts`.
 */
import { createConnection } from "node:net";
import { Client, credentials, Metadata } from "@grpc/grpc-js";
import { cancelled, deadlineExceeded, invalidArgument, toDaemonError } from "../core/errors.js";
import { callError, connectionProblem } from "./grpc-errors.js";

/** containerd's own bound in both directions. */
const maxMessageBytes = 16 * 1024 * 1024;
/** sun_path less its final NUL. */
const maxSocketPathBytes = 107;
const defaultDeadlineMs = 30_000;

export interface ConnectOptions {
  /** The tenant that every call is made for, unless the call names another. */
  readonly namespace: string;
  /** Milliseconds that a call may take unless it says otherwise; default 30000. */
  readonly deadlineMs?: number;
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds, or "none" for a subscription that ends with its signal. */
  readonly deadlineMs?: number | "none";
  readonly namespace?: string;
}

/** The part of a generated grpc-js method that a call needs. */
export interface UnaryDefinition<Q, R> {
  readonly path: string;
  readonly requestSerialize: (value: Q) => Buffer;
  readonly responseDeserialize: (bytes: Buffer) => R;
}

export interface Connection {
  readonly address: string;
  readonly namespace: string;
  /** Rejects with a DaemonError; an aborted signal rejects `cancelled`, a passed deadline `deadline-exceeded`. */
  unary<Q, R>(definition: UnaryDefinition<Q, R>, request: Q, options?: CallOptions): Promise<R>;
  /** The messages of a server stream; leaving the loop ends the call. Without an explicit deadline there is none. */
  stream<Q, R>(
    definition: UnaryDefinition<Q, R>,
    request: Q,
    options?: CallOptions,
  ): AsyncGenerator<R, void, void>;
  /** Fails the calls under way. Harmless when repeated. */
  close(): void;
}

/** `unix:/path` and `unix:///path` as the plain path that they mean. */
export const socketPath = (address: string): string => address.replace(/^unix:(\/\/)?(?=\/)/, "");

/** Resolves when somebody accepts on `path`; rejects with one clear sentence otherwise. */
async function probe(path: string, deadlineMs: number): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const socket = createConnection({ path });
    const timer = setTimeout(() => {
      socket.destroy();
      reject(deadlineExceeded(`the daemon at ${path} does not accept connections`));
    }, deadlineMs);
    socket.once("connect", () => {
      clearTimeout(timer);
      socket.destroy();
      resolve();
    });
    socket.once("error", (error: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      reject(connectionProblem(path, error.code ?? "") ?? toDaemonError(error));
    });
  });
}

/** Opens a connection to the daemon listening on the unix socket `address`. */
export async function openConnection(address: string, options: ConnectOptions): Promise<Connection> {
  const path = socketPath(address);
  if (!path.startsWith("/")) throw invalidArgument(`address ${address} is not an absolute socket path`);
  if (Buffer.byteLength(path) > maxSocketPathBytes)
    throw invalidArgument(`address ${path} is longer than the ${maxSocketPathBytes} bytes of a socket path`);
  const deadlineMs = options.deadlineMs ?? defaultDeadlineMs;
  await probe(path, Math.min(deadlineMs, 5_000));
  const client = new Client(`unix:${path}`, credentials.createInsecure(), {
    "grpc.max_send_message_length": maxMessageBytes,
    "grpc.max_receive_message_length": maxMessageBytes,
    // A restarted daemon must be found again quickly; the default backs off to two minutes.
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1_000,
    // A process may talk to two daemons that used the same path one after the other.
    "grpc.use_local_subchannel_pool": 1,
  });
  return new GrpcConnection(path, options.namespace, deadlineMs, client);
}

class GrpcConnection implements Connection {
  readonly #deadlineMs: number;
  readonly #client: Client;

  constructor(
    readonly address: string,
    readonly namespace: string,
    deadlineMs: number,
    client: Client,
  ) {
    this.#deadlineMs = deadlineMs;
    this.#client = client;
  }

  #metadata(options: CallOptions): Metadata {
    const metadata = new Metadata();
    metadata.set("containerd-namespace", options.namespace ?? this.namespace);
    return metadata;
  }

  unary<Q, R>(definition: UnaryDefinition<Q, R>, request: Q, options: CallOptions = {}): Promise<R> {
    const { signal } = options;
    const deadlineMs = options.deadlineMs ?? this.#deadlineMs;
    return new Promise<R>((resolve, reject) => {
      if (signal?.aborted) {
        reject(cancelled(`${definition.path} was cancelled`, { cause: signal.reason }));
        return;
      }
      const call = this.#client.makeUnaryRequest<Q, R>(
        definition.path,
        definition.requestSerialize,
        definition.responseDeserialize,
        request,
        this.#metadata(options),
        deadlineMs === "none" ? {} : { deadline: Date.now() + deadlineMs },
        (error, response) => {
          signal?.removeEventListener("abort", abort);
          if (error === null && response !== undefined) resolve(response);
          else if (signal?.aborted)
            reject(cancelled(`${definition.path} was cancelled`, { cause: signal.reason }));
          else reject(callError(this.address, error));
        },
      );
      const abort = (): void => call.cancel();
      signal?.addEventListener("abort", abort, { once: true });
    });
  }

  async *stream<Q, R>(
    definition: UnaryDefinition<Q, R>,
    request: Q,
    options: CallOptions = {},
  ): AsyncGenerator<R, void, void> {
    const { signal } = options;
    if (signal?.aborted) throw cancelled(`${definition.path} was cancelled`, { cause: signal.reason });
    const deadlineMs = options.deadlineMs ?? "none";
    const call = this.#client.makeServerStreamRequest<Q, R>(
      definition.path,
      definition.requestSerialize,
      definition.responseDeserialize,
      request,
      this.#metadata(options),
      deadlineMs === "none" ? {} : { deadline: Date.now() + deadlineMs },
    );
    const abort = (): void => call.cancel();
    signal?.addEventListener("abort", abort, { once: true });
    try {
      for await (const message of call) yield message as R;
    } catch (error) {
      if (signal?.aborted) throw cancelled(`${definition.path} was cancelled`, { cause: signal.reason });
      throw callError(this.address, error);
    } finally {
      signal?.removeEventListener("abort", abort);
      // The iterator destroys the stream when its reader leaves, but that alone does not tell the server.
      call.cancel();
    }
  }

  close(): void {
    this.#client.close();
  }
}
