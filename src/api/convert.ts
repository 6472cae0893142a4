/** Between generated messages and the daemon's own types. Bytes of Any values pass unchanged. */
import { zeroInstant } from "../core/exit.js";
import type { ProcessState, ProcessStatus, Stdio } from "../ports/shim-port.js";
import type { ContainerRecord, LeaseRecord } from "../ports/store-port.js";
import { fromAny, toAny } from "../wire/any.js";
import type { Container } from "../wire/gen/containerd/services/containers/v1/containers.js";
import type { Lease } from "../wire/gen/containerd/services/leases/v1/leases.js";
import { type Process, Status } from "../wire/gen/containerd/v1/types/types.js";
import { toTimestamp } from "../wire/timestamp.js";
import type { ContainerDraft } from "./validation.js";

const mapValues = <A, B>(from: Readonly<Record<string, A>>, map: (value: A) => B): Record<string, B> =>
  Object.fromEntries(Object.entries(from).map(([key, value]) => [key, map(value)]));

export const toContainer = (record: ContainerRecord): Container => ({
  id: record.id,
  labels: { ...record.labels },
  image: record.image,
  runtime: { name: record.runtime.name, options: toAny(record.runtime.options) },
  spec: toAny(record.spec),
  snapshotter: record.snapshotter,
  snapshotKey: record.snapshotKey,
  createdAt: toTimestamp(record.createdAt),
  updatedAt: toTimestamp(record.updatedAt),
  extensions: mapValues(record.extensions, (value) => toAny(value)),
  sandbox: record.sandbox,
});

/** Both times are the daemon's to set. A missing container is one without anything. */
export const fromContainer = (container: Container | undefined): ContainerDraft => ({
  id: container?.id ?? "",
  labels: container?.labels ?? {},
  image: container?.image ?? "",
  runtime: { name: container?.runtime?.name ?? "", options: fromAny(container?.runtime?.options) },
  spec: fromAny(container?.spec),
  snapshotter: container?.snapshotter ?? "",
  snapshotKey: container?.snapshotKey ?? "",
  createdAt: zeroInstant,
  updatedAt: zeroInstant,
  extensions: mapValues(container?.extensions ?? {}, (value) => fromAny(value)),
  sandbox: container?.sandbox ?? "",
});

export const toLease = (record: LeaseRecord): Lease => ({
  id: record.id,
  createdAt: toTimestamp(record.createdAt),
  labels: { ...record.labels },
});

const statuses: Readonly<Record<ProcessStatus, Status>> = {
  unknown: Status.UNKNOWN,
  created: Status.CREATED,
  running: Status.RUNNING,
  stopped: Status.STOPPED,
  paused: Status.PAUSED,
  pausing: Status.PAUSING,
};

/** `id` is the exec's, or the container's for init. containerd leaves container_id empty. */
export const toProcess = (id: string, state: ProcessState): Process => ({
  containerId: "",
  id,
  pid: state.pid,
  status: statuses[state.status],
  stdin: state.stdio.stdin,
  stdout: state.stdio.stdout,
  stderr: state.stdio.stderr,
  terminal: state.stdio.terminal,
  exitStatus: state.exitStatus,
  exitedAt: toTimestamp(state.exitedAt),
});

export const stdioOf = (request: Stdio): Stdio => ({
  stdin: request.stdin,
  stdout: request.stdout,
  stderr: request.stderr,
  terminal: request.terminal,
});
