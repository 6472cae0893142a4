/** What the API is handed in these tests: actors that answer from memory, and a directory that records its asks. */
import type { ContainerRequest } from "../../../src/actors/container/messages.js";
import type { ContainerDirectory } from "../../../src/actors/containers/directory.js";
import type { JournalMessage } from "../../../src/actors/journal/messages.js";
import type { ActorRef, AskOptions, Reply } from "../../../src/actors/kernel/types.js";
import type { MetadataMessage } from "../../../src/actors/metadata/messages.js";
import { alreadyExists, DaemonError, notFound, toDaemonError } from "../../../src/core/errors.js";
import { instantFromMs, zeroInstant } from "../../../src/core/exit.js";
import type { Namespace, TaskKey } from "../../../src/core/ids.js";
import type { Envelope, EventSink, JournalEntry } from "../../../src/ports/event-sink.js";
import type { ProcessState } from "../../../src/ports/shim-port.js";
import type { ContainerRecord, LeaseRecord } from "../../../src/ports/store-port.js";

/** An actor that handles a message at once; an ask honours its signal, but not its deadline. */
export function fakeActor<M>(
  path: string,
  handle: (message: M) => unknown,
): ActorRef<M> & { readonly asks: AskOptions[] } {
  const asks: AskOptions[] = [];
  return {
    path,
    asks,
    tell: (message) => void handle(message),
    ask<T>(build: (reply: Reply<T>) => M, options: AskOptions): Promise<T> {
      asks.push(options);
      return new Promise<T>((resolve, reject) => {
        options.signal?.addEventListener("abort", () => reject(options.signal?.reason), { once: true });
        const reply: Reply<T> = { settled: false, resolve, reject };
        try {
          handle(build(reply));
        } catch (error) {
          reject(toDaemonError(error));
        }
      });
    },
  };
}

type Labels = Readonly<Record<string, string>>;

export function fakeMetadata() {
  const containers = new Map<string, ContainerRecord>();
  const leases = new Map<string, LeaseRecord>();
  const namespaces = new Map<string, Labels>();
  const under = <V>(map: Map<string, V>, namespace: string): V[] =>
    [...map].filter(([key]) => key.startsWith(`${namespace}/`)).map(([, value]) => value);
  const existing = <V>(map: Map<string, V>, key: string, what: string): V => {
    const found = map.get(key);
    if (found === undefined) throw notFound(what);
    return found;
  };
  let clock = 1_000;
  const now = () => {
    clock += 1_000;
    return instantFromMs(clock);
  };

  /** What a case returns means nothing. */
  function handle(message: MetadataMessage): unknown {
    switch (message.kind) {
      case "get-container":
        return message.reply.resolve(
          existing(
            containers,
            `${message.namespace}/${message.id}`,
            `container ${JSON.stringify(message.id)} in namespace ${JSON.stringify(message.namespace)}`,
          ),
        );
      case "list-containers":
        return message.reply.resolve(under(containers, message.namespace));
      case "create-container": {
        const key = `${message.namespace}/${message.record.id}`;
        if (containers.has(key)) throw alreadyExists(`container ${JSON.stringify(message.record.id)}`);
        const at = now();
        const record = { ...message.record, createdAt: at, updatedAt: at };
        containers.set(key, record);
        return message.reply.resolve(record);
      }
      case "update-container": {
        const key = `${message.namespace}/${message.id}`;
        const current = existing(containers, key, `container ${JSON.stringify(message.id)}`);
        const record = { ...message.change(current), updatedAt: now() };
        containers.set(key, record);
        return message.reply.resolve(record);
      }
      case "delete-container":
        existing(containers, `${message.namespace}/${message.id}`, `container ${message.id}`);
        containers.delete(`${message.namespace}/${message.id}`);
        return message.reply.resolve();
      case "get-namespace":
        return message.reply.resolve(namespaces.get(message.name) ?? {});
      case "list-namespaces":
        return message.reply.resolve([...namespaces].map(([name, labels]) => ({ name, labels })));
      case "create-namespace":
        if (namespaces.has(message.name)) throw alreadyExists(`namespace ${JSON.stringify(message.name)}`);
        namespaces.set(message.name, message.labels);
        return message.reply.resolve();
      case "update-namespace": {
        const labels = message.change(namespaces.get(message.name) ?? {});
        namespaces.set(message.name, labels);
        return message.reply.resolve(labels);
      }
      case "delete-namespace":
        existing(namespaces, message.name, `namespace ${JSON.stringify(message.name)}`);
        namespaces.delete(message.name);
        return message.reply.resolve();
      case "get-lease":
        return message.reply.resolve(
          existing(leases, `${message.namespace}/${message.id}`, `lease ${JSON.stringify(message.id)}`),
        );
      case "list-leases":
        return message.reply.resolve(under(leases, message.namespace));
      case "create-lease": {
        const key = `${message.namespace}/${message.lease.id}`;
        if (leases.has(key)) throw alreadyExists(`lease ${JSON.stringify(message.lease.id)}`);
        const lease = { ...message.lease, createdAt: now() };
        leases.set(key, lease);
        return message.reply.resolve(lease);
      }
      case "update-lease": {
        const key = `${message.namespace}/${message.id}`;
        const lease = message.change(existing(leases, key, `lease ${JSON.stringify(message.id)}`));
        leases.set(key, lease);
        return message.reply.resolve(lease);
      }
      case "delete-lease":
        existing(leases, `${message.namespace}/${message.id}`, `lease ${JSON.stringify(message.id)}`);
        leases.delete(`${message.namespace}/${message.id}`);
        return message.reply.resolve();
      case "uuid":
        return message.reply.resolve("0c2b7a4e-0000-4000-8000-000000000000");
    }
  }
  return { actor: fakeActor<MetadataMessage>("metadata", handle), containers, leases, namespaces };
}

/** Numbers and fans out like the journal; keeps what was published. */
export function fakeJournal() {
  const sinks = new Map<
    number,
    { readonly sink: EventSink; readonly matches: (envelope: Envelope) => boolean }
  >();
  const published: Envelope[] = [];
  const changes = new Set<() => void>();
  let sequence = 0n;
  let nextId = 1;
  const publish = (envelope: Envelope): bigint => {
    published.push(envelope);
    const entry: JournalEntry = { sequence: ++sequence, envelope };
    for (const [id, { sink, matches }] of sinks) {
      if (!matches(envelope) || sink.push(entry)) continue;
      sinks.delete(id);
      sink.end("lagging");
    }
    return sequence;
  };
  const handle = (message: JournalMessage): void => {
    switch (message.kind) {
      case "publish":
        message.reply?.resolve(publish(message.envelope));
        break;
      case "subscribe":
        sinks.set(nextId, message);
        message.reply.resolve(nextId++);
        break;
      case "unsubscribe":
        sinks.delete(message.id);
        break;
      case "recent":
        message.reply.resolve([]);
    }
    for (const changed of [...changes]) changed();
  };
  return {
    actor: fakeActor<JournalMessage>("journal", handle),
    publish,
    published,
    sinks,
    /** Resolves when `count` subscriptions are open. */
    subscribers: (count: number): Promise<void> =>
      new Promise((resolve) => {
        const look = (): void => {
          if (sinks.size !== count) return;
          changes.delete(look);
          resolve();
        };
        changes.add(look);
        look();
      }),
  };
}

type AnyRequest = { readonly kind: ContainerRequest["kind"] } & Readonly<Record<string, unknown>>;

export interface RecordedAsk {
  readonly key: TaskKey;
  readonly request: AnyRequest;
  readonly options: AskOptions;
}

/** Answers by `answers[kind]`; a kind without an answer hangs until its signal aborts. */
export function fakeDirectory() {
  const asks: RecordedAsk[] = [];
  const shimEvents: { readonly key: TaskKey; readonly envelope: Envelope }[] = [];
  const answers: Partial<Record<ContainerRequest["kind"], (ask: RecordedAsk) => unknown>> = {};
  const watchers = new Set<() => void>();
  const directory = {
    tasks: [] as TaskKey[],
    asks,
    answers,
    shimEvents,
    onShimEvent: (_key: TaskKey, _envelope: Envelope): void | Promise<void> => undefined,
    /** Resolves with the first ask of that kind. */
    asked: (kind: ContainerRequest["kind"]): Promise<RecordedAsk> =>
      new Promise((resolve) => {
        const look = (): void => {
          const found = asks.find((ask) => ask.request.kind === kind);
          if (found === undefined) return;
          watchers.delete(look);
          resolve(found);
        };
        watchers.add(look);
        look();
      }),
    directory: undefined as unknown as ContainerDirectory,
  };
  directory.directory = {
    // biome-ignore lint/suspicious/noExplicitAny: one fake for the answers of every kind
    ask: (key: TaskKey, request: AnyRequest, options: AskOptions): Promise<any> => {
      const recorded = { key, request, options };
      asks.push(recorded);
      for (const look of [...watchers]) look();
      const answer = answers[request.kind];
      return new Promise((resolve, reject) => {
        const { signal } = options;
        if (signal?.aborted === true) return reject(signal.reason);
        signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
        if (answer === undefined) return;
        Promise.resolve()
          .then(() => answer(recorded))
          .then(resolve, reject);
      });
    },
    shimEvent: async (key, { envelope }) => {
      shimEvents.push({ key, envelope });
      await directory.onShimEvent(key, envelope);
    },
    tasks: (namespace) => directory.tasks.filter((key) => key.namespace === namespace),
  } as ContainerDirectory;
  return directory;
}

export const key = (namespace: string, id: string): TaskKey =>
  ({ namespace: namespace as Namespace, id }) as unknown as TaskKey;

export const processState = (over: Partial<ProcessState> = {}): ProcessState => ({
  id: "c1",
  bundle: "/run/berth/tasks/n1/c1",
  pid: 42,
  status: "running",
  stdio: { stdin: "", stdout: "/fifo/out", stderr: "", terminal: true },
  exitStatus: 0,
  exitedAt: zeroInstant,
  ...over,
});

export const rejecting =
  (kind: DaemonError["kind"], message: string, bare = false) =>
  (): never => {
    throw new DaemonError(kind, message, { bare });
  };
