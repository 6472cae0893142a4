import { describe, expect, it } from "vitest";
import { createActorSystem } from "../../../../src/actors/kernel/system.js";
import type { TapEvent, TreeNode } from "../../../../src/actors/kernel/types.js";
import { type Logger, silentLogger } from "../../../../src/core/logger.js";
import { SeededScheduler } from "../../../support/seeded-scheduler.js";
import { VirtualClock } from "../../../support/virtual-clock.js";
import { boom, child, createWorld, oneActor, refOf, scripted, supervisor } from "./harness.js";

describe("inspect", () => {
  it("shows the tree with everything about an actor, also from inside its handler", async () => {
    const world = createWorld();
    const actor = scripted({ phaseOf: () => "busy", describe: (message) => `<${message.kind}>` }, 7);
    const inner = supervisor("rest-for-one", [child("a", actor.spec, "transient")]);
    world.system.start(supervisor("one-for-one", [child("s", inner)]));
    const ref = refOf(world, "root/s/a");
    ref.tell({ kind: "crash", run: boom });
    await world.clock.advance(5);
    let seen: TreeNode | undefined;
    ref.tell({
      kind: "look",
      run: () => {
        seen = world.system.inspect();
      },
    });
    ref.tell({ kind: "waits" });
    await world.clock.runUntilIdle();
    expect(seen).toMatchObject({
      path: "root",
      type: "supervisor",
      strategy: "one-for-one",
      status: "running",
    });
    expect(seen?.children[0]).toMatchObject({ path: "root/s", kind: "supervisor", strategy: "rest-for-one" });
    expect(seen?.children[0]?.children[0]).toMatchObject({
      path: "root/s/a",
      type: "actor",
      kind: "scripted",
      status: "running",
      phase: "busy",
      restart: "transient",
      mailboxDepth: 1,
      mailboxLimit: 7,
      current: "<look>",
      restarts: 1,
      lastCrash: { at: world.clock.now() - 5, message: "boom" },
    });
    const after = world.system.inspect().children[0]?.children[0];
    expect(after).toMatchObject({ handled: 2, current: undefined, mailboxDepth: 0 });
    expect(after?.handling?.counts.reduce((sum, count) => sum + count, 0)).toBe(2);
    expect(after?.handling?.counts.length).toBe((after?.handling?.boundsUs.length ?? 0) + 1);
  });

  it("survives phaseOf and describe functions that throw", async () => {
    const { system, ref, clock } = oneActor({ phaseOf: boom, describe: boom }, { mailboxLimit: 0 });
    ref.tell({ kind: "x" });
    await clock.runUntilIdle();
    expect(system.inspect().children[0]?.phase).toBe("(phaseOf threw)");
    expect(system.deadLetters.recent()[0]?.message).toBe("(describe threw)");
  });

  it("has a root before the start and after the end", async () => {
    const world = createWorld();
    expect(world.system.inspect().status).toBe("dead");
    world.system.start(supervisor("one-for-one", []));
    void world.system.shutdown();
    await world.clock.runUntilIdle();
    expect(world.system.inspect()).toMatchObject({ status: "dead", children: [] });
  });

  it("sorts handling times into buckets by the clock that was handed in", async () => {
    const { system, ref, clock } = oneActor();
    ref.tell({ kind: "slow", run: () => clock.advanceOnly(3) });
    ref.tell({ kind: "quick" });
    await clock.runUntilIdle();
    const handling = system.inspect().children[0]?.handling;
    const bucket = handling?.boundsUs.findIndex((bound) => bound >= 3000) ?? -1;
    expect(handling?.counts[bucket]).toBe(1);
    expect(handling?.counts[0]).toBe(1);
  });
});

describe("dead letters", () => {
  it("are counted for ever and kept up to the limit, the newest last", () => {
    const scheduler = new SeededScheduler();
    const clock = new VirtualClock({ scheduler });
    const system = createActorSystem({ clock, scheduler, log: silentLogger, deadLetterLimit: 3 });
    system.start(supervisor("one-for-one", [child("a", scripted({}, 0).spec)]));
    for (let n = 0; n < 10; n++) system.lookup<{ kind: string }>("root/a")?.tell({ kind: `m${n}` }, "me");
    expect(system.deadLetters.count).toBe(10);
    expect(system.deadLetters.recent().map(({ message }) => message)).toEqual(["m7", "m8", "m9"]);
    expect(system.deadLetters.recent()[0]).toEqual({
      at: clock.now(),
      to: "root/a",
      from: "me",
      message: "m7",
      reason: "mailbox-full",
    });
  });
});

describe("a tap", () => {
  it("sees an actor's life in order and nothing after it was taken off", async () => {
    const { system, ref, clock } = oneActor({}, { mailboxLimit: 1, restart: "transient" });
    const seen: string[] = [];
    const off = system.tap(({ kind, detail }) => seen.push(`${kind}:${detail ?? ""}`));
    ref.tell({ kind: "crash", run: boom });
    ref.tell({ kind: "too much" });
    await clock.runUntilIdle();
    ref.tell({ kind: "stop", run: (ctx) => ctx.stop() });
    await clock.runUntilIdle();
    off();
    off();
    void system.shutdown();
    await clock.runUntilIdle();
    expect(seen).toEqual([
      "enqueued:crash",
      "dead-letter:too much: mailbox-full",
      "crashed:crash",
      "restarted:",
      "enqueued:stop",
      "handled:stop",
      "stopped:normal",
    ]);
  });

  it("that throws is removed, and the others go on", async () => {
    const { system, ref, clock, events } = oneActor();
    let calls = 0;
    system.tap(() => {
      calls += 1;
      boom();
    });
    const before = events.length;
    ref.tell({ kind: "1" });
    await clock.runUntilIdle();
    expect(calls).toBe(1);
    expect(events.slice(before).map(({ kind }: TapEvent) => kind)).toEqual(["enqueued", "handled"]);
  });
});

describe("the log", () => {
  it("names child, reason, restart count and decision", async () => {
    const lines: Record<string, unknown>[] = [];
    const record = (fields: Record<string, unknown>, message: string): void => {
      lines.push({ ...fields, message });
    };
    const log: Logger = { child: () => log, error: record, warn: record, info: record, debug: record };
    const scheduler = new SeededScheduler();
    const system = createActorSystem({ clock: new VirtualClock({ scheduler }), scheduler, log });
    system.start(supervisor("one-for-one", [child("a", scripted().spec)], { intensity: 1 }));
    system.lookup<unknown>("root/a")?.tell({ kind: "crash", run: boom });
    system.lookup<unknown>("root/a")?.tell({ kind: "crash", run: boom });
    scheduler.drain();
    const bySupervisor = lines.filter((line) => line.supervisor === "root");
    expect(bySupervisor).toMatchObject([
      { child: "a", reason: "crash", restarts: 1, decision: "one-for-one", message: "restarting child" },
      { child: "a", reason: "crash", decision: "escalate", message: "restart intensity exceeded" },
    ]);
  });
});
