import { describe, expect, it } from "vitest";
import type { Down, SupervisorRef } from "../../../../src/actors/kernel/types.js";
import {
  boom,
  child,
  createWorld,
  refOf,
  type Script,
  scripted,
  supervisor,
  watchPromise,
} from "./harness.js";

/** An actor that stops only after `ms`, or never. */
const slow = (ms: number | undefined) =>
  scripted({
    stopping: (state, ctx) => {
      if (ms !== undefined) ctx.startTimer("done", ms, { kind: "done", run: (inner) => inner.stop() });
      return state;
    },
  }).spec;

const stops = (world: ReturnType<typeof createWorld>) =>
  world.events.filter(({ kind }) => kind === "stopped").map(({ path, detail }) => `${path}:${detail}`);

describe("starting", () => {
  it("goes in order, children before the next sibling", async () => {
    const world = createWorld();
    world.system.start(
      supervisor("rest-for-one", [
        child("a", scripted().spec),
        child("s", supervisor("one-for-one", [child("x", scripted().spec), child("y", scripted().spec)])),
        child("b", scripted().spec),
      ]),
    );
    expect(world.events.map(({ path }) => path)).toEqual([
      "root",
      "root/a",
      "root/s",
      "root/s/x",
      "root/s/y",
      "root/b",
    ]);
  });

  it.each(["one-for-one", "one-for-all", "rest-for-one"] as const)(
    "holds later siblings back while an init fails, also below a nested supervisor (%s)",
    async (strategy) => {
      const world = createWorld();
      let failures = 2;
      const order: string[] = [];
      const flaky = scripted({
        init: () => {
          if (failures-- > 0) boom();
          order.push("x");
        },
      });
      world.system.start(
        supervisor(strategy, [
          child("s", supervisor(strategy, [child("x", flaky.spec)])),
          child("b", scripted({ init: () => order.push("b") }).spec),
        ]),
      );
      expect(order).toEqual([]);
      await world.clock.runUntilIdle();
      expect(order).toEqual(["x", "b"]);
    },
  );

  it.each(["one-for-one", "one-for-all", "rest-for-one"] as const)(
    "tries a failing child again before its younger siblings (%s)",
    async (strategy) => {
      const world = createWorld();
      let failures = 2;
      const order: string[] = [];
      const flaky = scripted({
        init: () => {
          if (failures-- > 0) boom();
          order.push("x");
        },
      });
      const b = scripted({ init: () => order.push("b") });
      world.system.start(supervisor(strategy, [child("x", flaky.spec), child("b", b.spec)]));
      await world.clock.runUntilIdle();
      expect(order).toEqual(["x", "b"]);
    },
  );

  it("holds later siblings back at a group restart too, until a nested supervisor is complete", async () => {
    const world = createWorld();
    let failures = 0;
    const order: string[] = [];
    const flaky = scripted({
      init: () => {
        if (failures-- > 0) boom();
        order.push("x");
      },
    });
    world.system.start(
      supervisor("rest-for-one", [
        child("a", scripted().spec),
        child("s", supervisor("one-for-one", [child("x", flaky.spec)])),
        child("b", scripted({ init: () => order.push("b") }).spec),
      ]),
    );
    failures = 3;
    refOf(world, "root/a").tell({ kind: "crash", run: boom });
    await world.clock.runUntilIdle();
    expect(order).toEqual(["x", "b", "x", "b"]);
  });

  it("of a one-for-one supervisor's child waits for no slow sibling once all were up", async () => {
    const world = createWorld();
    const root = world.system.start(supervisor("one-for-one", [child("a", scripted().spec)]));
    const hopeless = supervisor("one-for-one", [child("x", scripted({ init: boom }).spec)], {
      intensity: 1e6,
    });
    root.startSupervisor(child("s", hopeless));
    const b = scripted();
    root.startActor(child("b", b.spec));
    expect(b.log).toEqual(["init"]);
    refOf(world, "root/a").tell({ kind: "crash", run: boom });
    for (let n = 0; n < 20; n++) world.scheduler.step();
    expect(world.system.inspect().children[0]).toMatchObject({
      path: "root/a",
      status: "running",
      restarts: 1,
    });
    void world.system.shutdown();
    await world.clock.runUntilIdle();
  });

  it("refuses a second root, doubled ids and negative budgets, and leaves nothing behind", () => {
    const world = createWorld();
    const twice = [child("a", scripted().spec), child("a", scripted().spec)];
    expect(() => world.system.start(supervisor("one-for-one", twice))).toThrow(/two children/);
    const root = world.system.start(supervisor("one-for-one", []));
    expect(() => world.system.start(supervisor("one-for-one", []))).toThrow(/started before/);
    expect(() => root.startSupervisor(child("s", supervisor("one-for-one", twice)))).toThrow(/two children/);
    expect(() => root.startActor(child("n", scripted().spec, "permanent", -1))).toThrow(/budget/);
    expect(() => root.startActor(child("", scripted().spec))).toThrow(/empty/);
    expect(root.childIds()).toEqual([]);
    expect(root.startSupervisor(child("s", supervisor("one-for-one", []))).path).toBe("root/s");
  });
});

describe("dynamic children", () => {
  it("refuse a live id, and take it again once its owner has ended", async () => {
    const world = createWorld();
    const root = world.system.start(supervisor("one-for-one", []));
    const first = root.startActor(child("d", scripted().spec, "temporary"));
    expect(() => root.startActor(child("d", scripted().spec))).toThrow(
      expect.objectContaining({ kind: "already-exists" }),
    );
    const done = watchPromise(root.stopChild("d"));
    await world.clock.runUntilIdle();
    expect(done.settled).toEqual(["ok:undefined"]);
    const second = scripted();
    root.startActor(child("d", second.spec));
    first.tell({ kind: "to the dead" });
    await world.clock.runUntilIdle();
    expect(second.log).toEqual(["init"]);
    expect(world.system.deadLetters.count).toBe(1);
    await root.stopChild("unknown");
  });

  it("are refused while the supervisor stops", async () => {
    const world = createWorld();
    const root = world.system.start(supervisor("one-for-one", [child("a", slow(10))]));
    void world.system.shutdown();
    expect(() => root.startActor(child("d", scripted().spec))).toThrow(
      expect.objectContaining({ kind: "unavailable" }),
    );
    await world.clock.advance(10);
    expect(() => root.startActor(child("d", scripted().spec))).toThrow(
      expect.objectContaining({ kind: "unavailable" }),
    );
  });

  it("can be stopped by id while they wait for a restart", async () => {
    const world = createWorld();
    const root = world.system.start(supervisor("one-for-one", [child("a", scripted().spec)]));
    refOf(world, "root/a").tell({ kind: "crash", run: boom });
    world.scheduler.step();
    expect(world.system.inspect().children[0]?.status).toBe("restarting");
    await root.stopChild("a");
    await world.clock.runUntilIdle();
    expect(root.childIds()).toEqual([]);
    expect(world.system.counters.restarts).toBe(0);
  });

  it("may be stopped from inside their own handler", async () => {
    const world = createWorld();
    const root = world.system.start(supervisor("one-for-one", [child("a", scripted().spec)]));
    refOf(world, "root/a").tell({ kind: "stop", run: (ctx) => void ctx.supervisor.stopChild("a") });
    await world.clock.runUntilIdle();
    expect(root.childIds()).toEqual([]);
    expect(stops(world)).toEqual(["root/a:shutdown"]);
  });

  it("may be stopped from inside their last words, and by a tap that saw them start or crash", async () => {
    const world = createWorld();
    const ended: string[] = [];
    const lastWords = scripted({
      terminated: (_state, reason) => {
        ended.push(reason.kind);
        void root.stopChild("a");
      },
    });
    const root = world.system.start(supervisor("one-for-one", [child("a", lastWords.spec)]));
    world.system.tap(({ kind, path }) => {
      if (path === "root/b" && kind === "started") void root.stopChild("b");
      if (path === "root/c" && kind === "crashed") void root.stopChild("c");
    });
    refOf(world, "root/a").tell({ kind: "crash", run: boom });
    const b = scripted();
    root.startActor(child("b", b.spec));
    const c = scripted();
    root.startActor(child("c", c.spec)).tell({ kind: "crash", run: boom });
    await world.clock.runUntilIdle();
    expect(ended).toEqual(["crash"]);
    expect(lastWords.log).toEqual(["init", "crash"]);
    expect(b.log).toEqual([]);
    expect(c.log).toEqual(["init", "crash", "terminated:shutdown"]);
    expect(root.childIds()).toEqual([]);
    expect(world.system.inspect().status).toBe("running");
  });

  it("leave nothing behind, a hundred thousand of them", async () => {
    const world = createWorld();
    const root = world.system.start(supervisor("one-for-one", []));
    const { spec } = scripted({ terminated: () => {} });
    const quiet: Script = { kind: "go", run: (ctx) => void ctx.stopIfIdle() };
    for (let n = 0; n < 100_000; n++) {
      root.startActor(child(`d${n}`, spec, n % 2 === 0 ? "temporary" : "transient")).tell(quiet);
      if (n % 1000 === 0) {
        world.scheduler.drain();
        world.events.length = 0;
      }
    }
    world.scheduler.drain();
    expect(root.childIds()).toEqual([]);
    expect(world.system.inspect().children).toEqual([]);
    expect(world.system.lookup("root/d99999")).toBeUndefined();
    expect(world.clock.pendingTimers).toBe(0);
  });
});

describe("shutdown", () => {
  it("stops in reverse order, each within its own budget, then kills", async () => {
    const world = createWorld();
    world.system.start(
      supervisor("rest-for-one", [
        child("a", slow(30), "permanent", 100),
        child("hangs", slow(undefined), "permanent", 200),
        child("s", supervisor("one-for-one", [child("x", slow(40)), child("y", slow(5))])),
        child("quick", scripted().spec),
      ]),
    );
    const done = watchPromise(world.system.shutdown());
    await world.clock.runUntilIdle();
    expect(stops(world)).toEqual(["root/quick:shutdown"]);
    await world.clock.advance(45);
    expect(stops(world).slice(1)).toEqual(["root/s/y:shutdown", "root/s/x:shutdown", "root/s:shutdown"]);
    await world.clock.advance(199);
    expect(stops(world).slice(4)).toEqual([]);
    await world.clock.advance(1);
    expect(stops(world).slice(4)).toEqual(["root/hangs:killed"]);
    expect(done.settled).toEqual([]);
    await world.clock.advance(30);
    expect(stops(world).slice(5)).toEqual(["root/a:shutdown", "root:shutdown"]);
    expect(done.settled).toEqual(["ok:undefined"]);
    await expect(world.system.ended).resolves.toEqual({ kind: "shutdown" });
    expect(world.clock.pendingTimers).toBe(0);
  });

  it("kills what is below a supervisor whose budget is spent", async () => {
    const world = createWorld();
    const inner = supervisor("one-for-one", [
      child("x", slow(undefined), "permanent", Number.POSITIVE_INFINITY),
      child(
        "t",
        supervisor("one-for-one", [child("y", slow(undefined), "permanent", 1e9)]),
        "permanent",
        1e9,
      ),
    ]);
    world.system.start(supervisor("one-for-one", [child("s", inner, "permanent", 50)]));
    void world.system.shutdown();
    await world.clock.advance(49);
    expect(stops(world)).toEqual([]);
    await world.clock.advance(1);
    expect(stops(world).sort()).toEqual([
      "root/s/t/y:killed",
      "root/s/t:killed",
      "root/s/x:killed",
      "root/s:killed",
      "root:shutdown",
    ]);
    expect(world.clock.pendingTimers).toBe(0);
  });

  it("asks all children at once with stopOrder together", async () => {
    const world = createWorld();
    const children = Array.from({ length: 500 }, (_, n) => child(`c${n}`, slow(100)));
    world.system.start(supervisor("one-for-one", children, { stopOrder: "together" }));
    const done = watchPromise(world.system.shutdown());
    await world.clock.advance(100);
    expect(done.settled).toEqual(["ok:undefined"]);
  });

  it("may be asked twice, before the start, and from inside a handler", async () => {
    const world = createWorld();
    world.system.start(supervisor("one-for-one", [child("a", slow(10))]));
    refOf(world, "root/a").tell({ kind: "down", run: () => void world.system.shutdown() });
    await world.clock.runUntilIdle();
    const again = watchPromise(world.system.shutdown());
    await world.clock.advance(10);
    expect(again.settled).toEqual(["ok:undefined"]);
    const unborn = createWorld();
    await unborn.system.shutdown();
    await expect(unborn.system.ended).resolves.toEqual({ kind: "shutdown" });
    expect(() => unborn.system.start(supervisor("one-for-one", []))).toThrow();
  });

  it("gets in between the restart attempts of a child that always fails", async () => {
    const world = createWorld();
    let attempts = 0;
    const hopeless = scripted({
      init: () => {
        attempts += 1;
        boom();
      },
    });
    world.system.start(
      supervisor("one-for-one", [child("a", hopeless.spec)], { intensity: 1_000_000, periodMs: 1e9 }),
    );
    for (let n = 0; n < 10; n++) world.scheduler.step();
    expect(attempts).toBeGreaterThan(5);
    const before = attempts;
    const done = watchPromise(world.system.shutdown());
    await world.clock.runUntilIdle();
    expect(done.settled).toEqual(["ok:undefined"]);
    expect(attempts).toBe(before);
  });

  it("does not restart a child that crashes while it stops", async () => {
    const world = createWorld();
    world.system.start(supervisor("one-for-one", [child("a", scripted({ stopping: boom }).spec)]));
    void world.system.shutdown();
    await world.clock.runUntilIdle();
    expect(stops(world)).toEqual(["root/a:crash", "root:shutdown"]);
  });

  it("stops an actor whose queue is long before it has handled it all", async () => {
    const world = createWorld();
    const a = scripted();
    world.system.start(supervisor("one-for-one", [child("a", a.spec)]));
    for (let n = 0; n < 1000; n++) refOf(world, "root/a").tell({ kind: "x" });
    world.scheduler.step();
    void world.system.shutdown();
    await world.clock.runUntilIdle();
    expect(a.log.filter((kind) => kind === "x").length).toBeLessThan(1000);
    expect(a.log.filter((kind) => kind === "x").length + world.system.deadLetters.count).toBe(1000);
  });
});

describe("restart intensity", () => {
  const fragile = (intensity: number, periodMs: number) => {
    const world = createWorld();
    world.system.start(supervisor("one-for-one", [child("a", scripted().spec)], { intensity, periodMs }));
    const crash = async (): Promise<void> => {
      refOf(world, "root/a").tell({ kind: "crash", run: boom });
      await world.clock.runUntilIdle();
    };
    return { world, crash };
  };

  it("allows exactly that many restarts within the period, then gives up with a crash", async () => {
    const { world, crash } = fragile(3, 1000);
    for (let n = 0; n < 3; n++) await crash();
    expect(world.system.inspect().status).toBe("running");
    await crash();
    const reason = await world.system.ended;
    expect(reason).toMatchObject({ kind: "crash", error: { kind: "internal", cause: { message: "boom" } } });
    expect(world.system.lookup("root/a")).toBeUndefined();
  });

  it("forgets restarts older than the period", async () => {
    const { world, crash } = fragile(1, 1000);
    for (let n = 0; n < 10; n++) {
      await crash();
      await world.clock.advance(1001);
    }
    expect(world.system.inspect().status).toBe("running");
  });

  it("allows none with intensity 0", async () => {
    const { world, crash } = fragile(0, 1000);
    await crash();
    await expect(world.system.ended).resolves.toMatchObject({ kind: "crash" });
  });

  it("escalates level by level until the root gives up", async () => {
    const world = createWorld();
    let starts = 0;
    const hopeless = scripted({
      init: () => {
        starts += 1;
        boom();
      },
    });
    const nest = (inner: Parameters<typeof child>[1], id: string) =>
      supervisor("one-for-one", [child(id, inner)], { intensity: 2 });
    world.system.start(nest(nest(nest(hopeless.spec, "a"), "s"), "t"));
    await world.clock.runUntilIdle();
    await expect(world.system.ended).resolves.toMatchObject({ kind: "crash" });
    // Intensities multiply down the tree: (2 + 1) at each of three levels.
    expect(starts).toBe(27);
    expect(world.clock.pendingTimers).toBe(0);
    await world.system.shutdown();
  });

  it("stops the siblings in reverse within their budgets before it escalates", async () => {
    const world = createWorld();
    const inner = supervisor(
      "one-for-one",
      [child("a", slow(10)), child("b", scripted().spec), child("c", slow(20))],
      { intensity: 0 },
    );
    world.system.start(supervisor("one-for-one", [child("s", inner)]));
    refOf(world, "root/s/b").tell({ kind: "crash", run: boom });
    await world.clock.advance(29);
    expect(world.system.inspect().children[0]).toMatchObject({ status: "stopping", restarts: 0 });
    await world.clock.advance(1);
    expect(world.system.inspect().children[0]).toMatchObject({ status: "running", restarts: 1 });
  });
});

describe("a supervisor that is restarted", () => {
  it("keeps the handles and queues of its static children and drops the dynamic ones", async () => {
    const world = createWorld();
    const a = scripted();
    const inner = supervisor("one-for-one", [child("a", a.spec), child("bad", scripted().spec)], {
      intensity: 0,
    });
    const root = world.system.start(supervisor("one-for-one", [child("s", inner)]));
    const nested = root.child("s") as SupervisorRef;
    const dynamic = scripted();
    nested.startActor(child("d", dynamic.spec));
    const ref = refOf(world, "root/s/a");
    refOf(world, "root/s/bad").tell({ kind: "crash", run: boom });
    world.scheduler.step();
    ref.tell({ kind: "queued" });
    await world.clock.runUntilIdle();
    expect(a.log).toEqual(["init", "terminated:shutdown", "init", "queued"]);
    expect(dynamic.log).toEqual(["init", "terminated:shutdown"]);
    expect(nested.childIds()).toEqual(["a", "bad"]);
    expect(nested.startActor(child("d", scripted().spec)).path).toBe("root/s/d");
  });

  it("finishes its waiting children when the parent gives up meanwhile", async () => {
    const world = createWorld();
    const inner = supervisor("one-for-one", [child("a", scripted().spec), child("bad", scripted().spec)], {
      intensity: 0,
    });
    world.system.start(supervisor("one-for-one", [child("s", inner)], { intensity: 0 }));
    const ref = refOf(world, "root/s/a");
    refOf(world, "root/s/bad").tell({ kind: "crash", run: boom });
    const ask = watchPromise(ref.ask((reply) => ({ kind: "q", reply }), { timeoutMs: "none" }));
    await world.clock.runUntilIdle();
    await expect(world.system.ended).resolves.toMatchObject({ kind: "crash" });
    expect(ask.settled).toEqual(["error:unavailable"]);
    expect(world.system.lookup("root/s/a")).toBeUndefined();
  });
});

describe("watch", () => {
  const watching = () => {
    const world = createWorld();
    const downs: Down[] = [];
    const watcher = scripted();
    const root = world.system.start(
      supervisor("one-for-one", [child("w", watcher.spec), child("t", scripted().spec, "transient", 50)]),
    );
    const watch: Script = {
      kind: "watch",
      run: (ctx) =>
        ctx.watch(target, (down) => {
          downs.push(down);
          return { kind: `down:${down.reason.kind}` };
        }),
    };
    const target = refOf(world, "root/t");
    return { world, root, downs, watcher, watch, target, ref: refOf(world, "root/w") };
  };

  it.each([
    ["normal", (ctx: { stop(): void }) => ctx.stop()],
    ["shutdown", (ctx: { supervisor: SupervisorRef }) => void ctx.supervisor.stopChild("t")],
  ] as const)("brings one DOWN when the target ends (%s)", async (kind, run) => {
    const { world, watcher, watch, target, ref } = watching();
    ref.tell(watch);
    await world.clock.runUntilIdle();
    target.tell({ kind: "go", run });
    await world.clock.runUntilIdle();
    expect(watcher.log).toEqual(["init", "watch", `down:${kind}`]);
  });

  it("brings DOWN at once for a target that has ended, with its true reason", async () => {
    const { world, watcher, watch, target, ref } = watching();
    target.tell({ kind: "go", run: (ctx) => void ctx.supervisor.stopChild("t") });
    await world.clock.runUntilIdle();
    ref.tell(watch);
    ref.tell({
      kind: "watch-path",
      run: (ctx) => ctx.watch({ path: "root/nobody" }, () => ({ kind: "down:nobody" })),
    });
    await world.clock.runUntilIdle();
    expect(watcher.log).toEqual(["init", "watch", "watch-path", "down:shutdown", "down:nobody"]);
  });

  it("is silent while the target is only restarted", async () => {
    const { world, downs, watch, target, ref } = watching();
    ref.tell(watch);
    target.tell({ kind: "crash", run: boom });
    await world.clock.runUntilIdle();
    target.tell({ kind: "crash", run: boom });
    await world.clock.runUntilIdle();
    expect(downs).toEqual([]);
    target.tell({ kind: "stop", run: (ctx) => ctx.stop() });
    await world.clock.runUntilIdle();
    expect(downs).toEqual([{ path: "root/t", reason: { kind: "normal" } }]);
  });

  it("ends with the watcher's incarnation", async () => {
    const { world, watcher, watch, target, ref } = watching();
    ref.tell(watch);
    ref.tell({ kind: "crash", run: boom });
    await world.clock.runUntilIdle();
    target.tell({ kind: "stop", run: (ctx) => ctx.stop() });
    await world.clock.runUntilIdle();
    expect(watcher.log).toEqual(["init", "watch", "crash", "terminated:crash", "init"]);
  });

  it("works on supervisors and across a kill", async () => {
    const world = createWorld();
    const watcher = scripted();
    const root = world.system.start(supervisor("one-for-one", [child("w", watcher.spec)]));
    const target = root.startSupervisor(
      child("s", supervisor("one-for-one", [child("x", slow(undefined))]), "transient", 10),
    );
    refOf(world, "root/w").tell({
      kind: "watch",
      run: (ctx) => ctx.watch(target, (down) => ({ kind: `down:${down.reason.kind}` })),
    });
    await world.clock.runUntilIdle();
    void root.stopChild("s");
    await world.clock.advance(10);
    expect(watcher.log).toEqual(["init", "watch", "down:killed"]);
  });
});
