/**
 * Owns the gRPC socket and its connections. They are ours rather than grpc-js's, because a stopping daemon must drop
 * them: a stream ended by RST_STREAM(CANCEL), which is how grpc-js would end it, tells dockerd that it cancelled the
 * call itself, and it never listens for events again.
 */
import { createServer, type Socket } from "node:net";
import { setImmediate as nextTurn } from "node:timers/promises";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { ContainersService } from "../wire/gen/containerd/services/containers/v1/containers.js";
import { IntrospectionService } from "../wire/gen/containerd/services/introspection/v1/introspection.js";
import { LeasesService } from "../wire/gen/containerd/services/leases/v1/leases.js";
import { NamespacesService } from "../wire/gen/containerd/services/namespaces/v1/namespaces.js";
import { TasksService } from "../wire/gen/containerd/services/tasks/v1/tasks.js";
import { VersionService } from "../wire/gen/containerd/services/version/v1/version.js";
import { HealthService } from "../wire/gen/grpc/health/v1/health.js";
import { createCallTracker } from "./call-tracker.js";
import { createContainersService } from "./containers-service.js";
import type { ApiDependencies } from "./dependencies.js";
import { createEventsService, eventsDefinition } from "./events-service.js";
import { createHealthService } from "./health-service.js";
import { createIntrospectionService } from "./introspection-service.js";
import { createLeasesService } from "./leases-service.js";
import { createNamespacesService } from "./namespaces-service.js";
import { createTasksService } from "./tasks-service.js";
import { createCallWrappers } from "./unary.js";
import {
  type ListeningSocket,
  listenOnUnixSocket,
  type SocketAddress,
  trackConnections,
} from "./unix-socket.js";
import { createVersionService } from "./version-service.js";

/** Enough for any machine's clients, few enough for its descriptors. */
const maxConnections = 4096;
const defaultGraceMs = 2000;

export interface GrpcApi {
  /** Starts serving. Rejects failed-precondition when a live daemon has the socket. */
  listen(address: SocketAddress): Promise<void>;
  /**
   * Refuses new calls, gives open ones `graceMs` (default 2000) to be answered, then drops every connection; Wait and
   * Subscribe end with it, as UNAVAILABLE. May be called again.
   */
  shutdown(options?: { readonly graceMs?: number }): Promise<void>;
  readonly openCalls: number;
  readonly connections: number;
}

export function createGrpcServer(deps: ApiDependencies): GrpcApi {
  const log = deps.log.child({ room: "api" });
  const tracker = createCallTracker();
  const calls = createCallWrappers({ log, tracker, observe: deps.observeCall });

  // No keepalive, idle or age limits: Wait and Subscribe stay open for as long as their clients want.
  const grpc = new Server({
    "grpc.max_receive_message_length": deps.limits.maxRecvBytes,
    "grpc.max_send_message_length": deps.limits.maxSendBytes,
    "grpc.enable_channelz": 0,
  });
  grpc.addService(ContainersService, createContainersService(deps, calls));
  grpc.addService(TasksService, createTasksService(deps, calls));
  grpc.addService(eventsDefinition, createEventsService(deps, calls));
  grpc.addService(NamespacesService, createNamespacesService(deps, calls));
  grpc.addService(LeasesService, createLeasesService(deps, calls));
  grpc.addService(VersionService, createVersionService(deps, calls));
  grpc.addService(IntrospectionService, createIntrospectionService(deps, calls));
  grpc.addService(HealthService, createHealthService(tracker, calls));

  const injector = grpc.createConnectionInjector(ServerCredentials.createInsecure());
  const listener = createServer((socket: Socket) => {
    socket.on("error", (error) => log.debug({ err: error }, "client connection failed"));
    injector.injectConnection(socket);
  });
  listener.maxConnections = maxConnections;
  listener.on("drop", () => log.warn({ maxConnections }, "too many client connections"));
  const connections = trackConnections(listener);
  let socket: ListeningSocket | undefined;
  let stopped: Promise<void> | undefined;

  async function stop(graceMs: number): Promise<void> {
    socket?.close();
    await tracker.drain(graceMs);
    // The last answers are with nghttp2, which writes them in the next turns of the loop.
    for (let turn = 0; turn < 3; turn += 1) await nextTurn();
    await connections.destroyAll();
    injector.destroy();
    grpc.forceShutdown();
  }

  return {
    async listen(address) {
      socket = await listenOnUnixSocket(listener, address, log);
      log.info({ path: socket.path }, "grpc listening");
    },
    shutdown({ graceMs = defaultGraceMs } = {}) {
      stopped ??= stop(graceMs);
      return stopped;
    },
    get openCalls() {
      return tracker.open;
    },
    get connections() {
      return connections.size;
    },
  };
}
