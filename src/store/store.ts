/**
 * Durable metadata in lmdb: `<root>/metadata.lmdb`. Reads come from the memory map; a write resolves once it is
 * on disk. Checks and the write they allow run in one transaction, so two writers cannot both win.
 */
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { open, type RootDatabase } from "lmdb";
import { alreadyExists, DaemonError, failedPrecondition, internal, notFound, resourceExhausted } from "../core/errors.js";
import type { Logger } from "../core/logger.js";
import type { ContainerRecord, LeaseRecord, StorePort } from "../ports/store-port.js";
import { decodeContainer, decodeLabels, decodeLease, encodeContainer, encodeLabels, encodeLease, type Labels } from "./codecs.js";
import { endOf, type Kind, kindPrefix, namespaceKey, namespacePrefix, objectKey, uuidKey } from "./keys.js";

export interface StoreOptions {
  /** The daemon's root directory; made by the caller. */
  readonly directory: string;
  readonly log: Logger;
}

type Database = RootDatabase<Buffer, string>;

/** Rejects when the database cannot be opened or made. */
export async function openStore({ directory, log }: StoreOptions): Promise<StorePort> {
  let db: Database;
  try {
    db = open<Buffer, string>({ path: join(directory, "metadata.lmdb"), encoding: "binary" });
  } catch (cause) {
    throw translate(cause);
  }
  const store = new LmdbStore(db, log);
  await store.initialise();
  return store;
}

const quoted = JSON.stringify;
const withoutEmpty = (labels: Labels): Labels => Object.fromEntries(Object.entries(labels).filter(([, value]) => value !== ""));

class LmdbStore implements StorePort {
  readonly #db: Database;
  readonly #log: Logger;
  uuid = "";

  constructor(db: Database, log: Logger) {
    this.#db = db;
    this.#log = log;
  }

  async initialise(): Promise<void> {
    const stored = this.#db.get(uuidKey);
    this.uuid = stored?.toString("utf8") ?? randomUUID();
    if (stored === undefined) await this.#write(() => void this.#db.put(uuidKey, Buffer.from(this.uuid)));
  }

  hasContainer = (namespace: string, id: string): boolean => this.#db.doesExist(objectKey("container", namespace, id));
  getContainer = (namespace: string, id: string): ContainerRecord | undefined => this.#get("container", namespace, id, decodeContainer);
  listContainers = (namespace: string): readonly ContainerRecord[] => this.#list("container", namespace, decodeContainer);

  createContainer(namespace: string, record: ContainerRecord): Promise<void> {
    const kept = { ...record, labels: withoutEmpty(record.labels) };
    return this.#create("container", namespace, record.id, encodeContainer(kept), `container ${quoted(record.id)}`);
  }

  updateContainer(namespace: string, id: string, change: (current: ContainerRecord) => ContainerRecord): Promise<ContainerRecord> {
    const kept = (current: ContainerRecord): ContainerRecord => {
      const next = change(current);
      return { ...next, labels: withoutEmpty(next.labels) };
    };
    return this.#update("container", namespace, id, decodeContainer, encodeContainer, kept, `container ${quoted(id)}`);
  }

  // containerd leaves the quotes out here, and here alone.
  deleteContainer = (namespace: string, id: string): Promise<void> => this.#delete("container", namespace, id, `container ${id}`);

  getLease = (namespace: string, id: string): LeaseRecord | undefined => this.#get("lease", namespace, id, decodeLease);
  listLeases = (namespace: string): readonly LeaseRecord[] => this.#list("lease", namespace, decodeLease);
  createLease(namespace: string, lease: LeaseRecord): Promise<void> {
    const kept = { ...lease, labels: withoutEmpty(lease.labels) };
    return this.#create("lease", namespace, lease.id, encodeLease(kept), `lease ${quoted(lease.id)}`);
  }
  updateLease = (namespace: string, id: string, change: (current: LeaseRecord) => LeaseRecord): Promise<LeaseRecord> =>
    this.#update("lease", namespace, id, decodeLease, encodeLease, change, `lease ${quoted(id)}`);
  deleteLease = (namespace: string, id: string): Promise<void> => this.#delete("lease", namespace, id, `lease ${quoted(id)}`);

  getNamespace(name: string): Labels | undefined {
    const stored = this.#db.get(namespaceKey(name));
    return stored === undefined ? undefined : decodeLabels(stored);
  }

  listNamespaces(): readonly { readonly name: string; readonly labels: Labels }[] {
    const range = this.#db.getRange({ start: namespacePrefix, end: endOf(namespacePrefix) });
    return [...range].map(({ key, value }) => ({ name: key.slice(namespacePrefix.length), labels: decodeLabels(value) }));
  }

  createNamespace(name: string, labels: Labels): Promise<void> {
    return this.#write(() => {
      if (this.#db.doesExist(namespaceKey(name))) throw alreadyExists(`namespace ${quoted(name)}`);
      void this.#db.put(namespaceKey(name), encodeLabels(withoutEmpty(labels)));
    });
  }

  updateNamespace(name: string, change: (labels: Labels) => Labels): Promise<Labels> {
    return this.#write(() => {
      const next = withoutEmpty(change(this.getNamespace(name) ?? {}));
      void this.#db.put(namespaceKey(name), encodeLabels(next));
      return next;
    });
  }

  deleteNamespace(name: string): Promise<void> {
    return this.#write(() => {
      if (!this.#db.doesExist(namespaceKey(name))) throw notFound(`namespace ${quoted(name)}`);
      if (this.#keys("container", name).length > 0) {
        throw failedPrecondition(`namespace ${quoted(name)} must be empty, but it still has containers`);
      }
      for (const key of this.#keys("lease", name)) void this.#db.remove(key);
      void this.#db.remove(namespaceKey(name));
    });
  }

  async close(): Promise<void> {
    await this.#db.close();
  }

  #get<T>(kind: Kind, namespace: string, id: string, decode: (stored: Buffer) => T): T | undefined {
    const stored = this.#db.get(objectKey(kind, namespace, id));
    return stored === undefined ? undefined : decode(stored);
  }

  #list<T>(kind: Kind, namespace: string, decode: (stored: Buffer) => T): T[] {
    const prefix = kindPrefix(kind, namespace);
    return [...this.#db.getRange({ start: prefix, end: endOf(prefix) })].map(({ value }) => decode(value));
  }

  #keys(kind: Kind, namespace: string): string[] {
    const prefix = kindPrefix(kind, namespace);
    return [...this.#db.getKeys({ start: prefix, end: endOf(prefix) })];
  }

  async #create(kind: Kind, namespace: string, id: string, value: Buffer, subject: string): Promise<void> {
    const key = objectKey(kind, namespace, id);
    await this.#write(() => {
      if (this.#db.doesExist(key)) throw alreadyExists(subject);
      // Any object makes its namespace, without an event.
      if (!this.#db.doesExist(namespaceKey(namespace))) void this.#db.put(namespaceKey(namespace), encodeLabels({}));
      void this.#db.put(key, value);
    });
  }

  async #update<T>(
    kind: Kind,
    namespace: string,
    id: string,
    decode: (stored: Buffer) => T,
    encode: (record: T) => Buffer,
    change: (current: T) => T,
    subject: string,
  ): Promise<T> {
    const key = objectKey(kind, namespace, id);
    return this.#write(() => {
      const stored = this.#db.get(key);
      if (stored === undefined) throw notFound(subject);
      const next = change(decode(stored));
      void this.#db.put(key, encode(next));
      return next;
    });
  }

  async #delete(kind: Kind, namespace: string, id: string, subject: string): Promise<void> {
    const key = objectKey(kind, namespace, id);
    await this.#write(() => {
      if (!this.#db.doesExist(key)) throw notFound(subject);
      void this.#db.remove(key);
    });
  }

  /**
   * Runs a change in a write transaction and waits until it is on disk. A refusal travels as a value: a throw
   * inside lmdb's callback would take the whole batch, other callers' writes too, with it.
   */
  async #write<T>(change: () => T): Promise<T> {
    let refusal: unknown;
    let result: T | undefined;
    try {
      await this.#db.transaction(() => {
        try {
          result = change();
        } catch (thrown) {
          refusal = thrown;
        }
      });
      if (refusal === undefined) await this.#db.flushed;
    } catch (cause) {
      const error = translate(cause);
      this.#log.error({ err: error }, "metadata write failed");
      throw error;
    }
    if (refusal !== undefined) throw refusal;
    return result as T;
  }
}

/** lmdb's errors in the daemon's kinds. */
function translate(cause: unknown): DaemonError {
  if (cause instanceof DaemonError) return cause;
  const { message = String(cause), code } = cause as { message?: string; code?: unknown };
  if (/No space left|MDB_MAP_FULL|quota/i.test(message) || code === "ENOSPC") {
    return resourceExhausted(`metadata cannot be stored: ${message}`, { cause });
  }
  return internal(`metadata store: ${message}`, { cause });
}
