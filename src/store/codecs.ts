/** How records lie on disk: one byte of format version, then the payload. */
import { DaemonError } from "../core/errors.js";
import type { ContainerRecord, LeaseRecord } from "../ports/store-port.js";
import { fromAny, toAny } from "../wire/any.js";
import { Container } from "../wire/gen/containerd/services/containers/v1/containers.js";
import { fromTimestamp, toTimestamp } from "../wire/timestamp.js";

const formatVersion = 1;

export type Labels = Readonly<Record<string, string>>;

function framed(payload: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of(formatVersion), payload]);
}

function unframed(stored: Buffer): Buffer {
  if (stored[0] !== formatVersion) {
    throw new DaemonError(
      "data-loss",
      `metadata of format ${stored[0]}, expected ${formatVersion}: written by another berth?`,
    );
  }
  return stored.subarray(1);
}

/** containerd's own message, so that spec, options and extensions keep their bytes. */
export function encodeContainer(record: ContainerRecord): Buffer {
  const message = Container.fromPartial({
    id: record.id,
    labels: { ...record.labels },
    image: record.image,
    runtime: { name: record.runtime.name, options: toAny(record.runtime.options) },
    spec: toAny(record.spec),
    snapshotter: record.snapshotter,
    snapshotKey: record.snapshotKey,
    createdAt: toTimestamp(record.createdAt),
    updatedAt: toTimestamp(record.updatedAt),
    extensions: Object.fromEntries(
      Object.entries(record.extensions).map(([key, value]) => [key, toAny(value)]),
    ),
    sandbox: record.sandbox,
  });
  return framed(Container.encode(message).finish());
}

export function decodeContainer(stored: Buffer): ContainerRecord {
  const message = Container.decode(unframed(stored));
  return {
    id: message.id,
    labels: message.labels,
    image: message.image,
    runtime: { name: message.runtime?.name ?? "", options: fromAny(message.runtime?.options) },
    spec: fromAny(message.spec) ?? { typeUrl: "", value: new Uint8Array() },
    snapshotter: message.snapshotter,
    snapshotKey: message.snapshotKey,
    createdAt: fromTimestamp(message.createdAt),
    updatedAt: fromTimestamp(message.updatedAt),
    extensions: Object.fromEntries(
      Object.entries(message.extensions).map(([key, value]) => [key, fromAny(value)]),
    ),
    sandbox: message.sandbox,
  };
}

interface StoredLease {
  readonly id: string;
  readonly seconds: string;
  readonly nanos: number;
  readonly labels: Labels;
  readonly resources: LeaseRecord["resources"];
}

export function encodeLease({ id, createdAt, labels, resources }: LeaseRecord): Buffer {
  const stored: StoredLease = {
    id,
    seconds: String(createdAt.seconds),
    nanos: createdAt.nanos,
    labels,
    resources,
  };
  return framed(Buffer.from(JSON.stringify(stored)));
}

export function decodeLease(bytes: Buffer): LeaseRecord {
  const { id, seconds, nanos, labels, resources } = JSON.parse(
    unframed(bytes).toString("utf8"),
  ) as StoredLease;
  return { id, createdAt: { seconds: BigInt(seconds), nanos }, labels, resources };
}

export const encodeLabels = (labels: Labels): Buffer => framed(Buffer.from(JSON.stringify(labels)));
export const decodeLabels = (stored: Buffer): Labels =>
  JSON.parse(unframed(stored).toString("utf8")) as Labels;
