import { beforeEach, describe, expect, it } from "vitest";
import type { JournalMessage } from "../../../../src/actors/journal/messages.js";
import type { Reply } from "../../../../src/actors/kernel/types.js";
import type { MetadataMessage } from "../../../../src/actors/metadata/messages.js";
import { createMetadataBehavior } from "../../../../src/actors/metadata/metadata-actor.js";
import { DaemonError, failedPrecondition, invalidArgument } from "../../../../src/core/errors.js";
import { instantFromMs, instantToMs, zeroInstant } from "../../../../src/core/exit.js";
import { parseNamespace } from "../../../../src/core/ids.js";
import type { ContainerRecord, LeaseRecord, StorePort } from "../../../../src/ports/store-port.js";
import { eventCodec } from "../../../../src/wire/event-codec.js";
import { createFakeStore } from "../../../support/fake-store.js";
import { type LoneActor, settled, startLoneActor, watched } from "../../../support/lone-actor.js";

const namespace = parseNamespace("n");
const record = (id: string, changes: Partial<ContainerRecord> = {}): ContainerRecord => ({
  id,
  labels: {},
  image: "i",
  runtime: { name: "r", options: undefined },
  spec: { typeUrl: "s", value: new Uint8Array() },
  snapshotter: "",
  snapshotKey: "",
  createdAt: zeroInstant,
  updatedAt: zeroInstant,
  extensions: {},
  sandbox: "",
  ...changes,
});

let store: StorePort;
let actor: LoneActor<MetadataMessage>;
let events: string[];
/** Holds writes back until the test lets them go. */
let disk: Promise<void>;
let flush: () => void;

beforeEach(() => {
  events = [];
  disk = Promise.resolve();
  const fake = createFakeStore();
  const slow =
    <A extends unknown[], R>(write: (...args: A) => Promise<R>) =>
    async (...args: A): Promise<R> => {
      await disk;
      return write(...args);
    };
  store = {
    ...fake,
    createContainer: slow(fake.createContainer),
    updateContainer: slow(fake.updateContainer),
    deleteContainer: slow(fake.deleteContainer),
    createNamespace: slow(fake.createNamespace),
    deleteNamespace: slow(fake.deleteNamespace),
    createLease: slow(fake.createLease),
  };
  const journal = {
    path: "journal",
    tell: (message: JournalMessage) => {
      if (message.kind === "publish") events.push(`${message.envelope.namespace} ${message.envelope.topic}`);
    },
    ask: () => Promise.reject(new Error("nobody asks the journal")),
  };
  actor = startLoneActor(
    createMetadataBehavior({ store, codec: eventCodec, journal: () => journal }) as never,
  );
});

const holdDisk = (): void => {
  disk = new Promise((resolve) => {
    flush = resolve;
  });
};
const send = <T>(build: (reply: Reply<T>) => MetadataMessage): Promise<T> =>
  settled(actor.clock, actor.ask(build));
const create = (id: string) =>
  send<ContainerRecord>((reply) => ({ kind: "create-container", namespace, record: record(id), reply }));

describe("the metadata actor", () => {
  it("answers a change only when it is on disk, and tells of it only then", async () => {
    holdDisk();
    const asked = watched(create("c"));
    await actor.clock.runUntilIdle();
    expect(asked.done).toBe(false);
    expect(events).toEqual([]);
    flush();
    await actor.clock.runUntilIdle();
    expect(asked.value).toMatchObject({ id: "c" });
    expect(events).toEqual(["n /containers/create"]);
  });

  it("answers reads while a write waits for the disk", async () => {
    await create("old");
    holdDisk();
    const writing = watched(create("new"));
    await actor.clock.runUntilIdle();
    const listed = await send<readonly ContainerRecord[]>((reply) => ({
      kind: "list-containers",
      namespace,
      reply,
    }));
    expect(listed.map(({ id }) => id)).toEqual(["old"]);
    expect(writing.done).toBe(false);
    flush();
  });

  it("sets the times itself", async () => {
    const made = await create("c");
    expect(instantToMs(made.createdAt)).toBe(actor.clock.now());
    expect(made.updatedAt).toEqual(made.createdAt);
    await actor.clock.advance(5000);
    const updated = await send<ContainerRecord>((reply) => ({
      kind: "update-container",
      namespace,
      id: "c",
      change: (current) => ({ ...current, image: "other" }),
      reply,
    }));
    expect(updated).toMatchObject({ image: "other", createdAt: made.createdAt });
    expect(updated.updatedAt).toEqual(instantFromMs(actor.clock.now()));
  });

  it("publishes nothing for what was refused", async () => {
    await create("c");
    events = [];
    await expect(create("c")).rejects.toMatchObject({ kind: "already-exists" });
    await expect(
      send((reply: Reply<ContainerRecord>) => ({
        kind: "update-container",
        namespace,
        id: "c",
        change: () => {
          throw failedPrecondition("no");
        },
        reply,
      })),
    ).rejects.toMatchObject({ kind: "failed-precondition", message: "no" });
    await expect(
      send<void>((reply) => ({ kind: "delete-container", namespace, id: "other", reply })),
    ).rejects.toMatchObject({ kind: "not-found" });
    await expect(
      send<void>((reply) => ({ kind: "delete-namespace", name: "other", reply })),
    ).rejects.toMatchObject({ kind: "not-found" });
    expect(events).toEqual([]);
  });

  it("tells of namespaces by their own name, and of leases not at all", async () => {
    await send<void>((reply) => ({ kind: "create-namespace", name: "m", labels: {}, reply }));
    await send((reply: Reply<Readonly<Record<string, string>>>) => ({
      kind: "update-namespace",
      name: "m",
      requested: { a: "b" },
      change: () => ({ a: "b" }),
      reply,
    }));
    const lease = { id: "l", createdAt: zeroInstant, labels: {}, resources: [] };
    const made = await send<LeaseRecord>((reply) => ({ kind: "create-lease", namespace, lease, reply }));
    expect(instantToMs(made.createdAt)).toBe(actor.clock.now());
    await send<void>((reply) => ({ kind: "delete-namespace", name: "m", reply }));
    expect(events).toEqual(["m /namespaces/create", "m /namespaces/update", "m /namespaces/delete"]);
  });

  it("answers not-found in containerd's words", async () => {
    await expect(
      send<ContainerRecord>((reply) => ({ kind: "get-container", namespace, id: "x", reply })),
    ).rejects.toMatchObject({ kind: "not-found", message: 'container "x" in namespace "n"' });
    await expect(
      send<LeaseRecord>((reply) => ({ kind: "get-lease", namespace, id: "x", reply })),
    ).rejects.toMatchObject({ kind: "not-found", message: 'lease "x"' });
    expect(
      await send<Readonly<Record<string, string>>>((reply) => ({ kind: "get-namespace", name: "x", reply })),
    ).toEqual({});
  });

  it("passes on what the store refuses to read, and lives", async () => {
    store.getContainer = () => {
      throw invalidArgument("container id of 2000 bytes is too long");
    };
    store.listContainers = () => {
      throw new DaemonError("data-loss", "metadata of format 9");
    };
    await expect(
      send<ContainerRecord>((reply) => ({ kind: "get-container", namespace, id: "x", reply })),
    ).rejects.toMatchObject({ kind: "invalid-argument" });
    await expect(
      send<readonly ContainerRecord[]>((reply) => ({ kind: "list-containers", namespace, reply })),
    ).rejects.toMatchObject({ kind: "data-loss" });
    expect(actor.restarts()).toBe(0);
  });
});
