/** The daemon's whole tree of real actors over fake ports and a virtual clock. */
import type { ContainerRequest } from "../../src/actors/container/messages.js";
import type { ReplyOf, WithoutReply } from "../../src/actors/containers/directory.js";
import { createActorSystem } from "../../src/actors/kernel/system.js";
import { alreadyExists } from "../../src/core/errors.js";
import { zeroInstant } from "../../src/core/exit.js";
import { type ContainerId, type Namespace, type TaskKey, taskKeyString } from "../../src/core/ids.js";
import { silentLogger } from "../../src/core/logger.js";
import { startTree, type TreeSettings } from "../../src/daemon/tree.js";
import type { TaskEvent } from "../../src/ports/event-codec-port.js";
import type { ContainerRecord } from "../../src/ports/store-port.js";
import { eventCodec } from "../../src/wire/event-codec.js";
import { FakeShims } from "./fake-shim.js";
import { createFakeStore } from "./fake-store.js";
import { SeededScheduler } from "./seeded-scheduler.js";
import { VirtualClock } from "./virtual-clock.js";

export const namespace = "n" as Namespace;
export const keyOf = (id: string): TaskKey => ({ namespace, id: id as ContainerId });
export const nullIo = { stdin: "", stdout: "", stderr: "", terminal: false };
export const emptySpec = { typeUrl: "spec", value: Buffer.from("{}") };

const settings: TreeSettings = {
  shimCapacity: 2,
  shimGrouping: "packed",
  shimIdleMs: 10_000,
  shimOpenTimeoutMs: 5000,
  shimShutdownTimeoutMs: 3000,
  runtimeSlots: 2,
  journalEntries: 1000,
  timeouts: {
    createMs: 60_000,
    startMs: 30_000,
    deleteMs: 30_000,
    killMs: 10_000,
    callMs: 10_000,
    eventOrderMs: 2000,
  },
};

export function createFakeWorld(
  options: {
    readonly seed?: number;
    readonly settings?: Partial<TreeSettings>;
    readonly shims?: FakeShims;
  } = {},
) {
  const scheduler = new SeededScheduler(options.seed);
  const clock = new VirtualClock({ scheduler });
  const system = createActorSystem({ clock, scheduler, log: silentLogger });
  const shims = options.shims ?? new FakeShims();
  const store = createFakeStore();
  const bundles = new Set<string>();
  const failures: unknown[] = [];
  const tree = startTree(
    system,
    {
      clock,
      store,
      codec: eventCodec,
      launcher: shims.launcher,
      bundles: {
        path: (key) => `/b/${key.id}`,
        async create(key) {
          if (bundles.has(taskKeyString(key))) throw alreadyExists(`bundle /b/${key.id}`);
          bundles.add(taskKeyString(key));
          return `/b/${key.id}`;
        },
        async remove(key) {
          bundles.delete(taskKeyString(key));
        },
        list: () => [],
      },
    },
    { ...settings, ...options.settings },
  );
  shims.deliver = (key, envelope) => {
    tree.directory
      .shimEvent(key, { kind: "shim-event", envelope }, { timeoutMs: 30_000 })
      .catch((error) => failures.push(error));
  };
  const events: string[] = [];
  const describe = (event: TaskEvent): string => {
    if (event.topic === "/tasks/exit")
      return `exit ${event.containerId} ${event.processId} ${event.exit.exitStatus}`;
    const exec = "execId" in event ? ` ${event.execId}` : "";
    return `${event.topic.slice("/tasks/".length)} ${event.containerId}${exec}`;
  };
  tree.journal.tell({
    kind: "subscribe",
    matches: () => true,
    sink: {
      push(entry) {
        const event = eventCodec.decodeTask(entry.envelope);
        events.push(event === undefined ? entry.envelope.topic : describe(event));
        return true;
      },
      end: () => undefined,
    },
    reply: { settled: false, resolve: () => undefined, reject: () => undefined },
  });

  const record = (id: string): ContainerRecord => ({
    id,
    labels: {},
    image: "",
    runtime: { name: "io.containerd.runc.v2", options: undefined },
    spec: emptySpec,
    snapshotter: "",
    snapshotKey: "",
    createdAt: zeroInstant,
    updatedAt: zeroInstant,
    extensions: {},
    sandbox: "",
  });

  type Kind = ContainerRequest["kind"];
  const ask = <K extends Kind>(
    id: string,
    request: WithoutReply<Extract<ContainerRequest, { kind: K }>> & { readonly kind: K },
    signal?: AbortSignal,
  ): Promise<ReplyOf<Extract<ContainerRequest, { kind: K }>>> =>
    tree.directory.ask(keyOf(id), request as never, { timeoutMs: "none", signal });

  return {
    system,
    clock,
    scheduler,
    shims,
    store,
    bundles,
    tree,
    events,
    failures,
    ask,
    /** Awaits a promise while the world runs; time moves only when it has to. */
    async run<T>(promise: Promise<T>, limitMs = 120_000): Promise<T> {
      let settled = false;
      const marked = promise.finally(() => {
        settled = true;
      });
      marked.catch(() => undefined);
      for (let at = 0; ; at += 100) {
        await clock.runUntilIdle();
        if (settled) return marked;
        if (at >= limitMs) throw new Error(`nothing settled within ${limitMs} virtual ms`);
        await clock.advance(100);
      }
    },
    addContainer: (id: string, changes: Partial<ContainerRecord> = {}) =>
      store.createContainer(namespace, { ...record(id), ...changes }),
    create: (id: string, signal?: AbortSignal) =>
      ask(
        id,
        {
          kind: "create",
          rootfs: [],
          stdio: nullIo,
          options: undefined,
          runtimePath: "",
          checkpoint: undefined,
        },
        signal,
      ),
    start: (id: string, execId = "") => ask(id, { kind: "start", execId }),
    exec: (id: string, execId: string) =>
      ask(id, { kind: "exec", execId: execId as never, stdio: nullIo, spec: emptySpec }),
    get: (id: string, execId = "") => ask(id, { kind: "get", execId }),
    wait: (id: string, execId = "", signal?: AbortSignal) => ask(id, { kind: "wait", execId }, signal),
    kill: (id: string, execId = "") => ask(id, { kind: "kill", execId, signalNumber: 9, all: false }),
    delete: (id: string, execId?: string) => ask(id, { kind: "delete", execId }),
    shimOf: (id: string) => {
      const shim = [...shims.running.values()].find(({ tasks }) => tasks.has(id));
      if (shim === undefined) throw new Error(`no shim has ${id}`);
      return shim;
    },
  };
}

export type FakeWorld = ReturnType<typeof createFakeWorld>;
