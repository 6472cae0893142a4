import { beforeEach, describe, expect, it } from "vitest";
import { unknownError } from "../../../../src/core/errors.js";
import { FakeShims } from "../../../support/fake-shim.js";
import { createFakeWorld, type FakeWorld } from "../../../support/fake-world.js";

let world: FakeWorld;
beforeEach(async () => {
  world = createFakeWorld();
  await world.addContainer("c");
});

const running = async (): Promise<number> => {
  const { pid } = await world.run(world.create("c"));
  await world.run(world.start("c"));
  return pid;
};

describe("a container actor", () => {
  it("takes a task through its life and publishes its events in order", async () => {
    const pid = await running();
    expect(await world.run(world.get("c"))).toMatchObject({ id: "c", pid, status: "running" });
    const waited = world.wait("c");
    world.shimOf("c").exit("c", "", 3);
    expect(await world.run(waited)).toMatchObject({ exitStatus: 3 });
    expect(await world.run(world.delete("c"))).toMatchObject({ pid, exitStatus: 3 });
    expect(world.bundles.size).toBe(0);
    await world.clock.runUntilIdle();
    expect(world.events).toEqual(["create c", "start c", "exit c c 3", "delete c"]);
    expect(world.failures).toEqual([]);
  });

  it("answers not-found in containerd's words for an unknown container and for a container without a task", async () => {
    await expect(world.run(world.get("x"))).rejects.toMatchObject({
      kind: "not-found",
      message: 'container "x" in namespace "n"',
    });
    await expect(world.run(world.get("c"))).rejects.toMatchObject({
      kind: "not-found",
      message: "task c not found",
      bare: true,
    });
  });

  it("refuses a second create, also while the first is under way", async () => {
    const first = world.create("c");
    const second = expect(world.run(world.create("c"))).rejects.toMatchObject({
      kind: "already-exists",
      message: "task c",
    });
    await world.run(first);
    await second;
  });

  it("leaves nothing of a create that failed, and the id is free at once", async () => {
    world.shims.before = (operation) => {
      if (operation === "create") throw unknownError("OCI runtime create failed: no");
    };
    await expect(world.run(world.create("c"))).rejects.toMatchObject({
      kind: "unknown",
      message: "failed to create shim task: OCI runtime create failed: no",
    });
    expect(world.bundles.size).toBe(0);
    expect(world.tree.hosts.size).toBe(0);
    expect(world.events).toEqual([]);
    world.shims.before = () => undefined;
    await world.run(world.create("c"));
  });

  it("undoes a create whose client has gone away", async () => {
    let proceed = (): void => undefined;
    world.shims.before = (operation) => {
      if (operation !== "create") return undefined;
      return new Promise((resolve) => {
        proceed = () => resolve();
      });
    };
    const client = new AbortController();
    const created = world.create("c", client.signal);
    created.catch(() => undefined);
    await world.clock.runUntilIdle();
    client.abort();
    await expect(created).rejects.toMatchObject({ kind: "cancelled" });
    world.shims.before = () => undefined;
    proceed();
    await world.clock.runUntilIdle();
    expect(world.bundles.size).toBe(0);
    await expect(world.run(world.get("c"))).rejects.toMatchObject({ message: "task c not found" });
    expect(world.shims.calls).toContain("delete c");
  });

  it("reports a stopped task when the exit beats the answer to start", async () => {
    await world.run(world.create("c"));
    world.shims.afterStart = (id) => world.shimOf(id).exit(id, "", 7);
    const { pid } = await world.run(world.start("c"));
    expect(await world.run(world.get("c"))).toMatchObject({ status: "stopped", pid, exitStatus: 7 });
    expect(world.events).toEqual(["create c", "start c", "exit c c 7"]);
    expect(await world.run(world.wait("c"))).toMatchObject({ exitStatus: 7 });
  });

  it("runs lifecycle commands one at a time and in order", async () => {
    const results = [
      world.create("c"),
      world.start("c"),
      world.ask("c", { kind: "pause" }),
      world.ask("c", { kind: "resume" }),
    ];
    await world.run(Promise.all(results));
    expect(world.shims.calls).toEqual(["create c", "start c", "pause c", "resume c"]);
    expect(await world.run(world.get("c"))).toMatchObject({ status: "running" });
  });

  it("shows execs of a paused task as paused", async () => {
    await running();
    await world.run(world.exec("c", "e"));
    await world.run(world.start("c", "e"));
    await world.run(world.ask("c", { kind: "pause" }));
    expect(await world.run(world.get("c", "e"))).toMatchObject({ status: "paused" });
  });

  it("answers every waiter of an exec, and knows it no more once it is deleted", async () => {
    await running();
    await world.run(world.exec("c", "e"));
    const waits = [world.wait("c", "e"), world.wait("c", "e")];
    const { pid } = await world.run(world.start("c", "e"));
    world.shimOf("c").exit("c", "e", 5);
    for (const wait of waits) expect(await world.run(wait)).toMatchObject({ exitStatus: 5 });
    expect(await world.run(world.delete("c", "e"))).toMatchObject({ pid, exitStatus: 5 });
    await expect(world.run(world.wait("c", "e"))).rejects.toMatchObject({
      kind: "not-found",
      message: "process does not exist e",
    });
    expect(world.events).toEqual(["create c", "start c", "exec-added c e", "exec-started c e", "exit c e 5"]);
  });

  it("keeps an exec whose start failed as created, and answers its waiters with status 0", async () => {
    await running();
    await world.run(world.exec("c", "e"));
    world.shims.before = (operation) => {
      if (operation === "start") throw unknownError("OCI runtime exec failed: no");
    };
    const waited = world.wait("c", "e");
    await expect(world.run(world.start("c", "e"))).rejects.toMatchObject({
      message: "OCI runtime exec failed: no",
    });
    expect(await world.run(waited)).toMatchObject({ exitStatus: 0 });
    expect(await world.run(world.get("c", "e"))).toMatchObject({ status: "created", pid: 0 });
  });

  it("refuses to delete a running task with the shim's words behind containerd's", async () => {
    await running();
    await expect(world.run(world.delete("c"))).rejects.toMatchObject({
      message: "failed to delete task: cannot delete a running process",
    });
    expect(await world.run(world.get("c"))).toMatchObject({ status: "running" });
  });

  it("hides the task while its container record is gone, and shows it again when the record is back", async () => {
    await running();
    await world.store.deleteContainer("n" as never, "c");
    await expect(world.run(world.get("c"))).rejects.toMatchObject({
      message: 'container "c" in namespace "n"',
    });
    await world.addContainer("c");
    expect(await world.run(world.get("c"))).toMatchObject({ status: "running" });
  });

  it("does not keep an actor for a container without a task", async () => {
    await world.run(world.create("c"));
    await world.run(world.kill("c"));
    await world.run(world.delete("c"));
    await world.clock.runUntilIdle();
    expect(world.system.lookup("root/containers/n/c")).toBeUndefined();
  });

  it("cleans up after a dead shim: exit 137, delete, waiters answered, bundle gone", async () => {
    await running();
    const waited = world.wait("c");
    await world.clock.runUntilIdle();
    world.shimOf("c").die();
    expect(await world.run(waited)).toMatchObject({ exitStatus: 137 });
    expect(world.shims.cleaned).toEqual(["n/c"]);
    expect(world.bundles.size).toBe(0);
    expect(world.events).toEqual(["create c", "start c", "exit c c 137", "delete c"]);
    await expect(world.run(world.get("c"))).rejects.toMatchObject({ message: "task c not found" });
    await world.run(world.create("c"));
  });

  it("says 255 when the cleanup after a dead shim failed, and keeps the bundle", async () => {
    await running();
    world.shims.cleanUpFails = true;
    const waited = world.wait("c");
    await world.clock.runUntilIdle();
    world.shimOf("c").die();
    expect(await world.run(waited)).toMatchObject({ exitStatus: 255 });
    expect(world.bundles.size).toBe(1);
  });

  it("finds its task again through the shim after a crash of the actor, and loses no queued command", async () => {
    const pid = await running();
    await world.run(world.exec("c", "e"));
    const actor = world.system.lookup<never>("root/containers/n/c");
    actor?.tell({ kind: "recover-settled", outcome: { ok: true, value: undefined } } as never); // breaks an invariant
    const got = world.get("c");
    expect(await world.run(got)).toMatchObject({ pid, status: "running" });
    expect(await world.run(world.get("c", "e"))).toMatchObject({ status: "created" });
    const waited = world.wait("c");
    world.shimOf("c").exit("c", "", 4);
    expect(await world.run(waited)).toMatchObject({ exitStatus: 4 });
    expect(world.events).toEqual(["create c", "start c", "exec-added c e", "exit c c 4"]);
  });

  it("holds an exit back until the start event has come", async () => {
    await world.run(world.create("c"));
    const held: Array<() => void> = [];
    const deliver = world.shims.deliver;
    world.shims.deliver = (key, envelope, shimId) => {
      if (envelope.topic === "/tasks/start") held.push(() => deliver(key, envelope, shimId));
      else deliver(key, envelope, shimId);
    };
    await world.run(world.start("c"));
    world.shimOf("c").exit("c", "", 1);
    await world.clock.runUntilIdle();
    expect(world.events).toEqual(["create c"]);
    for (const send of held) send();
    await world.clock.runUntilIdle();
    expect(world.events).toEqual(["create c", "start c", "exit c c 1"]);
  });

  it("lets a held event go when its forerunner does not come", async () => {
    await world.run(world.create("c"));
    const deliver = world.shims.deliver;
    world.shims.deliver = (key, envelope, shimId) => {
      if (envelope.topic !== "/tasks/start") deliver(key, envelope, shimId);
    };
    await world.run(world.start("c"));
    world.shimOf("c").exit("c", "", 1);
    await world.clock.advance(3000);
    expect(world.events).toEqual(["create c", "exit c c 1"]);
  });
});

describe("a daemon that starts beside living shims", () => {
  it("takes up their tasks with state, execs and exits", async () => {
    const pid = await running();
    await world.run(world.exec("c", "e"));
    await world.run(world.start("c", "e"));
    const shims = new FakeShims();
    shims.left = [...world.shims.running.values()].map(({ connection }) => ({
      shimId: connection.shimId,
      namespace: connection.namespace,
      runtime: "",
    }));
    for (const [shimId, shim] of world.shims.running) shims.running.set(shimId, shim);
    const next = createFakeWorld({ shims });
    await next.addContainer("c");
    const restored = next.tree.placement.ask((reply) => ({ kind: "restored", reply }), { timeoutMs: 10_000 });
    expect(await next.run(restored)).toEqual([{ namespace: "n", id: "c" }]);
    expect(await next.run(next.get("c"))).toMatchObject({ pid, status: "running" });
    expect(await next.run(next.get("c", "e"))).toMatchObject({ status: "running" });
  });

  it("gives up on a dead shim and serves the rest", async () => {
    const shims = new FakeShims();
    shims.left = [{ shimId: "gone" as never, namespace: "n" as never, runtime: "" }];
    const next = createFakeWorld({ shims });
    const restored = next.tree.placement.ask((reply) => ({ kind: "restored", reply }), { timeoutMs: 10_000 });
    expect(await next.run(restored)).toEqual([]);
  });
});
