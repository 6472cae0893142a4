/**
 * containerd.services.tasks.v1: each call becomes one message to the container's actor. Wait is a subscription:
 * it ends with the exit or with its client.
 */
import type { ContainerDirectory } from "../actors/containers/directory.js";
import { DaemonError, invalidArgument, unimplemented } from "../core/errors.js";
import { type Exit, instantFromMs } from "../core/exit.js";
import { parseExecId, type TaskKey } from "../core/ids.js";
import { fromAny, toAny } from "../wire/any.js";
import { adaptTask } from "../wire/filter/adaptors.js";
import type { DeleteResponse, TasksServer } from "../wire/gen/containerd/services/tasks/v1/tasks.js";
import type { Metric } from "../wire/gen/containerd/types/types.js";
import type { Process } from "../wire/gen/containerd/v1/types/types.js";
import { toTimestamp } from "../wire/timestamp.js";
import { mapBounded } from "./bounded-map.js";
import { stdioOf, toProcess } from "./convert.js";
import { type ApiDependencies, askOptionsOf } from "./dependencies.js";
import { looseFilters, unclassed } from "./filtering.js";
import type { ApiCall, CallWrappers } from "./unary.js";
import { taskKey } from "./validation.js";

/** containerd's limits for one task in Get, List and Metrics: a hanging shim must not hold up the others. */
const stateTimeoutMs = 2000;
/** Tasks that one List or Metrics asks at a time. */
const concurrentAsks = 64;

const toDeleteResponse = (id: string, exit: Exit): DeleteResponse => ({
  id,
  pid: exit.pid,
  exitStatus: exit.exitStatus,
  exitedAt: toTimestamp(exit.exitedAt),
});

const keyOf = (call: ApiCall<{ containerId: string }>): TaskKey =>
  taskKey(call.namespace, call.request.containerId);

export function createTasksService(
  { containers, limits, clock }: ApiDependencies,
  { unary }: CallWrappers,
): TasksServer {
  const { quick, runtime } = askOptionsOf(limits);
  const state = (signal: AbortSignal) => ({ ...quick(signal), timeoutMs: stateTimeoutMs });

  /** Refuses a request, but only for a task that exists: an unknown one is answered not-found first. */
  async function refuse(call: ApiCall<{ containerId: string }>, refusal: DaemonError): Promise<never> {
    await containers.ask(keyOf(call), { kind: "get", execId: "" }, state(call.signal));
    throw refusal;
  }

  const plain =
    (kind: "pause" | "resume") =>
    async (call: ApiCall<{ containerId: string }>): Promise<Record<string, never>> => {
      await containers.ask(keyOf(call), { kind }, runtime(call.signal));
      return {};
    };

  return {
    create: unary(async (call) => {
      const { request, signal } = call;
      const { checkpoint } = request;
      const { pid } = await containers.ask(
        keyOf(call),
        {
          kind: "create",
          rootfs: request.rootfs,
          stdio: stdioOf(request),
          options: fromAny(request.options),
          runtimePath: request.runtimePath,
          checkpoint:
            checkpoint === undefined
              ? undefined
              : { mediaType: checkpoint.mediaType, digest: checkpoint.digest },
        },
        runtime(signal),
      );
      return { containerId: request.containerId, pid };
    }),

    start: unary(async (call) => {
      const { execId } = call.request;
      return containers.ask(keyOf(call), { kind: "start", execId }, runtime(call.signal));
    }),

    delete: unary(async (call) => {
      const exit = await containers.ask(
        keyOf(call),
        { kind: "delete", execId: undefined },
        runtime(call.signal),
      );
      return toDeleteResponse("", exit);
    }),

    deleteProcess: unary(async (call) => {
      const { execId } = call.request;
      const exit = await containers.ask(keyOf(call), { kind: "delete", execId }, runtime(call.signal));
      return toDeleteResponse(execId, exit);
    }),

    get: unary(async (call) => {
      const { containerId, execId } = call.request;
      const found = await containers.ask(keyOf(call), { kind: "get", execId }, state(call.signal));
      return { process: toProcess(execId === "" ? containerId : execId, found) };
    }),

    list: unary(async ({ namespace, signal }) => {
      const tasks = await mapBounded(
        containers.tasks(namespace),
        concurrentAsks,
        (key): Promise<Process | undefined> =>
          containers.ask(key, { kind: "get", execId: "" }, state(signal)).then(
            (found) => toProcess(key.id, found),
            // Gone meanwhile, or unreadable: the others are listed all the same.
            () => undefined,
          ),
      );
      signal.throwIfAborted();
      return { tasks: tasks.filter((task) => task !== undefined) };
    }),

    kill: unary(async (call) => {
      const { execId, signal: signalNumber, all } = call.request;
      await containers.ask(keyOf(call), { kind: "kill", execId, signalNumber, all }, runtime(call.signal));
      return {};
    }),

    exec: unary(async (call) => {
      const { request, signal } = call;
      if (request.execId === "") parseExecId(""); // containerd checks this before it looks for the container
      const spec = fromAny(request.spec);
      if (spec === undefined) return refuse(call, invalidArgument("exec spec must be set"));
      let execId: ReturnType<typeof parseExecId>;
      try {
        execId = parseExecId(request.execId);
      } catch (error) {
        if (error instanceof DaemonError) return refuse(call, error);
        throw error;
      }
      await containers.ask(
        keyOf(call),
        { kind: "exec", execId, stdio: stdioOf(request), spec },
        runtime(signal),
      );
      return {};
    }),

    resizePty: unary(async (call) => {
      const { execId, width, height } = call.request;
      // The kernel's winsize has 16 bits; containerd cuts as well.
      const size = { width: width & 0xffff, height: height & 0xffff };
      await containers.ask(keyOf(call), { kind: "resize-pty", execId, ...size }, quick(call.signal));
      return {};
    }),

    closeIo: unary(async (call) => {
      const { execId, stdin } = call.request;
      await containers.ask(keyOf(call), { kind: "close-io", execId, stdin }, quick(call.signal));
      return {};
    }),

    pause: unary(plain("pause")),
    resume: unary(plain("resume")),

    listPids: unary(async (call) => {
      const pids = await containers.ask(keyOf(call), { kind: "pids" }, quick(call.signal));
      return { processes: pids.map(({ pid, info }) => ({ pid, info: toAny(info) })) };
    }),

    checkpoint: unary((call) =>
      refuse(call, unimplemented(`checkpoint of task ${call.request.containerId}`)),
    ),

    update: unary(async (call) => {
      const { resources, annotations } = call.request;
      // A missing Any is sent on as an empty one: the shim answers what it makes of it.
      const asSent = fromAny(resources) ?? { typeUrl: "", value: new Uint8Array() };
      const message = { kind: "update", resources: asSent, annotations } as const;
      await containers.ask(keyOf(call), message, runtime(call.signal));
      return {};
    }),

    metrics: unary(async (call) => {
      const matches = looseFilters(call.request.filters);
      const { signal } = call;
      const namespace = unclassed(() => call.namespace);
      const wanted = containers.tasks(namespace).filter((key) => matches(adaptTask(key)));
      const metrics = await mapBounded(wanted, concurrentAsks, (key) => metricOf(containers, key, signal));
      signal.throwIfAborted();
      return { metrics: metrics.filter((metric) => metric !== undefined) };
    }),

    wait: unary(
      async (call) => {
        const exit = await containers.ask(
          keyOf(call),
          { kind: "wait", execId: call.request.execId },
          { timeoutMs: "none", signal: call.signal, from: "api" },
        );
        return { exitStatus: exit.exitStatus, exitedAt: toTimestamp(exit.exitedAt) };
      },
      { subscription: true },
    ),
  };

  /** undefined when the task cannot be measured: it is left out. */
  async function metricOf(
    directory: ContainerDirectory,
    key: TaskKey,
    signal: AbortSignal,
  ): Promise<Metric | undefined> {
    try {
      const data = await directory.ask(key, { kind: "stats" }, state(signal));
      return { timestamp: toTimestamp(instantFromMs(clock.now())), id: key.id, data: toAny(data) };
    } catch {
      return undefined;
    }
  }
}
