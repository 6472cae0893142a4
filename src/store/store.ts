/**
 * Durable metadata in lmdb: `<root>/metadata.lmdb`. Reads come from the memory map; a write resolves once it is
 * on disk. A check and the write that it allows are one step of the write queue, so two writers cannot both win.
 */
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { open, type RootDatabase } from "lmdb";
import { alreadyExists, DaemonError, failedPrecondition, notFound } from "../core/errors.js";
import type { Logger } from "../core/logger.js";
import type { ContainerRecord, LeaseRecord, StorePort } from "../ports/store-port.js";
import {
  decodeContainer,
  decodeLabels,
  decodeLease,
  encodeContainer,
  encodeLabels,
  encodeLease,
  type Labels,
} from "./codecs.js";
import { type CommitThread, startCommitThread } from "./commit-thread.js";
import { checkDatabaseFile } from "./database-file.js";
import { type DatabaseSize, DiskReserve, reserveLockFile } from "./disk-reserve.js";
import {
  endOf,
  hadContainersKey,
  type Kind,
  kindPrefix,
  namespaceKey,
  namespacePrefix,
  objectKey,
  uuidKey,
} from "./keys.js";
import { storageError } from "./storage-error.js";
import { type Change, WriteQueue, type WriteView } from "./write-queue.js";

export interface StoreOptions {
  /** The daemon's root directory; made by the caller. */
  readonly directory: string;
  readonly log: Logger;
}

type Database = RootDatabase<Buffer, string>;

/** Rejects when the database cannot be opened or made. */
export async function openStore({ directory, log }: StoreOptions): Promise<StorePort> {
  // Each commit waits for the disk in its own thread; overlapping syncs would only blur when it is durable.
  const options = {
    path: join(directory, "metadata.lmdb"),
    encoding: "binary",
    overlappingSync: false,
  } as const;
  let db: Database;
  try {
    checkDatabaseFile(options.path);
    reserveLockFile(options.path);
    db = open<Buffer, string>(options);
  } catch (cause) {
    throw translate(options.path, cause);
  }
  const store = new LmdbStore(options.path, db, startCommitThread(options, log), log);
  try {
    await store.initialise();
  } catch (error) {
    await store.close();
    throw error;
  }
  return store;
}

const quoted = JSON.stringify;
const withoutEmpty = (labels: Labels): Labels =>
  Object.fromEntries(Object.entries(labels).filter(([, value]) => value !== ""));

class LmdbStore implements StorePort {
  readonly #db: Database;
  readonly #thread: CommitThread;
  readonly #queue: WriteQueue;
  readonly #log: Logger;
  #closing: Promise<void> | undefined;
  uuid = "";

  constructor(path: string, db: Database, thread: CommitThread, log: Logger) {
    this.#db = db;
    this.#thread = thread;
    this.#log = log;
    const reserve = new DiskReserve(path, () => sizeOf(db));
    this.#queue = new WriteQueue(
      {
        get: (key) => db.get(key),
        keys: (start, end) => [...db.getKeys({ start, end })],
        // Another thread commits: without this, reads of this turn would still see the state before it.
        refresh: () => db.resetReadTxn(),
        cover: (operations) => reserve.cover(operations),
      },
      thread,
    );
  }

  async initialise(): Promise<void> {
    const stored = this.#db.get(uuidKey);
    this.uuid = stored?.toString("utf8") ?? randomUUID();
    if (stored === undefined) await this.#write((view) => view.put(uuidKey, Buffer.from(this.uuid)));
  }

  hasContainer = (namespace: string, id: string): boolean =>
    this.#db.doesExist(objectKey("container", namespace, id));
  getContainer = (namespace: string, id: string): ContainerRecord | undefined =>
    this.#get("container", namespace, id, decodeContainer);
  listContainers = (namespace: string): readonly ContainerRecord[] =>
    this.#list("container", namespace, decodeContainer);

  createContainer(namespace: string, record: ContainerRecord): Promise<void> {
    const value = encodeContainer({ ...record, labels: withoutEmpty(record.labels) });
    return this.#write((view) => {
      insert(view, "container", namespace, record.id, value);
      if (view.get(hadContainersKey(namespace)) === undefined) view.put(hadContainersKey(namespace), marker);
    });
  }

  updateContainer(
    namespace: string,
    id: string,
    change: (current: ContainerRecord) => ContainerRecord,
  ): Promise<ContainerRecord> {
    return this.#write((view) => {
      const key = objectKey("container", namespace, id);
      const stored = view.get(key);
      if (stored === undefined) throw missingContainer(view, "update", namespace, id);
      const next = change(decodeContainer(stored));
      const kept: ContainerRecord = { ...next, labels: withoutEmpty(next.labels) };
      view.put(key, encodeContainer(kept));
      return kept;
    });
  }

  deleteContainer(namespace: string, id: string): Promise<void> {
    return this.#write((view) => {
      const key = objectKey("container", namespace, id);
      if (view.get(key) === undefined) throw missingContainer(view, "delete", namespace, id);
      view.remove(key);
    });
  }

  getLease = (namespace: string, id: string): LeaseRecord | undefined =>
    this.#get("lease", namespace, id, decodeLease);
  listLeases = (namespace: string): readonly LeaseRecord[] => this.#list("lease", namespace, decodeLease);
  createLease(namespace: string, lease: LeaseRecord): Promise<void> {
    const value = encodeLease({ ...lease, labels: withoutEmpty(lease.labels) });
    return this.#write((view) => insert(view, "lease", namespace, lease.id, value));
  }

  updateLease(
    namespace: string,
    id: string,
    change: (current: LeaseRecord) => LeaseRecord,
  ): Promise<LeaseRecord> {
    return this.#write((view) => {
      const key = objectKey("lease", namespace, id);
      const stored = view.get(key);
      if (stored === undefined) throw notFound(`lease ${quoted(id)}`);
      const next = change(decodeLease(stored));
      const kept: LeaseRecord = { ...next, labels: withoutEmpty(next.labels) };
      view.put(key, encodeLease(kept));
      return kept;
    });
  }

  deleteLease(namespace: string, id: string): Promise<void> {
    return this.#write((view) => {
      const key = objectKey("lease", namespace, id);
      if (view.get(key) === undefined) throw notFound(`lease ${quoted(id)}`);
      view.remove(key);
    });
  }

  getNamespace(name: string): Labels | undefined {
    const stored = this.#db.get(namespaceKey(name));
    return stored === undefined ? undefined : decodeLabels(stored);
  }

  listNamespaces(): readonly { readonly name: string; readonly labels: Labels }[] {
    const range = this.#db.getRange({ start: namespacePrefix, end: endOf(namespacePrefix) });
    return [...range].map(({ key, value }) => ({
      name: key.slice(namespacePrefix.length),
      labels: decodeLabels(value),
    }));
  }

  createNamespace(name: string, labels: Labels): Promise<void> {
    return this.#write((view) => {
      if (view.get(namespaceKey(name)) !== undefined) throw alreadyExists(`namespace ${quoted(name)}`);
      view.put(namespaceKey(name), encodeLabels(withoutEmpty(labels)));
    });
  }

  updateNamespace(name: string, change: (labels: Labels) => Labels): Promise<Labels> {
    return this.#write((view) => {
      const stored = view.get(namespaceKey(name));
      const next = withoutEmpty(change(stored === undefined ? {} : decodeLabels(stored)));
      view.put(namespaceKey(name), encodeLabels(next));
      return next;
    });
  }

  deleteNamespace(name: string): Promise<void> {
    return this.#write((view) => {
      if (view.get(namespaceKey(name)) === undefined) throw notFound(`namespace ${quoted(name)}`);
      if (keysOf(view, "container", name).length > 0) {
        throw failedPrecondition(`namespace ${quoted(name)} must be empty, but it still has containers`);
      }
      // Leases do not hold a namespace: they go with it.
      for (const key of keysOf(view, "lease", name)) view.remove(key);
      view.remove(hadContainersKey(name));
      view.remove(namespaceKey(name));
    });
  }

  /** Finishes accepted writes first. */
  close(): Promise<void> {
    this.#closing ??= (async () => {
      await this.#queue.close();
      await this.#thread.close();
      await this.#db.close();
    })();
    return this.#closing;
  }

  #get<T>(kind: Kind, namespace: string, id: string, decode: (stored: Buffer) => T): T | undefined {
    const stored = this.#db.get(objectKey(kind, namespace, id));
    return stored === undefined ? undefined : decode(stored);
  }

  #list<T>(kind: Kind, namespace: string, decode: (stored: Buffer) => T): T[] {
    const prefix = kindPrefix(kind, namespace);
    return [...this.#db.getRange({ start: prefix, end: endOf(prefix) })].map(({ value }) => decode(value));
  }

  async #write<T>(change: Change<T>): Promise<T> {
    try {
      return await this.#queue.write(change);
    } catch (error) {
      // Refusals are the caller's business; a disk that fails is the operator's too.
      if (error instanceof DaemonError && diskKinds.has(error.kind))
        this.#log.error({ err: error }, "metadata write failed");
      throw error;
    }
  }
}

const marker = Buffer.of(1);

/** Any object makes its namespace, without an event. */
function insert(view: WriteView, kind: Kind, namespace: string, id: string, value: Buffer): void {
  const key = objectKey(kind, namespace, id);
  if (view.get(key) !== undefined) throw alreadyExists(`${kind} ${quoted(id)}`);
  if (view.get(namespaceKey(namespace)) === undefined) view.put(namespaceKey(namespace), encodeLabels({}));
  view.put(key, value);
}

/** containerd words this differently before a namespace's first container, and leaves the quotes out once. */
function missingContainer(
  view: WriteView,
  verb: "update" | "delete",
  namespace: string,
  id: string,
): DaemonError {
  if (view.get(hadContainersKey(namespace)) === undefined) {
    return notFound(`cannot ${verb} container ${quoted(id)} in namespace ${quoted(namespace)}`);
  }
  return notFound(verb === "delete" ? `container ${id}` : `container ${quoted(id)}`);
}

/** What lmdb says of its file; its type for this is `{}`. */
interface TreeStatistics {
  readonly pageSize: number;
  readonly treeDepth: number;
  readonly treeBranchPageCount: number;
  readonly treeLeafPageCount: number;
  readonly overflowPages: number;
}

function sizeOf(db: Database): DatabaseSize {
  const { root, free, lastPageNumber } = db.getStats() as {
    readonly root: TreeStatistics;
    readonly free: TreeStatistics;
    readonly lastPageNumber: number;
  };
  const pagesOf = (tree: TreeStatistics): number =>
    tree.treeBranchPageCount + tree.treeLeafPageCount + tree.overflowPages;
  const usedPages = lastPageNumber + 1;
  const metaPages = 2;
  return {
    pageBytes: root.pageSize,
    treeDepth: root.treeDepth,
    usedPages,
    freePages: Math.max(0, usedPages - metaPages - pagesOf(root) - pagesOf(free)),
  };
}

const diskKinds: ReadonlySet<string> = new Set(["resource-exhausted", "internal", "deadline-exceeded"]);

function keysOf(view: WriteView, kind: Kind, namespace: string): readonly string[] {
  const prefix = kindPrefix(kind, namespace);
  return view.keys(prefix, endOf(prefix));
}

function translate(path: string, cause: unknown): DaemonError {
  if (cause instanceof DaemonError) return cause;
  return storageError(path, cause instanceof Error ? cause : { message: String(cause) });
}
