/**
 * Raw gRPC clients from the generated code, the same for berthd and containerd: requests may be partial, each
 * unary call is a promise with a deadline, and failures keep their status code and exact message.
 */
import { Client, credentials, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import * as containers from "../../src/wire/gen/containerd/services/containers/v1/containers.js";
import * as events from "../../src/wire/gen/containerd/services/events/v1/events.js";
import * as introspection from "../../src/wire/gen/containerd/services/introspection/v1/introspection.js";
import * as leases from "../../src/wire/gen/containerd/services/leases/v1/leases.js";
import * as namespaces from "../../src/wire/gen/containerd/services/namespaces/v1/namespaces.js";
import * as tasks from "../../src/wire/gen/containerd/services/tasks/v1/tasks.js";
import * as version from "../../src/wire/gen/containerd/services/version/v1/version.js";
import { Empty } from "../../src/wire/gen/google/protobuf/empty.js";
import * as health from "../../src/wire/gen/grpc/health/v1/health.js";
import { type EventStream, openEventStream } from "./event-stream.js";

export interface CallOptions {
  /** The `containerd-namespace` header; not sent when undefined. */
  readonly namespace?: string;
  /** Deadline sent with the call, in milliseconds; 60 s when not given. */
  readonly timeoutMs?: number;
  /** Cancels the call at once. */
  readonly signal?: AbortSignal;
  readonly metadata?: Readonly<Record<string, string>>;
}

type DeepPartial<T> = T extends bigint | string | number | boolean | Uint8Array | undefined
  ? T
  : T extends readonly (infer U)[]
    ? readonly DeepPartial<U>[]
    : { readonly [K in keyof T]?: DeepPartial<T[K]> };

interface Method<Req, Res> {
  readonly path: string;
  readonly requestSerialize: (value: Req) => Buffer;
  readonly responseDeserialize: (value: Buffer) => Res;
}
// The generated fromPartial is generic over its exact argument, so its parameter can only be named loosely here.
// biome-ignore lint/suspicious/noExplicitAny: see above.
type Message<Req> = { fromPartial(object: any): Req };
type Unary<Req, Res> = (request: DeepPartial<Req>, options?: CallOptions) => Promise<Res>;

/** A failed call: what a client can see of it. */
export class RpcError extends Error {
  override readonly name = "RpcError";
  readonly statusCode: number;
  /** The message exactly as it was on the wire. */
  readonly details: string;

  constructor(path: string, error: ServiceError) {
    super(`${path}: ${error.code} ${error.details}`);
    this.statusCode = error.code;
    this.details = error.details;
  }
}

export const metadataOf = (options: CallOptions): Metadata => {
  const metadata = new Metadata();
  if (options.namespace !== undefined) metadata.set("containerd-namespace", options.namespace);
  for (const [key, value] of Object.entries(options.metadata ?? {})) metadata.set(key, value);
  return metadata;
};

function unaryOn(client: Client) {
  return <Req, Res>(method: Method<Req, Res>, message: Message<Req>): Unary<Req, Res> =>
    (request, options = {}) =>
      new Promise<Res>((resolve, reject) => {
        const call = client.makeUnaryRequest(
          method.path,
          method.requestSerialize,
          method.responseDeserialize,
          message.fromPartial(request),
          metadataOf(options),
          { deadline: Date.now() + (options.timeoutMs ?? 60_000) },
          (error, response) => {
            options.signal?.removeEventListener("abort", cancel);
            if (error !== null) reject(new RpcError(method.path, error));
            else resolve(response as Res);
          },
        );
        const cancel = (): void => call.cancel();
        if (options.signal?.aborted === true) cancel();
        else options.signal?.addEventListener("abort", cancel, { once: true });
      });
}

/** Connects when first used; reconnects by itself when the daemon was restarted. */
export function createClients(address: string) {
  const channelOptions = {
    "grpc.max_receive_message_length": 16 << 20,
    "grpc.max_send_message_length": -1,
    "grpc.initial_reconnect_backoff_ms": 50,
    "grpc.min_reconnect_backoff_ms": 50,
    "grpc.max_reconnect_backoff_ms": 200,
    // Without it channels of one process to one address share a connection, and "one client dies" means all do.
    "grpc.use_local_subchannel_pool": 1,
  };
  const client = new Client(`unix:${address}`, credentials.createInsecure(), channelOptions);
  const unary = unaryOn(client);
  const t = tasks.TasksService;
  const c = containers.ContainersService;
  const n = namespaces.NamespacesService;
  const l = leases.LeasesService;
  const check = unary(health.HealthService.check, health.HealthCheckRequest);
  return {
    client,
    tasks: {
      create: unary(t.create, tasks.CreateTaskRequest),
      start: unary(t.start, tasks.StartRequest),
      delete: unary(t.delete, tasks.DeleteTaskRequest),
      deleteProcess: unary(t.deleteProcess, tasks.DeleteProcessRequest),
      get: unary(t.get, tasks.GetRequest),
      list: unary(t.list, tasks.ListTasksRequest),
      kill: unary(t.kill, tasks.KillRequest),
      exec: unary(t.exec, tasks.ExecProcessRequest),
      resizePty: unary(t.resizePty, tasks.ResizePtyRequest),
      closeIo: unary(t.closeIo, tasks.CloseIORequest),
      pause: unary(t.pause, tasks.PauseTaskRequest),
      resume: unary(t.resume, tasks.ResumeTaskRequest),
      listPids: unary(t.listPids, tasks.ListPidsRequest),
      checkpoint: unary(t.checkpoint, tasks.CheckpointTaskRequest),
      update: unary(t.update, tasks.UpdateTaskRequest),
      metrics: unary(t.metrics, tasks.MetricsRequest),
      wait: unary(t.wait, tasks.WaitRequest),
    },
    containers: {
      get: unary(c.get, containers.GetContainerRequest),
      list: unary(c.list, containers.ListContainersRequest),
      create: unary(c.create, containers.CreateContainerRequest),
      update: unary(c.update, containers.UpdateContainerRequest),
      delete: unary(c.delete, containers.DeleteContainerRequest),
    },
    namespaces: {
      get: unary(n.get, namespaces.GetNamespaceRequest),
      list: unary(n.list, namespaces.ListNamespacesRequest),
      create: unary(n.create, namespaces.CreateNamespaceRequest),
      update: unary(n.update, namespaces.UpdateNamespaceRequest),
      delete: unary(n.delete, namespaces.DeleteNamespaceRequest),
    },
    leases: {
      create: unary(l.create, leases.CreateRequest),
      delete: unary(l.delete, leases.DeleteRequest),
      list: unary(l.list, leases.ListRequest),
      addResource: unary(l.addResource, leases.AddResourceRequest),
      deleteResource: unary(l.deleteResource, leases.DeleteResourceRequest),
      listResources: unary(l.listResources, leases.ListResourcesRequest),
    },
    events: {
      publish: unary(events.EventsService.publish, events.PublishRequest),
      forward: unary(events.EventsService.forward, events.ForwardRequest),
    },
    introspection: {
      plugins: unary(introspection.IntrospectionService.plugins, introspection.PluginsRequest),
      server: unary(introspection.IntrospectionService.server, Empty),
    },
    version: unary(version.VersionService.version, Empty),
    health: check,
    /** True when the daemon says SERVING; false when it does not answer. */
    isServing: async (): Promise<boolean> => {
      try {
        const answer = await check({}, { timeoutMs: 2_000 });
        return answer.status === health.HealthCheckResponse_ServingStatus.SERVING;
      } catch (error) {
        if (error instanceof RpcError && error.statusCode !== status.UNIMPLEMENTED) return false;
        throw error;
      }
    },
    /** Resolves when the subscription is in place, so that no event after it is missed. */
    subscribe: (filters: readonly string[]): Promise<EventStream> =>
      openEventStream(client, filters, (topic, namespace) =>
        unary(events.EventsService.publish, events.PublishRequest)(
          { topic, event: probeEvent },
          { namespace },
        ),
      ),
    close: (): void => client.close(),
  };
}

const probeEvent = { typeUrl: "containerd.events.TaskResumed", value: Buffer.alloc(0) };

export type RawClients = ReturnType<typeof createClients>;
