/**
 * Decides which shim process a task goes to, and starts and retires shims. It owns the table of shims; the
 * shims' own actors report to it.
 */
import { randomBytes } from "node:crypto";
import { toDaemonError, unavailable, unknownError } from "../../core/errors.js";
import { type Namespace, parseTaskKey, type ShimId, type TaskKey, taskKeyString } from "../../core/ids.js";
import type { ShimConnection, ShimLauncher, ShimRequest } from "../../ports/shim-launcher-port.js";
import type { ActorContext, ActorRef, Behavior, Reply } from "../kernel/types.js";
import type { PlacementMessage, ShimMessage, ShimSummary } from "./messages.js";

export interface PlacementOptions {
  readonly launcher: ShimLauncher;
  /** Starts the actor of a shim. */
  readonly startShim: (request: ShimRequest) => ActorRef<ShimMessage>;
  /** Tasks in one shim. */
  readonly capacity: number;
  readonly grouping: "packed" | "sandbox" | "container";
  /** How long an empty shim is kept for the next task. Milliseconds. */
  readonly idleMs: number;
  /** Where others look up which shim has a task; written here alone. */
  readonly hosts: Map<string, ShimConnection>;
  /** A task came with a shim, or lost it: its actor has to see to it. */
  readonly wake: (key: TaskKey) => void;
}

interface ShimEntry {
  readonly request: ShimRequest;
  readonly group: string;
  readonly actor: ActorRef<ShimMessage>;
  status: "starting" | "ready" | "unresponsive" | "retiring";
  connection: ShimConnection | undefined;
  readonly tasks: Set<string>;
  waiting: Array<{ readonly key: TaskKey; readonly reply: Reply<ShimConnection> }>;
}

export interface PlacementState {
  readonly shims: Map<ShimId, ShimEntry>;
  readonly restoring: Set<ShimId>;
  readonly restoredKeys: TaskKey[];
  restoreWaiters: Reply<readonly TaskKey[]>[];
}

const isServing = ({ status }: ShimEntry): boolean => status === "ready" || status === "unresponsive";

const sandboxAnnotation = "io.kubernetes.cri.sandbox-id";

export function createPlacementBehavior(
  options: PlacementOptions,
): Behavior<PlacementState, PlacementMessage> {
  const { launcher, hosts } = options;

  function groupOf(key: TaskKey, spec: Uint8Array, builtIn: boolean): string {
    if (!builtIn || options.grouping === "container") return `container:${key.id}`;
    if (options.grouping === "packed") return "packed";
    const sandbox = annotationOf(spec, sandboxAnnotation);
    return sandbox === undefined ? "packed" : `sandbox:${sandbox}`;
  }

  function startShim(
    state: PlacementState,
    namespace: Namespace,
    runtime: string,
    group: string,
    shimId: ShimId,
  ): ShimEntry {
    const request = { shimId, namespace, runtime };
    const entry: ShimEntry = {
      request,
      group,
      actor: options.startShim(request),
      status: "starting",
      connection: undefined,
      tasks: new Set(),
      waiting: [],
    };
    state.shims.set(shimId, entry);
    return entry;
  }

  /** The fullest shim that still has room, so that others empty out. */
  function findShim(
    state: PlacementState,
    namespace: Namespace,
    runtime: string,
    group: string,
  ): ShimEntry | undefined {
    let best: ShimEntry | undefined;
    for (const entry of state.shims.values()) {
      if (entry.status !== "ready" && entry.status !== "starting") continue;
      // One of an earlier daemon has not been heard yet: it may hang, and nobody shall wait for that.
      if (state.restoring.has(entry.request.shimId)) continue;
      if (entry.request.namespace !== namespace || entry.request.runtime !== runtime || entry.group !== group)
        continue;
      if (entry.tasks.size >= options.capacity) continue;
      if (best === undefined || entry.tasks.size > best.tasks.size) best = entry;
    }
    return best;
  }

  function assign(
    entry: ShimEntry,
    connection: ShimConnection,
    key: TaskKey,
    reply: Reply<ShimConnection>,
  ): void {
    const text = taskKeyString(key);
    // Whoever asked has gone: nobody would give the place back.
    if (reply.settled) {
      entry.tasks.delete(text);
      return;
    }
    entry.tasks.add(text);
    hosts.set(text, connection);
    reply.resolve(connection);
  }

  function place(
    state: PlacementState,
    message: Extract<PlacementMessage, { kind: "place" }>,
    ctx: ActorContext<PlacementMessage>,
  ): void {
    const { key, runtime, reply } = message;
    let builtIn: boolean;
    try {
      ({ builtIn } = launcher.resolve(runtime));
    } catch (thrown) {
      reply.reject(toDaemonError(thrown));
      return;
    }
    const group = groupOf(key, message.spec, builtIn);
    const runtimeKey = builtIn ? "" : runtime;
    const entry =
      findShim(state, key.namespace, runtimeKey, group) ??
      startShim(state, key.namespace, runtimeKey, group, randomBytes(6).toString("hex") as ShimId);
    entry.tasks.add(taskKeyString(key));
    ctx.cancelTimer(`idle-${entry.request.shimId}`);
    if (entry.connection === undefined) entry.waiting.push({ key, reply });
    else assign(entry, entry.connection, key, reply);
  }

  function startIdleTimer(entry: ShimEntry, ctx: ActorContext<PlacementMessage>): void {
    const { shimId } = entry.request;
    if (entry.tasks.size === 0) ctx.startTimer(`idle-${shimId}`, options.idleMs, { kind: "idle", shimId });
  }

  function release(state: PlacementState, key: TaskKey, ctx: ActorContext<PlacementMessage>): void {
    const text = taskKeyString(key);
    hosts.delete(text);
    for (const entry of state.shims.values()) {
      if (entry.tasks.delete(text)) startIdleTimer(entry, ctx);
    }
  }

  function drop(
    state: PlacementState,
    shimId: ShimId,
    ctx: ActorContext<PlacementMessage>,
  ): ShimEntry | undefined {
    const entry = state.shims.get(shimId);
    state.shims.delete(shimId);
    ctx.cancelTimer(`idle-${shimId}`);
    // `hosts` keeps its entries: each task's actor releases its own once it has cleaned up.
    settleRestore(state, shimId);
    return entry;
  }

  function forget(shimId: ShimId, ctx: ActorContext<PlacementMessage>): void {
    ctx.perform(
      () => launcher.forget(shimId),
      (outcome) => ({ kind: "forgotten", shimId, outcome }),
    );
  }

  function settleRestore(state: PlacementState, shimId: ShimId): void {
    state.restoring.delete(shimId);
    if (state.restoring.size > 0) return;
    for (const waiter of state.restoreWaiters) waiter.resolve(state.restoredKeys);
    state.restoreWaiters = [];
  }

  return {
    kind: "placement",
    init(ctx) {
      ctx.self.tell({ kind: "restore" });
      return { shims: new Map(), restoring: new Set(), restoredKeys: [], restoreWaiters: [] };
    },
    lane: (message) => (message.kind === "place" ? "normal" : "priority"),
    phaseOf: (state) => `${state.shims.size} shims`,
    handle(state, message, ctx) {
      switch (message.kind) {
        case "restore":
          for (const { shimId, namespace, runtime } of launcher.leftovers()) {
            state.restoring.add(shimId);
            // Their grouping is not kept: what they have they keep, and new packed tasks may join.
            startShim(state, namespace, runtime, "packed", shimId);
          }
          return state;
        case "place":
          place(state, message, ctx);
          return state;
        case "release":
          release(state, message.key, ctx);
          return state;
        case "shim-ready": {
          const entry = state.shims.get(message.shimId);
          if (entry === undefined) return state;
          entry.status = "ready";
          entry.connection = message.connection;
          // After a restart of this actor the table knows of tasks that the shim does not list yet.
          for (const [text, connection] of hosts)
            if (connection === message.connection) entry.tasks.add(text);
          for (const { key, reply } of entry.waiting) assign(entry, message.connection, key, reply);
          entry.waiting = [];
          for (const { id } of message.hosted) {
            const key: TaskKey = { namespace: entry.request.namespace, id };
            const text = taskKeyString(key);
            entry.tasks.add(text);
            if (hosts.get(text) === message.connection) continue;
            hosts.set(text, message.connection);
            state.restoredKeys.push(key);
            options.wake(key);
          }
          startIdleTimer(entry, ctx);
          settleRestore(state, message.shimId);
          return state;
        }
        case "shim-failed": {
          const { shimId } = message;
          const entry = drop(state, shimId, ctx);
          forget(shimId, ctx);
          const error = unknownError(`failed to start shim: ${message.error.message}`, {
            cause: message.error,
          });
          for (const { reply } of entry?.waiting ?? []) reply.reject(error);
          return state;
        }
        case "shim-ended": {
          const { shimId } = message;
          const entry = drop(state, shimId, ctx);
          forget(shimId, ctx);
          // Most have an actor that hears of it by itself.
          for (const text of entry?.tasks ?? []) options.wake(parseTaskKey(text));
          return state;
        }
        case "forgotten":
          if (!message.outcome.ok)
            ctx.log.warn({ err: message.outcome.error, shim: message.shimId }, "shim directory not removed");
          return state;
        case "shim-health": {
          const entry = state.shims.get(message.shimId);
          if (entry?.status === "ready" || entry?.status === "unresponsive") {
            entry.status = message.responsive ? "ready" : "unresponsive";
          }
          // One that hangs while it starts keeps nobody waiting: the next place is in another.
          if (entry?.status === "starting" && !message.responsive) {
            const error = unavailable(`shim ${message.shimId} does not answer`);
            for (const { key, reply } of entry.waiting) {
              entry.tasks.delete(taskKeyString(key));
              reply.reject(error);
            }
            entry.waiting = [];
            entry.status = "unresponsive";
          }
          return state;
        }
        case "idle": {
          const entry = state.shims.get(message.shimId);
          if (entry !== undefined && isServing(entry) && entry.tasks.size === 0) {
            entry.status = "retiring";
            entry.actor.tell({ kind: "retire" }, ctx.path);
          }
          return state;
        }
        case "restored":
          if (state.restoring.size === 0) message.reply.resolve(state.restoredKeys);
          else state.restoreWaiters.push(message.reply);
          return state;
        case "summary":
          message.reply.resolve([...state.shims.values()].map(summarise));
          return state;
      }
    },
  };
}

const summarise = (entry: ShimEntry): ShimSummary => ({
  shimId: entry.request.shimId,
  namespace: entry.request.namespace,
  group: entry.group,
  status: entry.status,
  pid: entry.connection?.pid,
  tasks: entry.tasks.size,
});

/** An annotation of an OCI spec; a spec that does not parse has none (the runtime will say what is wrong with it). */
function annotationOf(spec: Uint8Array, name: string): string | undefined {
  try {
    const parsed = JSON.parse(Buffer.from(spec).toString("utf8")) as {
      annotations?: Record<string, unknown>;
    } | null;
    const value = parsed?.annotations?.[name];
    return typeof value === "string" ? value : undefined;
  } catch {
    return undefined;
  }
}
