/**
 * The only place that knows grpc-js: wraps our handlers for unary and server-streaming calls. It reads the
 * namespace header, turns cancellation and deadline into one signal, and catches everything: grpc-js does not
 * await handlers, so a bare async one that threw would leave its client waiting.
 */
import { setMaxListeners } from "node:events";
import type { handleServerStreamingCall, handleUnaryCall, Metadata } from "@grpc/grpc-js";
import { cancelled, DaemonError, deadlineExceeded, failedPrecondition, unavailable } from "../core/errors.js";
import { type Namespace, parseNamespace } from "../core/ids.js";
import type { Logger } from "../core/logger.js";
import type { CallTracker } from "./call-tracker.js";
import type { CallReport } from "./dependencies.js";
import { type CallStatus, statusOf } from "./status.js";

export const namespaceHeader = "containerd-namespace";

export interface ApiCall<Request> {
  readonly request: Request;
  /** The tenant that the client named. Reading it throws containerd's words when it is missing or invalid. */
  readonly namespace: Namespace;
  /** Aborts, with a DaemonError as reason, when the client is gone or its deadline has passed. */
  readonly signal: AbortSignal;
}

export interface ResponseStream<Response> {
  /** Sends one message; false asks to wait for `drained` before the next. No headers leave before the first. */
  write(message: Response): boolean;
  /** Resolves when there is room again; rejects with the signal's reason. */
  drained(): Promise<void>;
}

export interface UnaryOptions {
  /** Ends with its client, not by itself: a shutdown does not wait for it. */
  readonly subscription?: boolean;
}

export interface CallWrappers {
  unary<Request, Response>(
    handle: (call: ApiCall<Request>) => Promise<Response> | Response,
    options?: UnaryOptions,
  ): handleUnaryCall<Request, Response>;
  /** The stream ends when `handle` settles: with its error, or OK. */
  serverStream<Request, Response>(
    handle: (call: ApiCall<Request>, stream: ResponseStream<Response>) => Promise<void>,
    options?: UnaryOptions,
  ): handleServerStreamingCall<Request, Response>;
}

export interface CallWrapperOptions {
  readonly log: Logger;
  readonly tracker: CallTracker;
  readonly observe: ((report: CallReport) => void) | undefined;
}

/** The part of grpc-js's calls that both kinds share. */
interface GrpcCall<Request> {
  readonly request: Request;
  readonly metadata: Metadata;
  readonly cancelled: boolean;
  getPath(): string;
  getDeadline(): Date | number;
  on(event: "cancelled", listener: () => void): unknown;
}

/** The first header value wins. Node joins repeated headers by a comma, which no identifier contains. */
function namespaceOf(metadata: Metadata): Namespace {
  const header = metadata.get(namespaceHeader)[0];
  const [first = ""] = header === undefined ? [] : header.toString().split(", ");
  if (first === "") throw failedPrecondition("namespace is required");
  return parseNamespace(first);
}

function abortReason(call: GrpcCall<unknown>): DaemonError {
  const late = Number(call.getDeadline()) <= Date.now();
  return late
    ? deadlineExceeded("context deadline exceeded", { bare: true })
    : cancelled("context canceled", { bare: true });
}

function contextOf<Request>({ request, metadata }: GrpcCall<Request>, signal: AbortSignal): ApiCall<Request> {
  return {
    request,
    signal,
    get namespace() {
      return namespaceOf(metadata);
    },
  };
}

export function createCallWrappers({ log, tracker, observe }: CallWrapperOptions): CallWrappers {
  /** Runs `handle` and answers exactly once, whatever happens. */
  async function run<Request, Response>(
    type: CallReport["type"],
    call: GrpcCall<Request>,
    options: UnaryOptions,
    handle: (call: ApiCall<Request>) => Promise<Response> | Response,
    answer: (status: CallStatus | undefined, response: Response | undefined) => void,
  ): Promise<void> {
    const startedAt = performance.now();
    const path = call.getPath();
    const controller = new AbortController();
    // Tasks.List asks many actors under one signal; Node would warn of a leak at eleven.
    setMaxListeners(0, controller.signal);
    const finish = tracker.begin(options.subscription === true);
    let status: CallStatus | undefined;
    let settled = false;
    // grpc-js emits this once per call: when its client is gone, its deadline has passed, or its status is sent.
    call.on("cancelled", () => {
      if (!settled) controller.abort(abortReason(call));
      finish?.();
    });
    try {
      if (finish === undefined) throw unavailable("the daemon is shutting down");
      const response = await handle(contextOf(call, controller.signal));
      settled = true;
      answer(undefined, response);
    } catch (error) {
      settled = true;
      status = statusOf(error);
      if (!(error instanceof DaemonError)) log.error({ err: error, path }, "call failed unexpectedly");
      answer(status, undefined);
    }
    const durationMs = performance.now() - startedAt;
    log.debug({ path, code: status?.code ?? 0, details: status?.details, durationMs }, "call finished");
    observe?.({ type, path, code: status?.code ?? 0, durationMs });
  }

  const unexpected = (error: unknown): void => log.error({ err: error }, "answering a call failed");

  return {
    unary(handle, options = {}) {
      return (call, callback) => {
        run("unary", call, options, handle, (status, response) => {
          if (status === undefined) callback(null, response);
          else callback(status);
        }).catch(unexpected);
      };
    },
    serverStream<Request, Response>(
      handle: (call: ApiCall<Request>, stream: ResponseStream<Response>) => Promise<void>,
      options: UnaryOptions = {},
    ): handleServerStreamingCall<Request, Response> {
      return (call) => {
        const start = (context: ApiCall<Request>): Promise<void> => {
          const drained = (): Promise<void> => waitForDrain(call, context.signal);
          return handle(context, { write: (message) => call.write(message), drained });
        };
        run("server-stream", call, options, start, (status) => {
          if (status === undefined) call.end();
          // grpc-js turns this event into the status, after what was written before.
          else call.emit("error", { ...status, message: status.details });
        }).catch(unexpected);
      };
    },
  };
}

interface Drainable {
  once(event: "drain", listener: () => void): unknown;
  off(event: "drain", listener: () => void): unknown;
}

function waitForDrain(stream: Drainable, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const onDrain = (): void => {
      signal.removeEventListener("abort", onAbort);
      resolve();
    };
    const onAbort = (): void => {
      stream.off("drain", onDrain);
      reject(signal.reason);
    };
    stream.once("drain", onDrain);
    signal.addEventListener("abort", onAbort, { once: true });
  });
}
