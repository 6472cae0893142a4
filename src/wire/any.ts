/**
 * Any and type URLs. containerd writes bare names and reads both forms (`x.y.Z` and `prefix/x.y.Z`); so do we.
 * Bytes that only pass through (specs, options, extensions) are never decoded.
 */
import { invalidArgument } from "../core/errors.js";
import type { OpaqueAny } from "../ports/store-port.js";
import type { Any } from "./gen/google/protobuf/any.js";

export const typeUrls = {
  spec: "types.containerd.io/opencontainers/runtime-spec/1/Spec",
  process: "types.containerd.io/opencontainers/runtime-spec/1/Process",
  linuxResources: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources",
  features: "types.containerd.io/opencontainers/runtime-spec/1/features/Features",
  runcOptions: "containerd.runc.v1.Options",
  checkpointOptions: "containerd.runc.v1.CheckpointOptions",
  processDetails: "containerd.runc.v1.ProcessDetails",
  runtimeOptions: "runtimeoptions.v1.Options",
  cgroupsV1Metrics: "io.containerd.cgroups.v1.Metrics",
  cgroupsV2Metrics: "io.containerd.cgroups.v2.Metrics",
} as const;

interface Encoder<T> {
  encode(message: T): { finish(): Uint8Array };
}
interface Decoder<T> {
  decode(input: Uint8Array): T;
}

/** The same bytes as a generated Any; nothing is copied. */
export function toAny(value: OpaqueAny): Any;
export function toAny(value: OpaqueAny | undefined): Any | undefined;
export function toAny(value: OpaqueAny | undefined): Any | undefined {
  if (value === undefined) return undefined;
  const bytes = value.value;
  return { typeUrl: value.typeUrl, value: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength) };
}

/** A generated Any as rooms pass it on; nothing is copied. */
export function fromAny(any: Any): OpaqueAny;
export function fromAny(any: Any | undefined): OpaqueAny | undefined;
export function fromAny(any: Any | undefined): OpaqueAny | undefined {
  return any === undefined ? undefined : { typeUrl: any.typeUrl, value: any.value };
}

/** True when `typeUrl` names `name`, with or without a prefix that ends in a slash. */
export const isTypeUrl = (typeUrl: string, name: string): boolean =>
  typeUrl === name || typeUrl.endsWith(`/${name}`);

export const packAny = <T>(typeUrl: string, codec: Encoder<T>, message: T): OpaqueAny => ({
  typeUrl,
  value: codec.encode(message).finish(),
});

/** Throws invalid-argument when `any` holds another type or does not decode. */
export function unpackAny<T>(typeUrl: string, codec: Decoder<T>, any: OpaqueAny): T {
  if (!isTypeUrl(any.typeUrl, typeUrl)) {
    throw invalidArgument(`expected a value of type ${typeUrl}, got ${JSON.stringify(any.typeUrl)}`);
  }
  try {
    return codec.decode(any.value);
  } catch (error) {
    throw invalidArgument(`malformed value of type ${typeUrl}`, { cause: error });
  }
}

export const packJson = (typeUrl: string, value: unknown): OpaqueAny => ({
  typeUrl,
  value: Buffer.from(JSON.stringify(value)),
});

/** The JSON text inside `any`, parsed and unchecked. Throws invalid-argument when it is none. */
export function unpackJson(any: OpaqueAny): unknown {
  try {
    return JSON.parse(Buffer.from(any.value.buffer, any.value.byteOffset, any.value.byteLength).toString());
  } catch (error) {
    throw invalidArgument(`malformed JSON in a value of type ${JSON.stringify(any.typeUrl)}`, {
      cause: error,
    });
  }
}
