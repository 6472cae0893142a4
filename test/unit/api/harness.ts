/** A gRPC server over a unix socket with fakes behind it, and a raw grpc-js client in front. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  Client,
  type ClientReadableStream,
  credentials,
  Metadata,
  type MethodDefinition,
  type ServiceError,
} from "@grpc/grpc-js";
import type { ApiDependencies, ApiLimits, CallReport, PluginInfo } from "../../../src/api/dependencies.js";
import { createGrpcServer } from "../../../src/api/grpc-server.js";
import { type Logger, silentLogger } from "../../../src/core/logger.js";
import { fakeDirectory, fakeJournal, fakeMetadata } from "./fakes.js";

export class RpcFailure extends Error {
  constructor(
    readonly status: number,
    readonly details: string,
  ) {
    super(`${status} ${details}`);
  }
}

export interface CallOptions {
  readonly namespace?: string | readonly string[] | null;
  readonly headers?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** Requests may be partial: the generated encoders need every field, so fromPartial fills them in. */
const metadataOf = ({ namespace = "n1", headers = {} }: CallOptions): Metadata => {
  const metadata = new Metadata();
  const names = namespace === null ? [] : typeof namespace === "string" ? [namespace] : namespace;
  for (const name of names) metadata.add("containerd-namespace", name);
  for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
  return metadata;
};

export interface HarnessOptions {
  readonly limits?: Partial<ApiLimits>;
  readonly plugins?: readonly PluginInfo[];
  readonly log?: Logger;
}

export async function startApi(options: HarnessOptions = {}) {
  const directory = mkdtempSync(join(tmpdir(), "api-"));
  const path = join(directory, "d.sock");
  const metadata = fakeMetadata();
  const journal = fakeJournal();
  const containers = fakeDirectory();
  const reports: CallReport[] = [];
  const deps: ApiDependencies = {
    containers: containers.directory,
    metadata: metadata.actor,
    journal: journal.actor,
    version: { version: "1.6.20+berth", revision: "abc" },
    inspectTree: () => {
      throw new Error("not asked for here");
    },
    metricsText: async () => "",
    plugins: () => options.plugins ?? [],
    log: options.log ?? silentLogger,
    clock: {
      now: () => 1_700_000_000_123.5,
      monotonicMs: () => performance.now(),
      setTimer: () => ({ cancel: () => undefined }),
    },
    limits: {
      maxRecvBytes: 16 << 20,
      maxSendBytes: 16 << 20,
      subscriberQueue: 100,
      askTimeoutMs: 5_000,
      ...options.limits,
    },
    observeCall: (report) => reports.push(report),
  };
  const api = createGrpcServer(deps);
  const address = { path, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  await api.listen(address);
  const clients: Client[] = [];
  const connect = (): Client => {
    const client = new Client(`unix:${path}`, credentials.createInsecure(), {
      "grpc.max_receive_message_length": -1,
      "grpc.max_send_message_length": -1,
      "grpc.use_local_subchannel_pool": 1,
      "grpc.enable_retries": 0,
    });
    clients.push(client);
    return client;
  };
  const client = connect();

  function call<Req, Res>(
    method: MethodDefinition<Req, Res>,
    request: Req,
    callOptions: CallOptions = {},
  ): Promise<Res> {
    return new Promise((resolve, reject) => {
      const running = client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        metadataOf(callOptions),
        { deadline: Date.now() + (callOptions.timeoutMs ?? 10_000) },
        (error: ServiceError | null, response?: Res) =>
          error === null ? resolve(response as Res) : reject(new RpcFailure(error.code, error.details)),
      );
      callOptions.signal?.addEventListener("abort", () => running.cancel(), { once: true });
    });
  }

  /** The failure of a call that must fail, as `code text`. */
  async function failure<Req, Res>(
    method: MethodDefinition<Req, Res>,
    request: Req,
    callOptions: CallOptions = {},
  ): Promise<string> {
    try {
      await call(method, request, callOptions);
    } catch (error) {
      if (error instanceof RpcFailure) return error.message;
      throw error;
    }
    throw new Error(`${method.path} succeeded`);
  }

  function open<Req, Res>(
    method: MethodDefinition<Req, Res>,
    request: Req,
    callOptions: CallOptions = {},
    over: Client = client,
  ): ClientReadableStream<Res> {
    return over.makeServerStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      request,
      metadataOf(callOptions),
    );
  }

  /** Everything a stream brings, until it ends; rejects with its failure. */
  async function collect<Req, Res>(
    method: MethodDefinition<Req, Res>,
    request: Req,
    callOptions: CallOptions = {},
  ): Promise<Res[]> {
    const stream = open(method, request, callOptions);
    const received: Res[] = [];
    return new Promise((resolve, reject) => {
      stream.on("data", (message: Res) => received.push(message));
      stream.on("error", (error) => reject(failureOf(error)));
      stream.on("end", () => resolve(received));
    });
  }

  return {
    api,
    address,
    deps,
    path,
    metadata,
    journal,
    containers,
    reports,
    client,
    connect,
    call,
    failure,
    open,
    collect,
    async [Symbol.asyncDispose](): Promise<void> {
      for (const opened of clients) opened.close();
      await api.shutdown({ graceMs: 0 });
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

export type Harness = Awaited<ReturnType<typeof startApi>>;

export function failureOf(error: unknown): RpcFailure {
  const { code, details } = error as ServiceError;
  return new RpcFailure(code, details);
}

/** How a stream ends: its failure, or undefined for an orderly end. Received messages are dropped. */
export const endOf = (stream: ClientReadableStream<unknown>): Promise<RpcFailure | undefined> =>
  new Promise((resolve) => {
    stream.resume();
    stream.once("error", (error) => resolve(failureOf(error)));
    stream.once("end", () => resolve(undefined));
  });
