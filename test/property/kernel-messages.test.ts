/** Messages under random schedules, crashes, refusals and ends: none lost, none reordered, every ask settled once. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Behavior, Reply } from "../../src/actors/kernel/types.js";
import { unavailable } from "../../src/core/errors.js";
import { boom, child, createWorld, supervisor } from "../unit/actors/kernel/harness.js";

const receivers = 3;
const senders = 3;

interface Numbered {
  readonly kind: "numbered";
  readonly sender: number;
  readonly sequence: number;
  readonly act: "nothing" | "crash" | "stop" | "stop-if-idle";
  readonly priority: boolean;
}

const seeds = fc.integer({ min: 0, max: 2 ** 31 });

describe("tells", () => {
  it("are each handled, dead-lettered or the cause of a crash, in each sender's order", async () => {
    const step = fc.record({
      sender: fc.nat(senders - 1),
      to: fc.nat(receivers - 1),
      act: fc.constantFrom("nothing", "nothing", "nothing", "crash", "stop", "stop-if-idle") as fc.Arbitrary<
        Numbered["act"]
      >,
      priority: fc.boolean(),
      /** Scheduler steps before the next send. */
      pause: fc.nat(3),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 120 }), seeds, fc.nat(12), async (steps, seed, limit) => {
        const world = createWorld(seed);
        const seen = new Map<string, number[]>();
        let arrived = 0;
        const behavior = (name: string): Behavior<undefined, Numbered> => ({
          kind: "receiver",
          init: () => undefined,
          lane: ({ priority }) => (priority ? "priority" : "normal"),
          handle: (state, message, ctx) => {
            arrived += 1;
            const key = `${name}<${message.sender}:${message.priority}`;
            const list = seen.get(key) ?? [];
            seen.set(key, [...list, message.sequence]);
            if (message.act === "crash") boom();
            if (message.act === "stop") ctx.stop();
            if (message.act === "stop-if-idle") ctx.stopIfIdle();
            return state;
          },
        });
        world.system.start(
          supervisor(
            "one-for-one",
            Array.from({ length: receivers }, (_, n) =>
              child(
                `r${n}`,
                { type: "actor", behavior: behavior(`r${n}`), mailboxLimit: limit },
                n === 0 ? "permanent" : "transient",
              ),
            ),
            { intensity: 10_000 },
          ),
        );
        const refs = Array.from({ length: receivers }, (_, n) => world.system.lookup<Numbered>(`root/r${n}`));
        steps.forEach(({ sender, to, act, priority, pause }, sequence) => {
          refs[to]?.tell({ kind: "numbered", sender, sequence, act, priority }, `sender-${sender}`);
          for (let n = 0; n < pause; n++) world.scheduler.step();
        });
        await world.clock.runUntilIdle();
        expect(arrived + world.system.deadLetters.count).toBe(steps.length);
        for (const list of seen.values()) expect(list).toEqual([...list].sort((a, b) => a - b));
      }),
      { numRuns: 300 },
    );
  });
});

describe("asks", () => {
  type Act = "answer" | "refuse" | "twice" | "never" | "by-effect" | "by-timer" | "crash" | "stop";
  interface Ask {
    readonly kind: "ask";
    readonly act: Act;
    readonly reply: Reply<number>;
  }
  interface Answer {
    readonly kind: "answer";
    readonly reply: Reply<number>;
  }

  const behavior: Behavior<undefined, Ask | Answer> = {
    kind: "answerer",
    init: () => undefined,
    handle: (state, message, ctx) => {
      if (message.kind === "answer") {
        message.reply.resolve(1);
        return state;
      }
      const { reply, act } = message;
      const answer: Answer = { kind: "answer", reply };
      if (act === "answer" || act === "twice") reply.resolve(1);
      if (act === "refuse" || act === "twice") reply.reject(unavailable("refused"));
      if (act === "by-effect") {
        ctx.perform(
          async () => {},
          () => answer,
        );
      }
      if (act === "by-timer") ctx.startTimer("t", 7, answer);
      if (act === "crash") boom();
      if (act === "stop") ctx.stop();
      return state;
    },
  };

  it("settle exactly once whatever happens, and leave no timer or listener behind", async () => {
    const step = fc.record({
      to: fc.nat(2),
      act: fc.constantFrom(
        "answer",
        "answer",
        "refuse",
        "twice",
        "never",
        "by-effect",
        "by-timer",
        "crash",
        "stop",
      ) as fc.Arbitrary<Act>,
      timeoutMs: fc.constantFrom(1, 5, 20, "none" as const),
      abortAfter: fc.option(fc.nat(10)),
      pause: fc.nat(3),
      advance: fc.constantFrom(0, 0, 0, 1, 3),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), seeds, fc.nat(8), async (steps, seed, limit) => {
        const world = createWorld(seed);
        const start = { type: "actor", behavior, mailboxLimit: limit } as const;
        world.system.start(
          supervisor(
            "one-for-all",
            [child("a", start), child("b", start, "transient"), child("c", start, "temporary")],
            { intensity: 10_000 },
          ),
        );
        const refs = ["a", "b", "c"].map((id) => world.system.lookup<Ask | Answer>(`root/${id}`));
        let listeners = 0;
        const settlements = steps.map(() => 0);
        const aborts: { at: number; controller: AbortController }[] = [];
        for (const [index, { to, act, timeoutMs, abortAfter, pause, advance }] of steps.entries()) {
          const controller = new AbortController();
          const { signal } = controller;
          const add = signal.addEventListener.bind(signal);
          const remove = signal.removeEventListener.bind(signal);
          signal.addEventListener = (type: string, listener: () => void) => {
            listeners += 1;
            add(type, listener);
          };
          signal.removeEventListener = (type: string, listener: () => void) => {
            listeners -= 1;
            remove(type, listener);
          };
          const settle = (): void => {
            settlements[index] = (settlements[index] ?? 0) + 1;
          };
          refs[to]
            ?.ask<number>((reply) => ({ kind: "ask", act, reply }), { timeoutMs, signal })
            .then(settle, settle);
          if (abortAfter !== null) aborts.push({ at: index + abortAfter, controller });
          for (let n = 0; n < pause; n++) world.scheduler.step();
          for (const abort of aborts.filter(({ at }) => at === index)) abort.controller.abort();
          if (advance > 0) await world.clock.advance(advance);
        }
        await world.clock.advance(30);
        void world.system.shutdown();
        await world.clock.runUntilIdle();
        expect(settlements).toEqual(steps.map(() => 1));
        expect(world.clock.pendingTimers).toBe(0);
        expect(listeners).toBe(0);
      }),
      { numRuns: 200 },
    );
  });
});
