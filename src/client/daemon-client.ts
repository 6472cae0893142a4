/** The calls of containerd's API that berth's commands use, typed, each with options for signal and deadline. */
import {
  ContainersService,
  CreateContainerRequest,
  DeleteContainerRequest,
  GetContainerRequest,
  ListContainersRequest,
  UpdateContainerRequest,
} from "../wire/gen/containerd/services/containers/v1/containers.js";
import { EventsService, SubscribeRequest } from "../wire/gen/containerd/services/events/v1/events.js";
import { IntrospectionService } from "../wire/gen/containerd/services/introspection/v1/introspection.js";
import {
  CreateNamespaceRequest,
  DeleteNamespaceRequest,
  ListNamespacesRequest,
  NamespacesService,
} from "../wire/gen/containerd/services/namespaces/v1/namespaces.js";
import {
  CloseIORequest,
  CreateTaskRequest,
  DeleteProcessRequest,
  DeleteTaskRequest,
  ExecProcessRequest,
  GetRequest,
  KillRequest,
  ListPidsRequest,
  ListTasksRequest,
  MetricsRequest,
  PauseTaskRequest,
  ResizePtyRequest,
  ResumeTaskRequest,
  StartRequest,
  TasksService,
  UpdateTaskRequest,
  WaitRequest,
  type WaitResponse,
} from "../wire/gen/containerd/services/tasks/v1/tasks.js";
import { VersionService } from "../wire/gen/containerd/services/version/v1/version.js";
import { Empty } from "../wire/gen/google/protobuf/empty.js";
import {
  type CallOptions,
  type Connection,
  type ConnectOptions,
  openConnection,
  type UnaryDefinition,
} from "./connection.js";

interface MessageType<Q> {
  // biome-ignore lint/suspicious/noExplicitAny: the generated signature is generic over what it completes
  fromPartial(object: any): Q;
}

type Call<Q, R> = (request: Partial<Q>, options?: CallOptions) => Promise<R>;
type StreamCall<Q, R> = (request: Partial<Q>, options?: CallOptions) => AsyncGenerator<R, void, void>;

function calls(connection: Connection) {
  const unary =
    <Q, R>(definition: UnaryDefinition<Q, R>, message: MessageType<Q>): Call<Q, R> =>
    (request, options) =>
      connection.unary(definition, message.fromPartial(request), options);
  const stream =
    <Q, R>(definition: UnaryDefinition<Q, R>, message: MessageType<Q>): StreamCall<Q, R> =>
    (request, options) =>
      connection.stream(definition, message.fromPartial(request), options);

  /** A subscription: without an explicit deadline it lasts as long as the process. */
  const wait: Call<WaitRequest, WaitResponse> = (request, options) =>
    connection.unary(TasksService.wait, WaitRequest.fromPartial(request), { deadlineMs: "none", ...options });

  return {
    containers: {
      get: unary(ContainersService.get, GetContainerRequest),
      list: unary(ContainersService.list, ListContainersRequest),
      listStream: stream(ContainersService.listStream, ListContainersRequest),
      create: unary(ContainersService.create, CreateContainerRequest),
      update: unary(ContainersService.update, UpdateContainerRequest),
      delete: unary(ContainersService.delete, DeleteContainerRequest),
    },
    tasks: {
      create: unary(TasksService.create, CreateTaskRequest),
      start: unary(TasksService.start, StartRequest),
      delete: unary(TasksService.delete, DeleteTaskRequest),
      deleteProcess: unary(TasksService.deleteProcess, DeleteProcessRequest),
      get: unary(TasksService.get, GetRequest),
      list: unary(TasksService.list, ListTasksRequest),
      kill: unary(TasksService.kill, KillRequest),
      exec: unary(TasksService.exec, ExecProcessRequest),
      resizePty: unary(TasksService.resizePty, ResizePtyRequest),
      closeIo: unary(TasksService.closeIo, CloseIORequest),
      pause: unary(TasksService.pause, PauseTaskRequest),
      resume: unary(TasksService.resume, ResumeTaskRequest),
      listPids: unary(TasksService.listPids, ListPidsRequest),
      update: unary(TasksService.update, UpdateTaskRequest),
      metrics: unary(TasksService.metrics, MetricsRequest),
      wait,
    },
    events: { subscribe: stream(EventsService.subscribe, SubscribeRequest) },
    namespaces: {
      list: unary(NamespacesService.list, ListNamespacesRequest),
      create: unary(NamespacesService.create, CreateNamespaceRequest),
      delete: unary(NamespacesService.delete, DeleteNamespaceRequest),
    },
    version: unary(VersionService.version, Empty),
    server: unary(IntrospectionService.server, Empty),
  };
}

export interface DaemonClient extends ReturnType<typeof calls> {
  readonly connection: Connection;
  /** Fails the calls under way. */
  close(): void;
}

/**
 * Connects to the daemon on the unix socket `address`. Rejects with one clear DaemonError when the socket is
 * missing, not permitted, or nobody listens on it.
 */
export async function connect(address: string, options: ConnectOptions): Promise<DaemonClient> {
  const connection = await openConnection(address, options);
  return { ...calls(connection), connection, close: () => connection.close() };
}
