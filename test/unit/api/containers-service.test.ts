import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  ContainersService as C,
  Container,
} from "../../../src/wire/gen/containerd/services/containers/v1/containers.js";
import { type Harness, startApi } from "./harness.js";

const spec = { typeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Spec", value: Buffer.from("{}") };
const container = (over: object = {}): Container =>
  Container.fromPartial({ id: "c1", runtime: { name: "io.containerd.runc.v2" }, spec, ...over });
const pattern = "^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$";

describe("the containers service", () => {
  let api: Harness;
  beforeEach(async () => {
    api = await startApi();
  });
  afterEach(() => api[Symbol.asyncDispose]());

  const create = (over: object = {}) => api.call(C.create, { container: container(over) });
  const refused = (over: object) => api.failure(C.create, { container: container(over) });
  const update = (over: object, updateMask?: string[]) =>
    api.call(C.update, { container: container(over), updateMask });
  const notUpdated = (over: object, updateMask?: string[]) =>
    api.failure(C.update, { container: container(over), updateMask });

  test("create answers with the stored container and its times", async () => {
    const { container: created } = await create({ createdAt: { seconds: -62135596800n, nanos: 0 } });
    expect(created?.createdAt).toEqual({ seconds: 2n, nanos: 0 });
    expect(created?.updatedAt).toEqual({ seconds: 2n, nanos: 0 });
    expect(created?.runtime?.name).toBe("io.containerd.runc.v2");
  });

  test("spec, options and extensions come back byte for byte", async () => {
    const odd = { typeUrl: "anything/At.All", value: Buffer.from([0, 255, 10, 0]) };
    await create({
      spec: odd,
      runtime: { name: "a.b", options: odd },
      extensions: { e: odd, empty: { typeUrl: "", value: Buffer.alloc(0) } },
    });
    const { container: got } = await api.call(C.get, { id: "c1" });
    expect(got?.spec).toEqual(odd);
    expect(got?.runtime?.options).toEqual(odd);
    expect(got?.extensions).toEqual({ e: odd, empty: { typeUrl: "", value: Buffer.alloc(0) } });
  });

  test("labels without a value are not stored", async () => {
    const { container: created } = await create({ labels: { a: "1", b: "" } });
    expect(created?.labels).toEqual({ a: "1" });
  });

  test("a second create with the same id is refused", async () => {
    await create();
    expect(await refused({})).toBe('6 container "c1": already exists');
  });

  test.each([
    ["an empty id", { id: "" }, "container.ID: identifier must not be empty"],
    ["a bad id", { id: "a..b" }, `container.ID: identifier "a..b" must match ${pattern}`],
    ["no runtime name", { runtime: { name: "" } }, "container.Runtime.Name must be set"],
    ["no runtime", { runtime: undefined }, "container.Runtime.Name must be set"],
    ["no spec", { spec: undefined }, "container.Spec must be set"],
    [
      "a snapshot key alone",
      { snapshotKey: "k" },
      "container.Snapshotter must be set if container.SnapshotKey is set",
    ],
    [
      "an empty extension key",
      { extensions: { "": spec } },
      "container.Extension keys must not be zero-length",
    ],
    [
      "a label of 4097 bytes",
      { labels: { averylongkeyname: "x".repeat(4081) } },
      "containers.Labels: label key and value greater than maximum size (4096 bytes), key: averylongk",
    ],
  ])("create with %s is refused", async (_, over, text) => {
    expect(await refused(over)).toBe(`3 create container failed validation: ${text}: invalid argument`);
  });

  test("create without a container is refused, a label of exactly 4096 bytes is not", async () => {
    expect(await api.failure(C.create, { container: undefined })).toMatch(
      /^3 create container failed validation/,
    );
    await create({ labels: { k: "x".repeat(4095) } });
  });

  test("an unknown container is not found", async () => {
    expect(await api.failure(C.get, { id: "zz" })).toBe('5 container "zz" in namespace "n1": not found');
    expect(await api.failure(C.delete, { id: "zz" })).toBe("5 container zz: not found");
    expect(await notUpdated({ id: "zz" }, ["labels"])).toBe('5 container "zz": not found');
  });

  test("namespaces are required, validated and apart, and the first of several headers wins", async () => {
    await create();
    expect(await api.failure(C.list, { filters: [] }, { namespace: null })).toBe(
      "9 namespace is required: failed precondition",
    );
    expect(await api.failure(C.list, { filters: [] }, { namespace: "" })).toBe(
      "9 namespace is required: failed precondition",
    );
    expect(await api.failure(C.list, { filters: [] }, { namespace: "bad ns" })).toBe(
      `3 namespace validation: identifier "bad ns" must match ${pattern}: invalid argument`,
    );
    expect((await api.call(C.list, { filters: [] }, { namespace: "n2" })).containers).toEqual([]);
    expect((await api.call(C.list, { filters: [] }, { namespace: ["n1", "n2"] })).containers).toHaveLength(1);
  });

  test("lists filter by id, label and runtime, and stream one container per message", async () => {
    await create({ id: "a", labels: { "x.y": "1" } });
    await create({ id: "b" });
    const ids = async (...filters: string[]) =>
      (await api.call(C.list, { filters })).containers.map(({ id }) => id);
    expect(await ids()).toEqual(["a", "b"]);
    expect(await ids("labels.x.y==1")).toEqual(["a"]);
    expect(await ids("id==b", "id==none")).toEqual(["b"]);
    expect(await ids("runtime.name==io.containerd.runc.v2,id!=b")).toEqual(["a"]);
    const streamed = await api.collect(C.listStream, { filters: [] });
    expect(streamed.map((message) => message.container?.id)).toEqual(["a", "b"]);
  });

  test("a long list streams to the end through a full transport", async () => {
    for (let index = 0; index < 300; index += 1)
      await create({ id: `c${index}`, labels: { l: "x".repeat(4000) } });
    expect(await api.collect(C.listStream, { filters: [] })).toHaveLength(300);
  });

  test("a bad filter carries its class words twice, as the real daemon's does", async () => {
    const text =
      '3 filters: parse error: [a >|=|< ==b]: unsupported operator "===": invalid argument: invalid argument';
    expect(await api.failure(C.list, { filters: ["a===b"] })).toBe(text);
    await expect(api.collect(C.listStream, { filters: ["a===b"] })).rejects.toThrow(text);
  });

  test("a masked update changes what it names and nothing else", async () => {
    await create({ labels: { a: "1", b: "2" }, image: "i" });
    const updated = async (over: object, mask: string[]) => (await update(over, mask)).container;
    expect((await updated({ labels: { x: "1", y: "2" } }, ["labels.x"]))?.labels).toEqual({
      a: "1",
      b: "2",
      x: "1",
    });
    expect((await updated({ labels: { b: "" } }, ["labels.b"]))?.labels).toEqual({ a: "1", x: "1" });
    expect((await updated({}, ["labels.x"]))?.labels).toEqual({ a: "1" });
    expect((await updated({ labels: { q: "1", r: "" } }, ["labels"]))?.labels).toEqual({ q: "1" });
    expect((await updated({ image: "j", runtime: { name: "other" } }, ["image"]))?.image).toBe("j");
    const end = await updated({ extensions: { e: spec } }, ["extensions.e"]);
    expect(end?.extensions).toEqual({ e: spec });
    expect(end?.runtime?.name).toBe("io.containerd.runc.v2");
    expect(end?.createdAt).toEqual({ seconds: 2n, nanos: 0 });
    expect(end?.updatedAt?.seconds).toBe(8n);
  });

  test("an update without a mask replaces labels, spec, extensions, image and snapshot key", async () => {
    await create({ labels: { a: "1" }, image: "i", extensions: { e: spec } });
    const { container: after } = await update({ labels: { z: "1" } });
    expect(after).toMatchObject({ labels: { z: "1" }, image: "", extensions: {} });
    expect((await update({ labels: { m: "1" } }, [])).container?.labels).toEqual({ m: "1" });
  });

  test.each([
    [
      "another runtime",
      { runtime: { name: "other" } },
      undefined,
      "container.Runtime.Name field is immutable",
    ],
    ["another snapshotter", { snapshotter: "s" }, undefined, "container.Snapshotter field is immutable"],
    ["no spec", { spec: undefined }, undefined, "update failed validation: container.Spec must be set"],
    ["the runtime in its mask", {}, ["runtime"], 'cannot update "runtime" field on "c1"'],
    ["an empty path", {}, [""], 'cannot update "" field on "c1"'],
    [
      "a snapshot key without snapshotter",
      { snapshotKey: "k" },
      ["snapshotkey"],
      "update failed validation: container.Snapshotter must be set if container.SnapshotKey is set",
    ],
  ])("an update with %s is refused", async (_, over, mask, text) => {
    await create();
    expect(await notUpdated(over, mask)).toBe(`3 ${text}: invalid argument`);
  });

  test("an update without an id is refused before anything else", async () => {
    expect(await api.failure(C.update, { container: undefined, updateMask: undefined })).toBe(
      "3 Container.ID required",
    );
  });

  test("delete removes the record, whatever its task does", async () => {
    await create();
    await api.call(C.delete, { id: "c1" });
    expect(api.containers.asks).toEqual([]);
    expect(api.metadata.containers.size).toBe(0);
  });
});
