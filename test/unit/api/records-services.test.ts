/** Namespaces, leases, introspection, version and health: the services around containers and tasks. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { IntrospectionService as I } from "../../../src/wire/gen/containerd/services/introspection/v1/introspection.js";
import { LeasesService as L } from "../../../src/wire/gen/containerd/services/leases/v1/leases.js";
import { NamespacesService as N } from "../../../src/wire/gen/containerd/services/namespaces/v1/namespaces.js";
import { VersionService } from "../../../src/wire/gen/containerd/services/version/v1/version.js";
import { HealthService } from "../../../src/wire/gen/grpc/health/v1/health.js";
import { type Harness, startApi } from "./harness.js";

const plugins = [
  {
    type: "io.containerd.runtime.v2",
    id: "task",
    requires: ["io.containerd.event.v1"],
    platforms: [{ os: "linux", architecture: "amd64" }],
    exports: { root: "/r" },
    capabilities: ["c"],
  },
  { type: "io.containerd.snapshotter.v1", id: "overlayfs", initError: "skip plugin" },
];
const oversized = { averylongkeyname: "x".repeat(4081) };
const tooLong = "label key and value greater than maximum size (4096 bytes), key: averylongk";

let api: Harness;
beforeEach(async () => {
  api = await startApi({ plugins });
});
afterEach(() => api[Symbol.asyncDispose]());

describe("the namespaces service", () => {
  const noHeader = { namespace: null };
  const create = (name: string, labels: Record<string, string> = {}) =>
    api.call(N.create, { namespace: { name, labels } }, noHeader);
  const update = (name: string, labels: Record<string, string>, updateMask?: string[]) =>
    api.call(N.update, { namespace: { name, labels }, updateMask }, noHeader);
  const stored = async (name: string) => (await api.call(N.get, { name }, noHeader)).namespace?.labels;

  test("get is never not-found", async () => {
    expect(await api.call(N.get, { name: "unknown" }, noHeader)).toEqual({
      namespace: { name: "unknown", labels: {} },
    });
    expect(await api.call(N.get, { name: "a b" }, noHeader)).toEqual({
      namespace: { name: "a b", labels: {} },
    });
  });

  test("create needs no header, answers what was sent and stores no empty labels", async () => {
    const { namespace } = await create("n9", { a: "1", b: "" });
    expect(namespace).toEqual({ name: "n9", labels: { a: "1", b: "" } });
    expect((await api.call(N.list, { filter: "" }, noHeader)).namespaces).toEqual([
      { name: "n9", labels: { a: "1" } },
    ]);
    expect(await api.failure(N.create, { namespace: { name: "n9", labels: {} } })).toBe(
      '6 namespace "n9": already exists',
    );
  });

  test("bad names and labels are refused", async () => {
    const refused = (name: string, labels: Record<string, string> = {}) =>
      api.failure(N.create, { namespace: { name, labels } });
    expect(await refused("")).toBe("3 identifier must not be empty: invalid argument");
    expect(await api.failure(N.create, { namespace: undefined })).toBe(
      "3 identifier must not be empty: invalid argument",
    );
    expect(await refused("a b")).toMatch(/^3 identifier "a b" must match .*: invalid argument$/);
    expect(await refused("n9", oversized)).toBe(`3 namespace.Labels: ${tooLong}: invalid argument`);
  });

  test("a mask changes single labels, no mask replaces them all", async () => {
    await create("n9", { a: "1", b: "2" });
    await update("n9", { c: "3", d: "4" }, ["labels.c"]);
    expect(await stored("n9")).toEqual({ a: "1", b: "2", c: "3" });
    await update("n9", { a: "" }, ["labels.a", "labels.b"]);
    expect(await stored("n9")).toEqual({ c: "3" });
    expect(await update("n9", { z: "1", y: "" })).toEqual({ namespace: { name: "n9", labels: { z: "1" } } });
    await update("new", { l: "1" }, ["labels.l"]);
    expect(await stored("new")).toEqual({ l: "1" });
  });

  test("any other path is refused and changes nothing", async () => {
    for (const path of ["labels", "name", ""]) {
      expect(
        await api.failure(N.update, {
          namespace: { name: "n9", labels: {} },
          updateMask: ["labels.a", path],
        }),
      ).toBe(`3 cannot update "${path}" field`);
    }
    expect(api.metadata.namespaces.size).toBe(0);
  });

  test("delete passes on what the store says", async () => {
    await create("n9");
    await api.call(N.delete, { name: "n9" }, noHeader);
    expect(await api.failure(N.delete, { name: "n9" }, noHeader)).toBe('5 namespace "n9": not found');
  });
});

describe("the leases service", () => {
  test("an empty id is generated, labels without a value are dropped", async () => {
    const { lease } = await api.call(L.create, { id: "", labels: { a: "1", b: "" } });
    expect(lease?.id).toMatch(/^123500000-[A-Za-z0-9_-]{4}$/);
    expect(lease?.labels).toEqual({ a: "1" });
    expect(lease?.createdAt?.seconds).toBe(2n);
  });

  test("ids are free text, per namespace, and unique", async () => {
    await api.call(L.create, { id: "a/b c", labels: {} });
    await api.call(L.create, { id: "a/b c", labels: {} }, { namespace: "n2" });
    expect(await api.failure(L.create, { id: "a/b c", labels: {} })).toBe('6 lease "a/b c": already exists');
    await api.call(L.delete, { id: "a/b c", sync: true });
    expect(await api.failure(L.delete, { id: "a/b c", sync: false })).toBe('5 lease "a/b c": not found');
    expect(await api.failure(L.list, { filters: [] }, { namespace: null })).toBe(
      "9 namespace is required: failed precondition",
    );
  });

  test("lists filter by id and label", async () => {
    await api.call(L.create, { id: "l1", labels: { a: "1" } });
    await api.call(L.create, { id: "l2", labels: {} });
    const ids = async (...filters: string[]) =>
      (await api.call(L.list, { filters })).leases.map(({ id }) => id);
    expect(await ids()).toEqual(["l1", "l2"]);
    expect(await ids("labels.a==1")).toEqual(["l1"]);
    expect(await ids("id==l2")).toEqual(["l2"]);
    expect(await api.failure(L.list, { filters: ["id===l1"] })).toMatch(
      /: invalid argument: invalid argument$/,
    );
  });

  test("resources are kept once, in order, and may be removed twice", async () => {
    await api.call(L.create, { id: "l1", labels: {} });
    const digest = `sha256:${"a".repeat(64)}`;
    const sent = [
      { id: "k", type: "snapshots/overlayfs" },
      { id: "any ref", type: "ingests" },
      { id: digest, type: "content" },
      { id: "k", type: "snapshots/overlayfs" },
      { id: "i", type: "images" },
    ];
    for (const resource of sent) await api.call(L.addResource, { id: "l1", resource });
    expect((await api.call(L.listResources, { id: "l1" })).resources).toEqual([
      sent[2],
      sent[4],
      sent[1],
      sent[0],
    ]);
    for (const resource of sent) await api.call(L.deleteResource, { id: "l1", resource });
    expect((await api.call(L.listResources, { id: "l1" })).resources).toEqual([]);
  });

  test.each([
    ["snapshots", "k", "3 invalid snapshot resource type snapshots: invalid argument"],
    ["snapshots/a/b", "k", "3 invalid snapshot resource type snapshots/a/b: invalid argument"],
    ["content", "zzz", "3 invalid content resource id zzz: invalid checksum digest format: invalid argument"],
    [
      "content",
      "sha256:aa",
      "3 invalid content resource id sha256:aa: invalid checksum digest length: invalid argument",
    ],
    [
      "content",
      "md9:aa",
      "3 invalid content resource id md9:aa: unsupported digest algorithm: invalid argument",
    ],
    ["content/x", "sha256:aa", "3 invalid resource type content/x: invalid argument"],
    ["bogus", "k", "12 resource type bogus not supported yet: not implemented"],
    ["", "k", "12 resource type  not supported yet: not implemented"],
    ["snapshots/", "k", "2 bucket name required"],
    ["ingests", "", "2 key required"],
  ])("a resource of type %j and id %j is refused, but an unknown lease first", async (type, id, text) => {
    const resource = { id, type };
    await api.call(L.create, { id: "l1", labels: {} });
    expect(await api.failure(L.addResource, { id: "l1", resource })).toBe(text);
    expect(await api.failure(L.addResource, { id: "no", resource })).toBe('5 lease "no": not found');
    expect(await api.failure(L.deleteResource, { id: "no", resource })).toBe('5 lease "no": not found');
  });

  test("an unknown lease in the header is no concern of calls that write no content", async () => {
    await api.call(L.create, { id: "l1", labels: {} }, { headers: { "containerd-lease": "none" } });
  });
});

describe("introspection, version and health", () => {
  test("plugins carry platform, capabilities and the reason of a failed one", async () => {
    const { plugins: found } = await api.call(I.plugins, { filters: [] }, { namespace: null });
    expect(found.map(({ id }) => id)).toEqual(["task", "overlayfs"]);
    expect(found[0]).toMatchObject({
      requires: ["io.containerd.event.v1"],
      platforms: [{ os: "linux", architecture: "amd64", variant: "" }],
      exports: { root: "/r" },
      capabilities: ["c"],
      initErr: undefined,
    });
    expect(found[1]?.initErr).toMatchObject({ code: 2, message: "skip plugin" });
  });

  test("plugins filter by id and type", async () => {
    const ids = async (...filters: string[]) =>
      (await api.call(I.plugins, { filters })).plugins.map(({ id }) => id);
    expect(await ids("id==overlayfs")).toEqual(["overlayfs"]);
    expect(await ids("type==io.containerd.runtime.v2", "id==none")).toEqual(["task"]);
    expect(await api.failure(I.plugins, { filters: ["id===x"] })).toMatch(
      /^3 .*: invalid argument: invalid argument$/,
    );
  });

  test("one plugin is found by type and id", async () => {
    const request = { type: "io.containerd.runtime.v2", id: "task", options: undefined };
    expect((await api.call(I.pluginInfo, request)).plugin?.id).toBe("task");
    expect(await api.failure(I.pluginInfo, { ...request, id: "x" })).toMatch(/^5 /);
  });

  test("the server tells its uuid, pid and pid namespace", async () => {
    const server = await api.call(I.server, {}, { namespace: null });
    expect(server).toMatchObject({ uuid: "0c2b7a4e-0000-4000-8000-000000000000", pid: BigInt(process.pid) });
    expect(server.pidns).toBeGreaterThan(0n);
  });

  test("the version is what was built", async () => {
    expect(await api.call(VersionService.version, {}, { namespace: null })).toEqual({
      version: "1.6.20+berth",
      revision: "abc",
    });
  });

  test("health knows the daemon as a whole", async () => {
    expect(await api.call(HealthService.check, { service: "" }, { namespace: null })).toEqual({ status: 1 });
    expect(await api.failure(HealthService.check, { service: "x" })).toBe("5 unknown service");
    expect(await api.call(HealthService.list, {})).toEqual({ statuses: { "": { status: 1 } } });
    const watch = api.open(HealthService.watch, { service: "" });
    watch.on("error", () => undefined);
    expect(await new Promise((resolve) => watch.once("data", resolve))).toEqual({ status: 1 });
    watch.cancel();
  });
});
