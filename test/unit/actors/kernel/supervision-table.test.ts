/** The table: strategy x restart type x how a child exits -> who is started again, and whether it stays. */
import { describe, expect, it } from "vitest";
import type { RestartType, Strategy } from "../../../../src/actors/kernel/types.js";
import { boom, child, createWorld, refOf, scripted, supervisor } from "./harness.js";

type Exit = "normal" | "crash" | "shutdown" | "killed" | "init-crash";

/** Child b of a, b, c exits. The last column: who is started again; "-" nobody, and b is gone. */
const table: readonly (readonly [Strategy, RestartType, Exit, string])[] = [
  ["one-for-one", "permanent", "normal", "b"],
  ["one-for-one", "permanent", "crash", "b"],
  ["one-for-one", "permanent", "init-crash", "b"],
  ["one-for-one", "permanent", "shutdown", "-"],
  ["one-for-one", "permanent", "killed", "-"],
  ["one-for-one", "transient", "normal", "-"],
  ["one-for-one", "transient", "crash", "b"],
  ["one-for-one", "transient", "init-crash", "b"],
  ["one-for-one", "transient", "shutdown", "-"],
  ["one-for-one", "transient", "killed", "-"],
  ["one-for-one", "temporary", "normal", "-"],
  ["one-for-one", "temporary", "crash", "-"],
  ["one-for-one", "temporary", "init-crash", "-"],
  ["one-for-one", "temporary", "shutdown", "-"],
  ["one-for-one", "temporary", "killed", "-"],
  ["one-for-all", "permanent", "normal", "abc"],
  ["one-for-all", "permanent", "crash", "abc"],
  ["one-for-all", "permanent", "init-crash", "ab"],
  ["one-for-all", "permanent", "shutdown", "-"],
  ["one-for-all", "permanent", "killed", "-"],
  ["one-for-all", "transient", "normal", "-"],
  ["one-for-all", "transient", "crash", "abc"],
  ["one-for-all", "transient", "init-crash", "ab"],
  ["one-for-all", "transient", "shutdown", "-"],
  ["one-for-all", "transient", "killed", "-"],
  ["one-for-all", "temporary", "normal", "-"],
  ["one-for-all", "temporary", "crash", "-"],
  ["one-for-all", "temporary", "init-crash", "-"],
  ["one-for-all", "temporary", "shutdown", "-"],
  ["one-for-all", "temporary", "killed", "-"],
  ["rest-for-one", "permanent", "normal", "bc"],
  ["rest-for-one", "permanent", "crash", "bc"],
  ["rest-for-one", "permanent", "init-crash", "b"],
  ["rest-for-one", "permanent", "shutdown", "-"],
  ["rest-for-one", "permanent", "killed", "-"],
  ["rest-for-one", "transient", "normal", "-"],
  ["rest-for-one", "transient", "crash", "bc"],
  ["rest-for-one", "transient", "init-crash", "b"],
  ["rest-for-one", "transient", "shutdown", "-"],
  ["rest-for-one", "transient", "killed", "-"],
  ["rest-for-one", "temporary", "normal", "-"],
  ["rest-for-one", "temporary", "crash", "-"],
  ["rest-for-one", "temporary", "init-crash", "-"],
  ["rest-for-one", "temporary", "shutdown", "-"],
  ["rest-for-one", "temporary", "killed", "-"],
];

describe.each(table)("%s, %s child, %s", (strategy, restart, exit, expected) => {
  it(`starts ${expected === "-" ? "nobody" : expected} again`, async () => {
    const world = createWorld();
    let failInit = exit === "init-crash";
    const b = scripted({
      init: () => {
        if (failInit) {
          failInit = false;
          boom();
        }
        return undefined;
      },
      // Only for the kill: never calls ctx.stop().
      ...(exit === "killed" ? { stopping: (state: unknown) => state } : {}),
    });
    const root = world.system.start(
      supervisor(strategy, [
        child("a", scripted().spec),
        child("b", b.spec, restart, 100),
        child("c", scripted().spec),
      ]),
    );
    await world.clock.runUntilIdle();
    if (exit === "normal") refOf(world, "root/b").tell({ kind: "stop", run: (ctx) => ctx.stop() });
    if (exit === "crash") refOf(world, "root/b").tell({ kind: "crash", run: boom });
    if (exit === "shutdown" || exit === "killed") void root.stopChild("b");
    await world.clock.advance(100);

    const restarted = world.events
      .filter(({ kind }) => kind === "restarted")
      .map(({ path }) => path.slice(-1));
    // An init that fails on the first start comes back as a restart; what had not begun yet just starts.
    expect(restarted.join("")).toBe(expected === "-" ? "" : expected);
    const stays = expected !== "-";
    expect(root.childIds()).toEqual(stays ? ["a", "b", "c"] : ["a", "c"]);
    for (const node of world.system.inspect().children) expect(node.status).toBe("running");
    expect(world.system.lookup("root/b") !== undefined).toBe(stays);
    expect(world.clock.pendingTimers).toBe(0);
  });
});

describe("a group restart", () => {
  it("stops in reverse, starts in order, and lets temporary siblings go", async () => {
    const world = createWorld();
    const order: string[] = [];
    const named = (name: string) =>
      scripted({
        init: () => order.push(`+${name}`),
        terminated: (_state, reason) => order.push(`-${name}:${reason.kind}`),
      }).spec;
    const root = world.system.start(
      supervisor("one-for-all", [
        child("a", named("a")),
        child("b", named("b")),
        child("t", named("t"), "temporary"),
        child("c", named("c"), "transient"),
      ]),
    );
    refOf(world, "root/b").tell({ kind: "crash", run: boom });
    await world.clock.runUntilIdle();
    expect(order).toEqual([
      ...["+a", "+b", "+t", "+c"],
      ...["-b:crash", "-c:shutdown", "-t:shutdown", "-a:shutdown"],
      ...["+a", "+b", "+c"],
    ]);
    expect(root.childIds()).toEqual(["a", "b", "c"]);
  });

  it("keeps the mailboxes and handles of the siblings", async () => {
    const world = createWorld();
    const a = scripted();
    world.system.start(supervisor("one-for-all", [child("a", a.spec), child("b", scripted().spec)]));
    const ref = refOf(world, "root/a");
    refOf(world, "root/b").tell({ kind: "crash", run: boom });
    world.scheduler.step();
    ref.tell({ kind: "queued" });
    await world.clock.runUntilIdle();
    expect(a.log).toEqual(["init", "terminated:shutdown", "init", "queued"]);
  });

  it("counts siblings that fall in the same disaster as one restart", async () => {
    const world = createWorld();
    world.system.start(
      supervisor("one-for-all", [child("a", scripted().spec), child("b", scripted().spec)], { intensity: 1 }),
    );
    refOf(world, "root/a").tell({ kind: "crash", run: boom });
    refOf(world, "root/b").tell({ kind: "crash", run: boom });
    await world.clock.runUntilIdle();
    expect(world.system.inspect().status).toBe("running");
    expect(world.system.counters).toMatchObject({ crashes: 2, restarts: 2 });
  });

  it("restarts dynamic children of the group too, in their place", async () => {
    const world = createWorld();
    const root = world.system.start(supervisor("rest-for-one", [child("a", scripted().spec)]));
    const d = scripted();
    root.startActor(child("d", d.spec));
    refOf(world, "root/a").tell({ kind: "crash", run: boom });
    await world.clock.runUntilIdle();
    expect(d.log).toEqual(["init", "terminated:shutdown", "init"]);
    expect(root.childIds()).toEqual(["a", "d"]);
  });

  it("starts a newcomer only after its elders are back", async () => {
    const world = createWorld();
    const root = world.system.start(supervisor("rest-for-one", [child("a", scripted().spec)]));
    refOf(world, "root/a").tell({ kind: "crash", run: boom });
    world.scheduler.step();
    root.startActor(child("d", scripted().spec));
    await world.clock.runUntilIdle();
    const starts = world.events.filter(({ kind }) => kind === "started" || kind === "restarted");
    expect(starts.map(({ path }) => path)).toEqual(["root", "root/a", "root/a", "root/d"]);
  });
});
