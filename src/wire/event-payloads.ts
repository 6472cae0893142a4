/**
 * What travels inside events: the codecs of containerd.events.* by name, their topics, and the fields that a
 * subscriber's filter can see. Decoding happens once per event, however many subscribers look into it.
 */
import type { Envelope } from "../ports/event-sink.js";
import type { OpaqueAny } from "../ports/store-port.js";
import { packAny } from "./any.js";
import { labelField } from "./filter/adaptors.js";
import type { Adaptor } from "./filter/filter.js";
import * as events from "./gen/containerd/events/events.js";

const typeUrlPrefix = "containerd.events.";

const codecs = {
  ContentCreate: events.ContentCreate,
  ContentDelete: events.ContentDelete,
  SnapshotPrepare: events.SnapshotPrepare,
  SnapshotCommit: events.SnapshotCommit,
  SnapshotRemove: events.SnapshotRemove,
  SandboxCreate: events.SandboxCreate,
  SandboxStart: events.SandboxStart,
  SandboxExit: events.SandboxExit,
  ContainerCreate: events.ContainerCreate,
  ContainerUpdate: events.ContainerUpdate,
  ContainerDelete: events.ContainerDelete,
  NamespaceCreate: events.NamespaceCreate,
  NamespaceUpdate: events.NamespaceUpdate,
  NamespaceDelete: events.NamespaceDelete,
  TaskCreate: events.TaskCreate,
  TaskStart: events.TaskStart,
  TaskDelete: events.TaskDelete,
  TaskExit: events.TaskExit,
  TaskOOM: events.TaskOOM,
  TaskExecAdded: events.TaskExecAdded,
  TaskExecStarted: events.TaskExecStarted,
  TaskPaused: events.TaskPaused,
  TaskResumed: events.TaskResumed,
  TaskCheckpointed: events.TaskCheckpointed,
} as const;

export type EventName = keyof typeof codecs;
export type EventPayloads = { readonly [N in EventName]: ReturnType<(typeof codecs)[N]["decode"]> };
export type EventPayload = {
  [N in EventName]: { readonly name: N; readonly payload: EventPayloads[N] };
}[EventName];

/** The topic under which containerd publishes each payload. */
export const eventTopics: Readonly<Record<EventName, string>> = {
  ContentCreate: "/content/create",
  ContentDelete: "/content/delete",
  SnapshotPrepare: "/snapshot/prepare",
  SnapshotCommit: "/snapshot/commit",
  SnapshotRemove: "/snapshot/remove",
  SandboxCreate: "/sandboxes/create",
  SandboxStart: "/sandboxes/start",
  SandboxExit: "/sandboxes/exit",
  ContainerCreate: "/containers/create",
  ContainerUpdate: "/containers/update",
  ContainerDelete: "/containers/delete",
  NamespaceCreate: "/namespaces/create",
  NamespaceUpdate: "/namespaces/update",
  NamespaceDelete: "/namespaces/delete",
  TaskCreate: "/tasks/create",
  TaskStart: "/tasks/start",
  TaskDelete: "/tasks/delete",
  TaskExit: "/tasks/exit",
  TaskOOM: "/tasks/oom",
  TaskExecAdded: "/tasks/exec-added",
  TaskExecStarted: "/tasks/exec-started",
  TaskPaused: "/tasks/paused",
  TaskResumed: "/tasks/resumed",
  TaskCheckpointed: "/tasks/checkpointed",
};

/** The payload as the Any of an envelope. */
export function packEvent<N extends EventName>(name: N, payload: EventPayloads[N]): OpaqueAny {
  const codec = codecs[name] as { encode(message: EventPayloads[N]): { finish(): Uint8Array } };
  return packAny(typeUrlPrefix + name, codec, payload);
}

const decoded = new WeakMap<OpaqueAny, EventPayload | "unknown">();

/** The decoded payload of an event, or undefined for a type that is none of containerd.events or does not decode. */
export function unpackEvent(event: OpaqueAny): EventPayload | undefined {
  let found = decoded.get(event);
  if (found === undefined) {
    found = decode(event) ?? "unknown";
    decoded.set(event, found);
  }
  return found === "unknown" ? undefined : found;
}

function decode(event: OpaqueAny): EventPayload | undefined {
  const fullName = event.typeUrl.slice(event.typeUrl.lastIndexOf("/") + 1);
  if (!fullName.startsWith(typeUrlPrefix)) return undefined;
  const name = fullName.slice(typeUrlPrefix.length);
  if (!Object.hasOwn(codecs, name)) return undefined;
  try {
    // The name chose the codec, so the pair is one of the union; TypeScript cannot follow the index.
    return { name, payload: codecs[name as EventName].decode(event.value) } as EventPayload;
  } catch {
    return undefined;
  }
}

/** A field of an event as filters see it: containerd's names, strings and booleans only, times never. */
export function fieldOf(envelope: Envelope, fieldpath: readonly string[]): string | undefined {
  const [field, ...rest] = fieldpath;
  switch (field) {
    case "namespace":
      return envelope.namespace || undefined;
    case "topic":
      return envelope.topic || undefined;
    case "event": {
      const payload = unpackEvent(envelope.event)?.payload;
      return payload === undefined ? undefined : messageField(payload, rest);
    }
    default:
      return undefined;
  }
}

export const adaptEvent =
  (envelope: Envelope): Adaptor =>
  (fieldpath) =>
    fieldOf(envelope, fieldpath);

/** Messages nested in payloads whose fields are visible too. */
const nestedMessages = new Set(["io", "runtime"]);

/** `message.a_b.c` by proto names. Numbers, times, lists and Anys are not visible. */
function messageField(message: object, [field, ...rest]: readonly string[]): string | undefined {
  if (field === undefined || field.toLowerCase() !== field) return undefined;
  const property = field.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
  if (!Object.hasOwn(message, property)) return undefined;
  const value: unknown = (message as Record<string, unknown>)[property];
  if (typeof value === "string") return value || undefined;
  if (typeof value === "boolean") return String(value);
  if (typeof value !== "object" || value === null) return undefined;
  if (field === "labels") return labelField(value as Record<string, string>, rest);
  return nestedMessages.has(field) ? messageField(value, rest) : undefined;
}
