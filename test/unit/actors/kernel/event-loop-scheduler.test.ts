import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { createActorSystem } from "../../../../src/actors/kernel/system.js";
import type { ActorSpec } from "../../../../src/actors/kernel/types.js";
import { systemClock } from "../../../../src/core/clock.js";
import { createEventLoopScheduler } from "../../../../src/core/event-loop-scheduler.js";
import { silentLogger } from "../../../../src/core/logger.js";
import { child, supervisor } from "./harness.js";

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("the event-loop scheduler", () => {
  it("runs work in order, never within schedule, and an idle one before the loop turns", async () => {
    const scheduler = createEventLoopScheduler();
    await turn();
    const order: string[] = [];
    setImmediate(() => order.push("loop turned"));
    scheduler.schedule(() => order.push("1"));
    scheduler.schedule(() => order.push("2"));
    order.push("sync");
    await Promise.resolve();
    expect(order).toEqual(["sync", "1", "2"]);
    await turn();
    expect(order.at(-1)).toBe("loop turned");
  });

  it("lets timers and I/O in while work never ends", async () => {
    const scheduler = createEventLoopScheduler();
    let running = true;
    let runs = 0;
    const again = (): void => {
      runs += 1;
      if (running) scheduler.schedule(again);
    };
    scheduler.schedule(again);
    for (let turns = 0; turns < 5; turns++) await new Promise<void>((resolve) => setTimeout(resolve, 1));
    running = false;
    expect(runs).toBeGreaterThan(5);
  });

  it("lets the loop turn while promises keep waking it", async () => {
    const scheduler = createEventLoopScheduler();
    let running = true;
    const again = (): void => {
      if (running) void Promise.resolve().then(() => scheduler.schedule(again));
    };
    scheduler.schedule(again);
    await new Promise<void>((resolve) => setTimeout(resolve, 5));
    running = false;
  });

  it("keeps the rest when one piece of work throws", async () => {
    const scheduler = createEventLoopScheduler();
    const thrown = new Promise<unknown>((resolve) => {
      const listeners = process.listeners("uncaughtException");
      process.removeAllListeners("uncaughtException");
      process.once("uncaughtException", (error) => {
        for (const listener of listeners) process.on("uncaughtException", listener);
        resolve(error);
      });
    });
    let ran = false;
    scheduler.schedule(() => {
      throw new Error("boom");
    });
    scheduler.schedule(() => {
      ran = true;
    });
    await expect(thrown).resolves.toMatchObject({ message: "boom" });
    await turn();
    await turn();
    expect(ran).toBe(true);
    expect(scheduler.pending).toBe(0);
  });
});

describe("a million messages", () => {
  it("from several senders arrive without loss and in each sender's order", async () => {
    const system = createActorSystem({
      clock: systemClock,
      scheduler: createEventLoopScheduler(),
      log: silentLogger,
    });
    const senders = 8;
    const perSender = 125_000;
    const last = new Array<number>(senders).fill(-1);
    let received = 0;
    let finish: () => void = () => {};
    const finished = new Promise<void>((resolve) => {
      finish = resolve;
    });
    interface Numbered {
      readonly sender: number;
      readonly sequence: number;
    }
    const receiver: ActorSpec<undefined, Numbered> = {
      type: "actor",
      mailboxLimit: senders * perSender,
      behavior: {
        kind: "receiver",
        init: () => undefined,
        handle: (state, { sender, sequence }) => {
          // A gap or a swap is a crash, and the root gives up at the first.
          if (sequence !== (last[sender] as number) + 1) throw new Error(`sender ${sender}: ${sequence}`);
          last[sender] = sequence;
          received += 1;
          if (received === senders * perSender) finish();
          return state;
        },
      },
    };
    /** Sends in bursts of varying size, a self-message between two bursts. */
    const sender = (index: number): ActorSpec<number, "go"> => ({
      type: "actor",
      behavior: {
        kind: "sender",
        init: (ctx) => {
          ctx.self.tell("go");
          return 0;
        },
        handle: (sent, _go, ctx) => {
          const until = Math.min(perSender, sent + 1 + ((sent * 7 + index * 13) % 200));
          for (let sequence = sent; sequence < until; sequence++) {
            system.lookup<Numbered>("root/receiver")?.tell({ sender: index, sequence }, ctx.path);
          }
          if (until < perSender) ctx.self.tell("go");
          return until;
        },
      },
    });
    system.start(
      supervisor(
        "one-for-one",
        [
          child("receiver", receiver),
          ...Array.from({ length: senders }, (_, n) => child(`s${n}`, sender(n))),
        ],
        { intensity: 0 },
      ),
    );
    const outcome = await Promise.race([finished.then(() => "all received"), system.ended]);
    expect(outcome).toBe("all received");
    expect(last).toEqual(new Array<number>(senders).fill(perSender - 1));
    expect(system.deadLetters.count).toBe(0);
    await system.shutdown();
  }, 30_000);
});

describe("the kernel", () => {
  it("takes time and scheduling only from what is handed in", () => {
    const folder = new URL("../../../../src/actors/kernel/", import.meta.url);
    const files = [
      "actor-cell",
      "cell",
      "incarnation",
      "mailbox",
      "reply",
      "runtime",
      "supervisor-cell",
      "system",
    ];
    for (const file of files) {
      const text = readFileSync(new URL(`${file}.ts`, folder), "utf8");
      expect(text).not.toMatch(
        /\bDate\b|setTimeout|setImmediate|setInterval|performance\.|queueMicrotask|nextTick/,
      );
    }
  });
});
