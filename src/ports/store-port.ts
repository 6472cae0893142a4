/**
 * Durable metadata. Reads are synchronous: the adapter answers from a memory map. Writes resolve when they
 * are on disk. Failures are DaemonErrors with containerd's words.
 */
import type { Instant } from "../core/exit.js";
import type { Namespace } from "../core/ids.js";

/** A typed value whose bytes are never looked into and never changed. */
export interface OpaqueAny {
  readonly typeUrl: string;
  readonly value: Uint8Array;
}

/** Stored metadata of a container; the running instance is a task. */
export interface ContainerRecord {
  readonly id: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly image: string;
  readonly runtime: { readonly name: string; readonly options: OpaqueAny | undefined };
  readonly spec: OpaqueAny;
  readonly snapshotter: string;
  readonly snapshotKey: string;
  readonly createdAt: Instant;
  readonly updatedAt: Instant;
  readonly extensions: Readonly<Record<string, OpaqueAny>>;
  readonly sandbox: string;
}

export interface LeaseRecord {
  readonly id: string;
  readonly createdAt: Instant;
  readonly labels: Readonly<Record<string, string>>;
  readonly resources: readonly { readonly id: string; readonly type: string }[];
}

export interface StorePort {
  /** Cheaper than getContainer: looks at the key alone. */
  hasContainer(namespace: Namespace, id: string): boolean;
  getContainer(namespace: Namespace, id: string): ContainerRecord | undefined;
  /** In id (byte) order. */
  listContainers(namespace: Namespace): readonly ContainerRecord[];
  /** Rejects already-exists. Makes the namespace implicitly. */
  createContainer(namespace: Namespace, record: ContainerRecord): Promise<void>;
  /** Applies `change` to the stored record atomically; rejects not-found. `change` may throw to refuse. */
  updateContainer(
    namespace: Namespace,
    id: string,
    change: (current: ContainerRecord) => ContainerRecord,
  ): Promise<ContainerRecord>;
  /** Rejects not-found. */
  deleteContainer(namespace: Namespace, id: string): Promise<void>;

  /** Labels of a namespace; undefined when nothing ever made it. */
  getNamespace(name: string): Readonly<Record<string, string>> | undefined;
  /** In byte order: every namespace that was created or holds an object. */
  listNamespaces(): readonly { readonly name: string; readonly labels: Readonly<Record<string, string>> }[];
  createNamespace(name: string, labels: Readonly<Record<string, string>>): Promise<void>;
  /** Creates it when it is unknown. */
  updateNamespace(
    name: string,
    change: (labels: Readonly<Record<string, string>>) => Readonly<Record<string, string>>,
  ): Promise<Readonly<Record<string, string>>>;
  /** Rejects not-found, or failed-precondition naming what remains. */
  deleteNamespace(name: string): Promise<void>;

  getLease(namespace: Namespace, id: string): LeaseRecord | undefined;
  listLeases(namespace: Namespace): readonly LeaseRecord[];
  createLease(namespace: Namespace, lease: LeaseRecord): Promise<void>;
  updateLease(
    namespace: Namespace,
    id: string,
    change: (current: LeaseRecord) => LeaseRecord,
  ): Promise<LeaseRecord>;
  deleteLease(namespace: Namespace, id: string): Promise<void>;

  /** Made once and kept: identifies this daemon's root. */
  readonly uuid: string;
  close(): Promise<void>;
}
