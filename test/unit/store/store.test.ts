import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { failedPrecondition } from "../../../src/core/errors.js";
import { parseNamespace } from "../../../src/core/ids.js";
import { silentLogger } from "../../../src/core/logger.js";
import type { ContainerRecord, LeaseRecord, StorePort } from "../../../src/ports/store-port.js";
import { openStore } from "../../../src/store/store.js";

let directory: string;
let store: StorePort;
const moby = parseNamespace("moby");
const other = parseNamespace("moby-2");

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "store-"));
  store = await openStore({ directory, log: silentLogger });
});
afterEach(async () => {
  await store.close();
  rmSync(directory, { recursive: true });
});
const reopen = async (): Promise<void> => {
  await store.close();
  store = await openStore({ directory, log: silentLogger });
};

const container = (id: string, change: Partial<ContainerRecord> = {}): ContainerRecord => ({
  id,
  labels: { a: "b" },
  image: "img",
  runtime: { name: "io.containerd.runc.v2", options: { typeUrl: "opt", value: Buffer.from([1, 0, 255]) } },
  spec: { typeUrl: "types.containerd.io/spec", value: Buffer.from('{"a": 1 }') },
  snapshotter: "s",
  snapshotKey: "k",
  createdAt: { seconds: 1n, nanos: 2 },
  updatedAt: { seconds: 3n, nanos: 4 },
  extensions: { x: { typeUrl: "any/thing", value: Buffer.from([9]) } },
  sandbox: "sb",
  ...change,
});
const lease = (id: string): LeaseRecord => ({
  id,
  createdAt: { seconds: 5n, nanos: 6 },
  labels: { keep: "1", drop: "" },
  resources: [{ id: "sha256:x", type: "content" }],
});
const ids = (records: readonly { readonly id: string }[]): string[] => records.map(({ id }) => id);
const refusal = (kind: string, message: string) => ({ kind, message, bare: false });

describe("containers", () => {
  it("come back as they were stored, byte for byte, also after a restart", async () => {
    await store.createContainer(moby, container("c1"));
    expect(store.getContainer(moby, "c1")).toEqual(container("c1"));
    await reopen();
    expect(store.getContainer(moby, "c1")).toEqual(container("c1"));
    expect(store.hasContainer(moby, "c1")).toBe(true);
    expect(store.hasContainer(other, "c1")).toBe(false);
    expect(store.getContainer(other, "c1")).toBeUndefined();
    const bare = container("c2", { extensions: {}, labels: {}, runtime: { name: "r", options: undefined } });
    await store.createContainer(moby, bare);
    expect(store.getContainer(moby, "c2")).toEqual(bare);
  });

  it("are listed in byte order and apart by namespace", async () => {
    await Promise.all(
      ["b", "a.1", "a", "B", "a-1", "10", "9"].map((id) => store.createContainer(moby, container(id))),
    );
    await store.createContainer(other, container("z"));
    expect(ids(store.listContainers(moby))).toEqual(["10", "9", "B", "a", "a-1", "a.1", "b"]);
    expect(ids(store.listContainers(other))).toEqual(["z"]);
  });

  it("are refused in containerd's words", async () => {
    await store.createContainer(moby, container("c1"));
    await expect(store.createContainer(moby, container("c1"))).rejects.toMatchObject(
      refusal("already-exists", 'container "c1"'),
    );
    await expect(store.updateContainer(moby, "x", (current) => current)).rejects.toMatchObject(
      refusal("not-found", 'container "x"'),
    );
    await expect(store.deleteContainer(moby, "x")).rejects.toMatchObject(refusal("not-found", "container x"));
  });

  it("are missing in other words where no container ever was", async () => {
    const expectBoth = async (updateText: string, deleteText: string): Promise<void> => {
      const update = store.updateContainer(moby, "x", (current) => current);
      await expect(update).rejects.toMatchObject(refusal("not-found", updateText));
      await expect(store.deleteContainer(moby, "x")).rejects.toMatchObject(refusal("not-found", deleteText));
    };
    const where = 'container "x" in namespace "moby"';
    await expectBoth(`cannot update ${where}`, `cannot delete ${where}`);
    await store.createLease(moby, lease("l1"));
    await expectBoth(`cannot update ${where}`, `cannot delete ${where}`);
    await store.createContainer(moby, container("c1"));
    await store.deleteContainer(moby, "c1");
    await expectBoth('container "x"', "container x");
    await store.deleteNamespace("moby");
    await expectBoth(`cannot update ${where}`, `cannot delete ${where}`);
  });

  it("lose labels with an empty value when created and when updated", async () => {
    await store.createContainer(moby, container("c1", { labels: { keep: "1", drop: "" } }));
    expect(store.getContainer(moby, "c1")?.labels).toEqual({ keep: "1" });
    const updated = await store.updateContainer(moby, "c1", (current) => ({
      ...current,
      labels: { keep: "" },
    }));
    expect(updated.labels).toEqual({});
  });

  it("can be created by one of two at once, and every concurrent change builds on the one before", async () => {
    const created = await Promise.allSettled(
      [1, 2, 3].map(() => store.createContainer(moby, container("c1"))),
    );
    expect(created.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "rejected"]);
    const increments = Array.from({ length: 50 }, () =>
      store.updateContainer(moby, "c1", (current) => ({
        ...current,
        image: String(Number(current.image) + 1 || 1),
      })),
    );
    await Promise.all(increments);
    expect(store.getContainer(moby, "c1")?.image).toBe("50");
  });

  it("keep their record when a change refuses or breaks, and neighbours in the same commit are stored", async () => {
    await store.createContainer(moby, container("c1"));
    const outcomes = await Promise.allSettled([
      store.createContainer(moby, container("before")),
      store.updateContainer(moby, "c1", () => {
        throw failedPrecondition("no");
      }),
      store.updateContainer(moby, "c1", () => {
        throw new Error("bug");
      }),
      store.createContainer(moby, container("after")),
    ]);
    expect(outcomes).toMatchObject([
      { status: "fulfilled" },
      { reason: { kind: "failed-precondition" } },
      { reason: { kind: "unknown", message: "bug" } },
      { status: "fulfilled" },
    ]);
    expect(ids(store.listContainers(moby))).toEqual(["after", "before", "c1"]);
    expect(store.getContainer(moby, "c1")).toEqual(container("c1"));
  });
});

describe("namespaces", () => {
  it("are made by their first object and stay when it goes", async () => {
    await store.createContainer(moby, container("c1"));
    await store.createLease(other, lease("l"));
    expect(store.listNamespaces()).toEqual([
      { name: "moby", labels: {} },
      { name: "moby-2", labels: {} },
    ]);
    await store.deleteContainer(moby, "c1");
    expect(store.getNamespace("moby")).toEqual({});
  });

  it("are created, updated and refused in containerd's words", async () => {
    await store.createNamespace("n1", { a: "1", drop: "" });
    expect(store.getNamespace("n1")).toEqual({ a: "1" });
    await expect(store.createNamespace("n1", {})).rejects.toMatchObject(
      refusal("already-exists", 'namespace "n1"'),
    );
    expect(await store.updateNamespace("new", () => ({ x: "y", z: "" }))).toEqual({ x: "y" });
    await expect(store.deleteNamespace("nope")).rejects.toMatchObject(
      refusal("not-found", 'namespace "nope"'),
    );
    expect(store.getNamespace("nope")).toBeUndefined();
  });

  it("are held by containers but not by leases, which go with them", async () => {
    await store.createContainer(moby, container("c1"));
    await store.createLease(moby, lease("l1"));
    await store.createLease(other, lease("l1"));
    await expect(store.deleteNamespace("moby")).rejects.toMatchObject(
      refusal("failed-precondition", 'namespace "moby" must be empty, but it still has containers'),
    );
    await store.deleteContainer(moby, "c1");
    await store.deleteNamespace("moby");
    expect(store.getNamespace("moby")).toBeUndefined();
    expect(store.getLease(moby, "l1")).toBeUndefined();
    expect(store.getLease(other, "l1")).toBeDefined();
  });

  it("see what came earlier in the same commit", async () => {
    const outcomes = await Promise.allSettled([
      store.createContainer(moby, container("c1")),
      store.deleteNamespace("moby"),
      store.deleteContainer(moby, "c1"),
      store.createLease(moby, lease("l1")),
      store.deleteNamespace("moby"),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual([
      "fulfilled",
      "rejected",
      "fulfilled",
      "fulfilled",
      "fulfilled",
    ]);
    expect(store.listNamespaces()).toEqual([]);
    expect(store.listLeases(moby)).toEqual([]);
  });
});

describe("leases", () => {
  it("with any id are kept, changed and removed", async () => {
    const odd = "a/b c é";
    await store.createLease(moby, lease(odd));
    await reopen();
    const stored = { ...lease(odd), labels: { keep: "1" } };
    expect(store.getLease(moby, odd)).toEqual(stored);
    expect(store.listLeases(moby)).toEqual([stored]);
    const emptied = await store.updateLease(moby, odd, (current) => ({ ...current, resources: [] }));
    expect(emptied.resources).toEqual([]);
    await expect(store.createLease(moby, lease(odd))).rejects.toMatchObject(
      refusal("already-exists", `lease "${odd}"`),
    );
    await store.deleteLease(moby, odd);
    await expect(store.deleteLease(moby, "l1")).rejects.toMatchObject(refusal("not-found", 'lease "l1"'));
    await expect(store.updateLease(moby, "l1", (current) => current)).rejects.toMatchObject(
      refusal("not-found", 'lease "l1"'),
    );
    await expect(store.createLease(moby, lease("x".repeat(2000)))).rejects.toMatchObject({
      kind: "invalid-argument",
    });
  });
});

describe("the store", () => {
  it("keeps its uuid", async () => {
    const { uuid } = store;
    expect(uuid).toMatch(/^[0-9a-f]{8}-[0-9a-f-]{27}$/);
    await reopen();
    expect(store.uuid).toBe(uuid);
  });

  it("finishes accepted writes when it closes and refuses later ones", async () => {
    const write = store.createContainer(moby, container("c1"));
    const closed = store.close();
    await expect(store.createContainer(moby, container("c2"))).rejects.toMatchObject({ kind: "unavailable" });
    await write;
    await closed;
    await store.close();
    await reopen();
    expect(ids(store.listContainers(moby))).toEqual(["c1"]);
  });

  it.each([
    ["of something else", Buffer.alloc(16_384, 7)],
    ["of zeros", Buffer.alloc(16_384)],
    ["too short to be one", Buffer.from("x")],
  ])("refuses a file %s instead of letting lmdb crash on it", async (_, content) => {
    const broken = join(directory, "broken");
    await mkdir(broken);
    writeFileSync(join(broken, "metadata.lmdb"), content);
    await expect(openStore({ directory: broken, log: silentLogger })).rejects.toMatchObject({
      kind: "data-loss",
      message: expect.stringContaining("metadata.lmdb is damaged or no metadata database"),
    });
  });

  it("makes a database of an empty file, as a crash at the very first start leaves it", async () => {
    const fresh = join(directory, "fresh");
    await mkdir(fresh);
    writeFileSync(join(fresh, "metadata.lmdb"), "");
    const opened = await openStore({ directory: fresh, log: silentLogger });
    await opened.createNamespace("n", {});
    await opened.close();
  });

  it("has on disk what it acknowledged, whatever kills the process", async () => {
    const script = `
      import { openStore } from ${JSON.stringify(join(process.cwd(), "src/store/store.ts"))};
      import { silentLogger } from ${JSON.stringify(join(process.cwd(), "src/core/logger.ts"))};
      const store = await openStore({ directory: process.argv[2], log: silentLogger });
      for (let i = 0; ; i++) { await store.createNamespace("n" + i, {}); process.stdout.write(i + "\\n"); }
    `;
    const file = join(directory, "writer.mts");
    writeFileSync(file, script);
    const target = join(directory, "killed");
    await mkdir(target);
    const child = spawn(process.execPath, ["--import", import.meta.resolve("tsx"), file, target], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let output = "";
    await new Promise<void>((resolve) =>
      child.stdout.on("data", (chunk: Buffer) => {
        output += chunk;
        if (output.split("\n").length > 20) resolve();
      }),
    );
    child.kill("SIGKILL");
    await once(child, "close");
    const acknowledged = output.split("\n").slice(0, -1);
    const after = await openStore({ directory: target, log: silentLogger });
    const names = new Set(after.listNamespaces().map(({ name }) => name));
    await after.close();
    expect(acknowledged.filter((number) => !names.has(`n${number}`))).toEqual([]);
  });
});

describe.runIf(process.getuid?.() === 0 && existsSync("/bin/mount"))("a full disk", () => {
  let full: string;
  beforeEach(() => {
    full = mkdtempSync(join(tmpdir(), "store-full-"));
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=4m", "tmpfs", full]);
  });
  afterEach(() => {
    execFileSync("umount", ["-l", full]);
    rmSync(full, { recursive: true });
  });
  const large = (id: string) => container(id, { spec: { typeUrl: "x", value: Buffer.alloc(50_000, 1) } });
  /** Creates until the store refuses; how many it took. */
  async function fill(into: StorePort): Promise<number> {
    for (let stored = 0; stored < 200; stored++) {
      const error: unknown = await into.createContainer(moby, large(`c${stored}`)).then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      if (error === undefined) continue;
      expect(error).toMatchObject({
        kind: "resource-exhausted",
        message: expect.stringContaining("no space left"),
      });
      return stored;
    }
    throw new Error("the disk never filled up");
  }

  it("refuses what does not fit, keeps the rest, and works again once something was removed", async () => {
    const small = await openStore({ directory: full, log: silentLogger });
    try {
      const stored = await fill(small);
      expect(stored).toBeGreaterThan(20);
      expect(small.listContainers(moby)).toHaveLength(stored);
      // What cannot be stored takes nobody in its commit down with it.
      const removals = Array.from({ length: 10 }, (_, index) => small.deleteContainer(moby, `c${index}`));
      const huge = container("again", { spec: { typeUrl: "x", value: Buffer.alloc(4 << 20) } });
      const [again, ...removed] = await Promise.allSettled([small.createContainer(moby, huge), ...removals]);
      expect(again).toMatchObject({ status: "rejected", reason: { kind: "resource-exhausted" } });
      expect(removed.every(({ status }) => status === "fulfilled")).toBe(true);
      await small.updateNamespace("moby", () => ({ x: "y" }));
      await small.createContainer(moby, large("fits-now"));
      expect(small.getContainer(moby, "fits-now")?.spec.value).toHaveLength(50_000);
      expect(small.getContainer(moby, "again")).toBeUndefined();
    } finally {
      await small.close();
    }
  });

  it("filled by somebody else stops changes, not reads, removals or the next start", async () => {
    let small = await openStore({ directory: full, log: silentLogger });
    await small.createContainer(moby, large("c1"));
    await small.createContainer(moby, large("c2"));
    await small.close();
    const file = openSync(join(full, "other"), "w");
    try {
      for (;;) writeSync(file, Buffer.alloc(4096));
    } catch (error) {
      expect(error).toMatchObject({ code: "ENOSPC" });
    } finally {
      closeSync(file);
    }
    small = await openStore({ directory: full, log: silentLogger });
    try {
      expect(ids(small.listContainers(moby))).toEqual(["c1", "c2"]);
      const more = Array.from({ length: 40 }, (_, index) => small.createContainer(moby, large(`n${index}`)));
      const outcomes = await Promise.allSettled(more);
      expect(outcomes.at(-1)).toMatchObject({ status: "rejected", reason: { kind: "resource-exhausted" } });
      await small.deleteContainer(moby, "c1");
      expect(small.hasContainer(moby, "c1")).toBe(false);
    } finally {
      await small.close();
    }
  });

  it("makes a first start fail with a clear error", async () => {
    const file = openSync(join(full, "other"), "w");
    try {
      for (;;) writeSync(file, Buffer.alloc(4096));
    } catch {
      closeSync(file);
    }
    await expect(openStore({ directory: full, log: silentLogger })).rejects.toMatchObject({
      kind: "resource-exhausted",
    });
  });
});
