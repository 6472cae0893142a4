/**
 * What travels in an Any, as plain values: JSON documents of the OCI runtime spec, containerd's events, and
 * anything protobuf made fit for printing.
 */
import { isZeroInstant } from "../core/exit.js";
import { isTypeUrl, packAny, packJson, toAny, typeUrls } from "../wire/any.js";
import { unpackEvent } from "../wire/event-payloads.js";
import { Options, ProcessDetails } from "../wire/gen/containerd/runc/v1/runc.js";
import type { Envelope } from "../wire/gen/containerd/types/types.js";
import type { Any } from "../wire/gen/google/protobuf/any.js";
import type { Timestamp } from "../wire/gen/google/protobuf/timestamp.js";
import { formatInstant, fromTimestamp } from "../wire/timestamp.js";

const ociUrls = {
  Spec: typeUrls.spec,
  Process: typeUrls.process,
  LinuxResources: typeUrls.linuxResources,
} as const;

/** `value` as the JSON Any that containerd uses for Spec, Process and LinuxResources. */
export const ociAny = (type: keyof typeof ociUrls, value: unknown): Any =>
  toAny(packJson(ociUrls[type], value));

/** The JSON document inside `any`, or undefined when there is none. */
export function jsonOf<T>(any: Any | undefined): T | undefined {
  if (any === undefined || any.value.length === 0) return undefined;
  try {
    return JSON.parse(Buffer.from(any.value).toString("utf8")) as T;
  } catch {
    return undefined;
  }
}

/** Options for runc's shim: which OCI runtime to call, and where that keeps its state. */
export const runcOptions = (wishes: { readonly binaryName?: string; readonly root?: string }): Any =>
  toAny(packAny(typeUrls.runcOptions, Options, Options.fromPartial(wishes)));

/** A protobuf time as RFC 3339; "" for Go's zero time or none. */
export function timeText(at: Timestamp | undefined): string {
  const instant = fromTimestamp(at);
  return isZeroInstant(instant) ? "" : formatInstant(instant);
}

const isTimestamp = (value: object): value is Timestamp =>
  "seconds" in value && "nanos" in value && typeof value.seconds === "bigint";
const isAny = (value: object): value is Any =>
  "typeUrl" in value && "value" in value && value.value instanceof Uint8Array;

/** A decoded message as JSON.stringify takes it: numbers, RFC 3339 times, decoded Anys, base64 bytes. */
export function plain(value: unknown): unknown {
  if (typeof value === "bigint")
    return value <= Number.MAX_SAFE_INTEGER && value >= Number.MIN_SAFE_INTEGER
      ? Number(value)
      : String(value);
  if (value instanceof Uint8Array) return Buffer.from(value).toString("base64");
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  if (isTimestamp(value)) return timeText(value);
  if (isAny(value)) return decodeAny(value);
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, field]) => field !== undefined)
      .map(([name, field]) => [name, plain(field)]),
  );
}

/** The content of `any` fit for printing; of an unknown type its URL and bytes. */
export function decodeAny(any: Any): unknown {
  const event = unpackEvent(any);
  if (event !== undefined) return plain(event.payload);
  try {
    if (isTypeUrl(any.typeUrl, typeUrls.runcOptions)) return plain(Options.decode(any.value));
    if (isTypeUrl(any.typeUrl, typeUrls.processDetails)) return plain(ProcessDetails.decode(any.value));
    if (any.typeUrl.includes("opencontainers/runtime-spec/")) return JSON.parse(any.value.toString("utf8"));
  } catch {
    // Falls through to the raw form: a newer daemon may send what we cannot read.
  }
  return { typeUrl: any.typeUrl, value: any.value.toString("base64") };
}

/** An event fit for printing. */
export const eventView = (envelope: Envelope) => ({
  timestamp: timeText(envelope.timestamp),
  namespace: envelope.namespace,
  topic: envelope.topic,
  event: envelope.event === undefined ? null : decodeAny(envelope.event),
});

/** Which exec a listed process belongs to; "" for one that no exec started. */
export const execIdOf = (info: Any | undefined): string =>
  info === undefined || !isTypeUrl(info.typeUrl, typeUrls.processDetails)
    ? ""
    : ProcessDetails.decode(info.value).execId;
