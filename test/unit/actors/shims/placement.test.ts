/** Which task goes to which shim process, and what becomes of shims that are empty, dead or silent. */
import { describe, expect, it } from "vitest";
import type { ShimSummary } from "../../../../src/actors/shims/messages.js";
import { unavailable, unknownError } from "../../../../src/core/errors.js";
import { FakeShims } from "../../../support/fake-shim.js";
import { createFakeWorld, type FakeWorld, keyOf } from "../../../support/fake-world.js";

const spec = (annotations: Record<string, string> = {}): Uint8Array =>
  Buffer.from(JSON.stringify({ annotations }));
const place = (
  world: FakeWorld,
  id: string,
  { runtime = "io.containerd.runc.v2", config = spec(), signal = undefined as AbortSignal | undefined } = {},
) =>
  world.tree.placement.ask<{ shimId: string }>(
    (reply) => ({ kind: "place", key: keyOf(id), runtime, spec: config, reply: reply as never }),
    { timeoutMs: 60_000, signal },
  );
const placed = async (world: FakeWorld, id: string, config?: Uint8Array): Promise<string> =>
  (await world.run(place(world, id, config === undefined ? {} : { config }))).shimId;
const summary = (world: FakeWorld) =>
  world.run(
    world.tree.placement.ask<readonly ShimSummary[]>((reply) => ({ kind: "summary", reply }), {
      timeoutMs: 1000,
    }),
  );
const release = (world: FakeWorld, id: string): void =>
  world.tree.placement.tell({ kind: "release", key: keyOf(id) });

describe("placement by capacity", () => {
  it("fills a shim before it starts the next, also while the first is starting", async () => {
    const world = createFakeWorld({ settings: { shimCapacity: 2 } });
    const asked = ["a", "b", "c"].map((id) => place(world, id));
    const shims = await world.run(Promise.all(asked));
    expect(shims[0]?.shimId).toBe(shims[1]?.shimId);
    expect(shims[2]?.shimId).not.toBe(shims[0]?.shimId);
    expect(world.shims.running.size).toBe(2);
    expect(world.tree.hosts.size).toBe(3);
  });

  it("prefers the fullest shim that has room, so that others empty out", async () => {
    const world = createFakeWorld({ settings: { shimCapacity: 3 } });
    const first = await placed(world, "a");
    for (const id of ["b", "c"]) await placed(world, id);
    const second = await placed(world, "d");
    expect(second).not.toBe(first);
    release(world, "a");
    expect(await placed(world, "e")).toBe(first);
  });
});

describe("placement by group", () => {
  const sandbox = (name: string): Uint8Array => spec({ "io.kubernetes.cri.sandbox-id": name });

  it("keeps the tasks of a pod sandbox together, and others packed", async () => {
    const world = createFakeWorld({ settings: { shimGrouping: "sandbox", shimCapacity: 8 } });
    const pod = await placed(world, "a", sandbox("p1"));
    expect(await placed(world, "b", sandbox("p2"))).not.toBe(pod);
    expect(await placed(world, "c", sandbox("p1"))).toBe(pod);
    const packed = await placed(world, "d");
    expect(packed).not.toBe(pod);
    expect(await placed(world, "e", Buffer.from("not json"))).toBe(packed);
  });

  it("gives each container its own shim when asked to", async () => {
    const world = createFakeWorld({ settings: { shimGrouping: "container" } });
    const ids = [await placed(world, "a"), await placed(world, "b")];
    expect(new Set(ids).size).toBe(2);
  });

  it("never mixes namespaces", async () => {
    const world = createFakeWorld();
    const here = await placed(world, "a");
    const there = await world.run(
      world.tree.placement.ask<{ shimId: string }>(
        (reply) => ({
          kind: "place",
          key: { ...keyOf("a"), namespace: "m" as never },
          runtime: "io.containerd.runc.v2",
          spec: spec(),
          reply: reply as never,
        }),
        { timeoutMs: 1000 },
      ),
    );
    expect(there.shimId).not.toBe(here);
  });

  it("refuses a runtime that nothing serves, at once", async () => {
    const world = createFakeWorld();
    await expect(world.run(place(world, "a", { runtime: "io.nosuch.v1" }))).rejects.toMatchObject({
      kind: "unknown",
    });
    expect(world.shims.running.size).toBe(0);
  });
});

describe("an empty shim", () => {
  it("is kept for a while for the next task, then retires and is forgotten", async () => {
    const world = createFakeWorld({ settings: { shimIdleMs: 10_000 } });
    const shim = await placed(world, "a");
    release(world, "a");
    await world.clock.advance(9000);
    expect(await placed(world, "b")).toBe(shim);
    await world.clock.advance(60_000);
    expect(world.shims.running.size).toBe(1);
    release(world, "b");
    await world.clock.advance(11_000);
    expect(world.shims.running.size).toBe(0);
    expect(world.shims.forgotten).toEqual([shim]);
    expect(await summary(world)).toEqual([]);
  });

  it("that hangs retires all the same", async () => {
    const world = createFakeWorld();
    const shim = await placed(world, "a");
    world.tree.placement.tell({ kind: "shim-health", shimId: shim as never, responsive: false });
    release(world, "a");
    await world.clock.advance(11_000);
    expect(world.shims.running.size).toBe(0);
  });
});

describe("a shim that does not start", () => {
  it("answers everybody who waits for it, and the next place tries again", async () => {
    const world = createFakeWorld({ settings: { shimCapacity: 8 } });
    world.shims.before = (operation) => {
      if (operation === "open") throw unknownError("shim exited before it was ready");
    };
    const asked = ["a", "b", "c"].map((id) => place(world, id).catch((error: unknown) => error));
    for (const error of await world.run(Promise.all(asked))) {
      expect(error).toMatchObject({
        kind: "unknown",
        message: "failed to start shim: shim exited before it was ready",
      });
    }
    expect(world.tree.hosts.size).toBe(0);
    expect(world.shims.forgotten).toHaveLength(1);
    world.shims.before = () => undefined;
    await placed(world, "a");
  });

  it("in time is given up by its own deadline", async () => {
    const world = createFakeWorld({ settings: { shimOpenTimeoutMs: 5000 } });
    world.shims.before = (operation) => (operation === "open" ? new Promise(() => undefined) : undefined);
    await expect(world.run(place(world, "a"))).rejects.toMatchObject({ kind: "unknown" });
    expect(world.clock.monotonicMs()).toBeLessThan(6000);
  });

  it("keeps no place for an asker that has gone meanwhile", async () => {
    const world = createFakeWorld();
    let proceed = (): void => undefined;
    world.shims.before = () =>
      new Promise((resolve) => {
        proceed = () => resolve();
      });
    const client = new AbortController();
    const gone = place(world, "a", { signal: client.signal });
    gone.catch(() => undefined);
    await world.clock.runUntilIdle();
    client.abort();
    proceed();
    await world.clock.runUntilIdle();
    expect(world.tree.hosts.size).toBe(0);
    await world.clock.advance(11_000);
    expect(world.shims.running.size).toBe(0);
  });
});

describe("a shim that dies", () => {
  it("is forgotten, and new tasks go elsewhere", async () => {
    const world = createFakeWorld();
    const shim = await placed(world, "a");
    world.shims.running.get(shim as never)?.die();
    await world.clock.runUntilIdle();
    expect(world.shims.forgotten).toEqual([shim]);
    expect(await placed(world, "b")).not.toBe(shim);
  });

  it("has its tasks cleaned up even when their actors are gone", async () => {
    const world = createFakeWorld();
    await world.addContainer("c");
    await world.run(world.create("c"));
    const supervisor = world.system.lookup("root/containers/n/c");
    expect(supervisor).toBeDefined();
    // The namespace's supervisor gives up: its actors go with it.
    for (let crash = 0; crash < 7; crash++) {
      world.system.lookup<unknown>("root/containers/n/c")?.tell({ kind: "nonsense" });
      await world.clock.runUntilIdle();
    }
    expect(world.system.lookup("root/containers/n/c")).toBeUndefined();
    world.shimOf("c").die();
    await world.clock.advance(5000);
    expect(world.shims.orphans.size).toBe(0);
    expect(world.tree.hosts.size).toBe(0);
    expect(world.bundles.size).toBe(0);
  });
});

describe("a shim that does not answer pings", () => {
  it("gets no new tasks until it answers again", async () => {
    const world = createFakeWorld({ settings: { shimCapacity: 8 } });
    const shim = await placed(world, "a");
    const connection = world.shims.running.get(shim as never)?.connection as unknown as {
      ping: () => Promise<void>;
    };
    connection.ping = () => Promise.reject(unavailable("hangs"));
    await world.clock.advance(15_000);
    expect((await summary(world))[0]).toMatchObject({ status: "unresponsive", tasks: 1 });
    expect(await placed(world, "b")).not.toBe(shim);
    connection.ping = async () => undefined;
    await world.clock.advance(15_000);
    expect((await summary(world)).find(({ shimId }) => shimId === shim)).toMatchObject({ status: "ready" });
  });
});

describe("the shims of an earlier daemon", () => {
  it("that hang are not given up while they live, and keep nobody waiting", async () => {
    const shims = new FakeShims();
    const earlier = createFakeWorld({ shims });
    await earlier.addContainer("c");
    await earlier.run(earlier.create("c"));
    let hangs = true;
    const stuck: Array<() => void> = [];
    const [hanging] = shims.running.keys();
    shims.before = (operation, id) =>
      operation === "open" && id === hanging && hangs
        ? new Promise((resolve) => {
            stuck.push(resolve);
          })
        : undefined;
    const world = createFakeWorld({ shims });
    await world.addContainer("c");
    const restored = world.tree.placement.ask((reply) => ({ kind: "restored", reply }), { timeoutMs: 3000 });
    await expect(world.run(restored)).rejects.toMatchObject({ kind: "deadline-exceeded" });
    expect(await placed(world, "new")).not.toBe(hanging);
    await world.clock.advance(20_000);
    expect(shims.forgotten).toEqual([]);
    hangs = false;
    for (const proceed of stuck) proceed();
    await world.clock.advance(20_000);
    expect(await world.run(world.get("c"))).toMatchObject({ status: "created" });
  });

  it("that are dead are forgotten", async () => {
    const shims = new FakeShims();
    shims.left = [{ shimId: "gone" as never, namespace: "n" as never, runtime: "" }];
    const world = createFakeWorld({ shims });
    await world.clock.runUntilIdle();
    expect(shims.forgotten).toEqual(["gone"]);
    expect(await summary(world)).toEqual([]);
  });
});

describe("a crash of the placement", () => {
  it("does not make it take shims with tasks for empty ones", async () => {
    const world = createFakeWorld();
    await world.addContainer("c");
    await world.run(world.create("c"));
    world.system.lookup<unknown>("root/shims/placement")?.tell(null);
    await world.clock.advance(60_000);
    expect(world.shims.running.size).toBe(1);
    expect(await world.run(world.get("c"))).toMatchObject({ status: "created" });
    expect((await summary(world))[0]).toMatchObject({ tasks: 1, status: "ready" });
  });
});
