import { describe, expect, it } from "vitest";
import { deadlineExceeded } from "../../../../src/core/errors.js";
import { boom, oneActor, type Script, watchPromise } from "./harness.js";

describe("tell", () => {
  it("handles messages in the order they were sent", async () => {
    const { ref, log, clock } = oneActor();
    for (const kind of ["1", "2", "3"]) ref.tell({ kind });
    await clock.runUntilIdle();
    expect(log).toEqual(["init", "1", "2", "3"]);
  });

  it("never runs a handler inside the sender's call", () => {
    const { ref, log } = oneActor();
    ref.tell({ kind: "later" });
    expect(log).toEqual(["init"]);
  });

  it("lets priority messages overtake queued ones and keeps their own order", async () => {
    const { ref, log, clock } = oneActor();
    ref.tell({ kind: "1" });
    ref.tell({ kind: "p1", lane: "priority" });
    ref.tell({ kind: "2" });
    ref.tell({ kind: "p2", lane: "priority" });
    await clock.runUntilIdle();
    expect(log).toEqual(["init", "p1", "p2", "1", "2"]);
  });

  it("lets another actor in after a slice of a busy one", () => {
    const { ref, log, scheduler } = oneActor({}, { mailboxLimit: 1000 });
    for (let n = 0; n < 200; n++) ref.tell({ kind: "x" });
    scheduler.step();
    expect(log.length - 1).toBe(64);
    expect(scheduler.pending).toBe(1);
  });

  it("never throws when the lane function does, and the message still arrives", async () => {
    const { ref, log, clock } = oneActor({ lane: boom });
    ref.tell({ kind: "1" });
    await clock.runUntilIdle();
    expect(log).toEqual(["init", "1"]);
  });
});

describe("a full mailbox", () => {
  it("makes a tell a dead letter and refuses an ask with resource-exhausted", async () => {
    const { ref, system, clock, log } = oneActor({}, { mailboxLimit: 2 });
    ref.tell({ kind: "1" });
    ref.tell({ kind: "2" });
    ref.tell({ kind: "3" }, "me");
    const ask = ref.ask((reply) => ({ kind: "4", reply }), { timeoutMs: 100 });
    await expect(ask).rejects.toMatchObject({ kind: "resource-exhausted" });
    expect(system.deadLetters.recent()).toMatchObject([
      { to: "root/a", from: "me", message: "3", reason: "mailbox-full" },
    ]);
    await clock.runUntilIdle();
    expect(log).toEqual(["init", "1", "2"]);
    expect(clock.pendingTimers).toBe(0);
  });

  it("always lets in priority messages, timers and settled effects", async () => {
    const { ref, clock, log, scheduler } = oneActor({}, { mailboxLimit: 2 });
    ref.tell({
      kind: "begin",
      run: (ctx) => {
        ctx.perform(
          () => Promise.resolve(),
          () => ({ kind: "effect" }),
        );
        ctx.startTimer("t", 5, { kind: "timer" });
      },
    });
    scheduler.drain();
    ref.tell({ kind: "1" });
    ref.tell({ kind: "2" });
    clock.advanceOnly(5);
    ref.tell({ kind: "exit", lane: "priority" });
    ref.tell({ kind: "refused" });
    await new Promise((resolve) => setImmediate(resolve));
    await clock.runUntilIdle();
    expect(log).toEqual(["init", "begin", "exit", "1", "2", "timer", "effect"]);
  });
});

describe("ask", () => {
  it("brings the answer", async () => {
    const { ref, clock } = oneActor();
    const ask = ref.ask<number>((reply) => ({ kind: "q", reply, run: () => reply.resolve(7) }), {
      timeoutMs: 50,
    });
    await clock.runUntilIdle();
    await expect(ask).resolves.toBe(7);
    expect(clock.pendingTimers).toBe(0);
  });

  it("rejects deadline-exceeded at its deadline and counts the late answer", async () => {
    const { ref, clock, system } = oneActor();
    let answer: () => void = boom;
    const ask = watchPromise(
      ref.ask<number>(
        (reply) => ({
          kind: "q",
          reply,
          run: () => {
            answer = () => reply.resolve(1);
          },
        }),
        { timeoutMs: 50 },
      ),
    );
    await clock.advance(49);
    expect(ask.settled).toEqual([]);
    await clock.advance(1);
    expect(ask.settled).toEqual(["error:deadline-exceeded"]);
    answer();
    expect(system.counters.lateReplies).toBe(1);
  });

  it("skips a queued message whose asker has given up", async () => {
    const { ref, clock, log } = oneActor();
    const controller = new AbortController();
    const ask = ref.ask<number>((reply) => ({ kind: "q", reply }), {
      timeoutMs: 50,
      signal: controller.signal,
    });
    controller.abort();
    await expect(ask).rejects.toMatchObject({ kind: "cancelled" });
    await clock.runUntilIdle();
    expect(log).toEqual(["init"]);
  });

  it("rejects cancelled when its signal aborts, but does not undo what was begun", async () => {
    const { ref, clock, log } = oneActor();
    const controller = new AbortController();
    const ask = watchPromise(
      ref.ask<number>((reply) => ({ kind: "q", reply }), { timeoutMs: "none", signal: controller.signal }),
    );
    await clock.runUntilIdle();
    controller.abort(new Error("client went away"));
    await clock.runUntilIdle();
    expect(ask.settled).toEqual(["error:cancelled"]);
    expect(log).toEqual(["init", "q"]);
  });

  it("keeps a deadline that was folded into the signal", async () => {
    const { ref } = oneActor();
    const controller = new AbortController();
    controller.abort(deadlineExceeded("context deadline exceeded"));
    const ask = ref.ask<number>((reply) => ({ kind: "q", reply }), {
      timeoutMs: 50,
      signal: controller.signal,
    });
    await expect(ask).rejects.toMatchObject({ kind: "deadline-exceeded" });
  });

  it("never times out with none", async () => {
    const { ref, clock } = oneActor();
    const ask = watchPromise(ref.ask<number>((reply) => ({ kind: "q", reply }), { timeoutMs: "none" }));
    await clock.advance(1e12);
    expect(ask.settled).toEqual([]);
  });

  it("settles once: the first answer wins and later ones are counted", async () => {
    const { ref, clock, system } = oneActor();
    const ask = watchPromise(
      ref.ask<number>(
        (reply) => ({
          kind: "q",
          reply,
          run: () => {
            reply.resolve(1);
            reply.resolve(2);
            reply.reject(deadlineExceeded("no"));
          },
        }),
        { timeoutMs: 50 },
      ),
    );
    await clock.runUntilIdle();
    expect(ask.settled).toEqual(["ok:1"]);
    expect(system.counters.lateReplies).toBe(2);
  });

  it("answered later is forgotten by the actor: a crash does not touch it again", async () => {
    const { ref, clock, system } = oneActor();
    const ask = watchPromise(
      ref.ask<number>(
        (reply) => ({
          kind: "q",
          reply,
          run: (ctx) => ctx.startTimer("t", 5, { kind: "answer", run: () => reply.resolve(1) }),
        }),
        { timeoutMs: 50 },
      ),
    );
    await clock.advance(5);
    expect(ask.settled).toEqual(["ok:1"]);
    ref.tell({ kind: "crash", run: boom });
    await clock.runUntilIdle();
    expect(system.counters).toMatchObject({ crashes: 1, lateReplies: 0 });
  });

  it("rejects when the message cannot be built", async () => {
    const { ref } = oneActor();
    await expect(ref.ask(boom, { timeoutMs: 5 })).rejects.toMatchObject({ kind: "unknown", message: "boom" });
  });

  it("takes its listener off the signal once it has settled", async () => {
    const { ref, clock } = oneActor();
    const listeners = new Set<unknown>();
    const signal = {
      aborted: false,
      addEventListener: (_type: string, listener: unknown) => listeners.add(listener),
      removeEventListener: (_type: string, listener: unknown) => listeners.delete(listener),
    } as unknown as AbortSignal;
    const ask = ref.ask((reply) => ({ kind: "q", reply, run: () => reply.resolve(1) }), {
      timeoutMs: 50,
      signal,
    });
    expect(listeners.size).toBe(1);
    await clock.runUntilIdle();
    await ask;
    expect(listeners.size).toBe(0);
  });
});

describe("a crash", () => {
  it("answers the message that crashed and the ones taken earlier unavailable, and keeps the queued ones", async () => {
    const { ref, clock, log, system } = oneActor();
    const options = { timeoutMs: 1000 };
    const taken = watchPromise(ref.ask((reply) => ({ kind: "taken", reply }), options));
    const crashed = watchPromise(ref.ask((reply) => ({ kind: "crash", reply, run: boom }), options));
    const queued = watchPromise(
      ref.ask((reply) => ({ kind: "queued", reply, run: () => reply.resolve("yes") }), options),
    );
    await clock.runUntilIdle();
    expect(taken.settled).toEqual(["error:unavailable"]);
    expect(crashed.settled).toEqual(["error:unavailable"]);
    expect(queued.settled).toEqual(["ok:yes"]);
    expect(log).toEqual(["init", "taken", "crash", "terminated:crash", "init", "queued"]);
    expect(system.counters).toMatchObject({ crashes: 1, restarts: 1 });
    expect(clock.pendingTimers).toBe(0);
  });

  it("discards effects, timers and watches of the incarnation that crashed", async () => {
    const { ref, clock, log } = oneActor();
    const signals: AbortSignal[] = [];
    let land: () => void = boom;
    ref.tell({
      kind: "begin",
      run: (ctx) => {
        ctx.perform(
          (signal) => {
            signals.push(signal);
            return new Promise<void>((resolve) => {
              land = resolve;
            });
          },
          () => ({ kind: "effect" }),
        );
        ctx.startTimer("t", 10, { kind: "timer" });
      },
    });
    await clock.runUntilIdle();
    ref.tell({ kind: "crash", run: boom });
    await clock.runUntilIdle();
    expect(signals[0]?.aborted).toBe(true);
    land();
    await clock.advance(100);
    expect(log).toEqual(["init", "begin", "crash", "terminated:crash", "init"]);
  });

  it("discards own messages that were queued already when it happened", async () => {
    const { ref, clock, log, scheduler } = oneActor();
    ref.tell({ kind: "begin", run: (ctx) => ctx.startTimer("t", 10, { kind: "timer" }) });
    scheduler.drain();
    ref.tell({ kind: "crash", run: boom });
    clock.advanceOnly(10);
    await clock.runUntilIdle();
    expect(log).toEqual(["init", "begin", "crash", "terminated:crash", "init"]);
  });

  it("does not run effects that the crashing handler asked for", async () => {
    const { ref, clock } = oneActor();
    let ran = false;
    ref.tell({
      kind: "crash",
      run: (ctx) => {
        ctx.perform(
          async () => {
            ran = true;
          },
          () => ({ kind: "effect" }),
        );
        boom();
      },
    });
    await clock.runUntilIdle();
    expect(ran).toBe(false);
  });

  it("is caused by a settle or onDown function that throws, and by nothing of the sender's", async () => {
    const { ref, clock, log } = oneActor();
    ref.tell({ kind: "begin", run: (ctx) => ctx.perform(async () => 1, boom) });
    await clock.runUntilIdle();
    expect(log).toEqual(["init", "begin", "terminated:crash", "init"]);
    ref.tell({ kind: "begin", run: (ctx) => ctx.watch({ path: "nobody" }, boom) });
    await clock.runUntilIdle();
    expect(log.slice(4)).toEqual(["begin", "terminated:crash", "init"]);
  });

  it("survives last words that throw", async () => {
    const { ref, clock, log } = oneActor({ terminated: boom });
    ref.tell({ kind: "crash", run: boom });
    ref.tell({ kind: "after" });
    await clock.runUntilIdle();
    expect(log).toEqual(["init", "crash", "init", "after"]);
  });
});

describe("perform", () => {
  const effect = (run: (signal: AbortSignal) => Promise<unknown>, deadlineMs?: number): Script => ({
    kind: "begin",
    run: (ctx) =>
      ctx.perform(
        run,
        (outcome) => ({ kind: outcome.ok ? `ok:${String(outcome.value)}` : `failed:${outcome.error.kind}` }),
        deadlineMs === undefined ? {} : { deadlineMs },
      ),
  });

  it("runs after the handler returned and brings value or error as a message", async () => {
    const { ref, clock, log } = oneActor();
    ref.tell(effect(async () => 5));
    ref.tell(effect(() => Promise.reject(new Error("no"))));
    ref.tell(effect(boom));
    await clock.runUntilIdle();
    expect(log.slice(1)).toEqual(["begin", "begin", "begin", "ok:5", "failed:unknown", "failed:unknown"]);
  });

  it("settles deadline-exceeded at its deadline, aborts, and discards what comes later", async () => {
    const { ref, clock, log } = oneActor();
    let signalled: unknown;
    ref.tell(
      effect(
        (signal) =>
          new Promise((resolve) => {
            signal.addEventListener("abort", () => {
              signalled = signal.reason;
              resolve("late");
            });
          }),
        20,
      ),
    );
    await clock.advance(19);
    expect(log.slice(1)).toEqual(["begin"]);
    await clock.advance(1);
    expect(log.slice(1)).toEqual(["begin", "failed:deadline-exceeded"]);
    expect(signalled).toMatchObject({ kind: "deadline-exceeded" });
  });

  it("cancels its deadline when it finishes in time", async () => {
    const { ref, clock, log } = oneActor();
    ref.tell(effect(async () => 1, 20));
    await clock.runUntilIdle();
    expect(clock.pendingTimers).toBe(0);
    await clock.advance(50);
    expect(log.slice(1)).toEqual(["begin", "ok:1"]);
  });

  it("aborts when the actor ends and discards the outcome", async () => {
    const { ref, clock, log, system } = oneActor({}, { restart: "temporary" });
    const signals: AbortSignal[] = [];
    ref.tell(
      effect((signal) => {
        signals.push(signal);
        return new Promise((resolve) => signal.addEventListener("abort", () => resolve(1)));
      }),
    );
    await clock.runUntilIdle();
    ref.tell({ kind: "stop", run: (ctx) => ctx.stop() });
    await clock.runUntilIdle();
    expect(signals[0]?.aborted).toBe(true);
    expect(log.slice(1)).toEqual(["begin", "stop", "terminated:normal"]);
    expect(system.deadLetters.count).toBe(0);
  });
});

describe("timers", () => {
  it("fire once, restart by key, and can be cancelled", async () => {
    const { ref, clock, log } = oneActor();
    ref.tell({
      kind: "begin",
      run: (ctx) => {
        ctx.startTimer("a", 10, { kind: "a1" });
        ctx.startTimer("a", 30, { kind: "a2" });
        ctx.startTimer("b", 10, { kind: "b" });
        ctx.startTimer("c", 10, { kind: "c" });
        ctx.cancelTimer("c");
        ctx.cancelTimer("unknown");
      },
    });
    await clock.advance(29);
    expect(log.slice(1)).toEqual(["begin", "b"]);
    await clock.advance(100);
    expect(log.slice(1)).toEqual(["begin", "b", "a2"]);
  });

  it("can be taken back after firing, while the message still waits", async () => {
    const { ref, clock, log, scheduler } = oneActor();
    ref.tell({ kind: "begin", run: (ctx) => ctx.startTimer("t", 10, { kind: "timer" }) });
    scheduler.drain();
    ref.tell({ kind: "cancel", run: (ctx) => ctx.cancelTimer("t") });
    clock.advanceOnly(10);
    await clock.runUntilIdle();
    expect(log.slice(1)).toEqual(["begin", "cancel"]);
  });

  it("of an ended actor do not keep the clock busy", async () => {
    const { ref, clock } = oneActor({}, { restart: "temporary" });
    ref.tell({
      kind: "begin",
      run: (ctx) => {
        ctx.startTimer("t", 1e6, { kind: "timer" });
        ctx.stop();
      },
    });
    await clock.runUntilIdle();
    expect(clock.pendingTimers).toBe(0);
  });
});

describe("stop and stopIfIdle", () => {
  it("stop ends the actor after the handler, with its queue as dead letters and its asks unavailable", async () => {
    const { ref, clock, log, system } = oneActor({}, { restart: "transient" });
    const taken = watchPromise(ref.ask((reply) => ({ kind: "taken", reply }), { timeoutMs: 100 }));
    ref.tell({ kind: "stop", run: (ctx) => ctx.stop() });
    ref.tell({ kind: "left" });
    const queued = watchPromise(ref.ask((reply) => ({ kind: "queued", reply }), { timeoutMs: 100 }));
    await clock.runUntilIdle();
    expect(log).toEqual(["init", "taken", "stop", "terminated:normal"]);
    expect(taken.settled).toEqual(["error:unavailable"]);
    expect(queued.settled).toEqual(["error:unavailable"]);
    ref.tell({ kind: "after" });
    await expect(ref.ask((reply) => ({ kind: "x", reply }), { timeoutMs: 1 })).rejects.toMatchObject({
      kind: "unavailable",
    });
    expect(system.deadLetters.recent().map(({ message, reason }) => [message, reason])).toEqual([
      ["left", "stopped"],
      ["after", "no-such-actor"],
    ]);
    expect(system.lookup("root/a")).toBeUndefined();
  });

  it("stopIfIdle declines while a message waits, so none is lost between looking and ending", async () => {
    const { ref, clock, log } = oneActor({}, { restart: "transient" });
    const answers: boolean[] = [];
    const tryStop: Script = { kind: "try", run: (ctx) => answers.push(ctx.stopIfIdle()) };
    ref.tell(tryStop);
    ref.tell({ kind: "work" });
    ref.tell(tryStop);
    await clock.runUntilIdle();
    expect(answers).toEqual([false, true]);
    expect(log).toEqual(["init", "try", "work", "try", "terminated:normal"]);
  });

  it("stopIfIdle does not count messages that nobody wants any more", async () => {
    const { ref, clock, log } = oneActor({}, { restart: "transient" });
    const controller = new AbortController();
    ref.tell({ kind: "try", run: (ctx) => ctx.stopIfIdle() });
    const ask = watchPromise(
      ref.ask((reply) => ({ kind: "q", reply }), { timeoutMs: 10, signal: controller.signal }),
    );
    controller.abort();
    await clock.runUntilIdle();
    expect(ask.settled).toEqual(["error:cancelled"]);
    expect(log).toEqual(["init", "try", "terminated:normal"]);
  });

  it("a message told to itself after stopIfIdle said yes becomes a dead letter", async () => {
    const { ref, clock, system } = oneActor({}, { restart: "transient" });
    ref.tell({
      kind: "try",
      run: (ctx) => {
        expect(ctx.stopIfIdle()).toBe(true);
        ctx.self.tell({ kind: "too-late" });
      },
    });
    await clock.runUntilIdle();
    expect(system.deadLetters.recent()).toMatchObject([{ message: "too-late", reason: "stopped" }]);
  });

  it("stopping may work on and ends with ctx.stop, reason shutdown", async () => {
    const { system, clock, log } = oneActor({
      stopping: (state, ctx) => {
        log.push("stopping");
        ctx.perform(
          async () => 1,
          () => ({ kind: "saved", run: (inner) => inner.stop() }),
        );
        return state;
      },
    });
    await clock.runUntilIdle();
    const done = watchPromise(system.shutdown());
    await clock.runUntilIdle();
    expect(log).toEqual(["init", "stopping", "saved", "terminated:shutdown"]);
    expect(done.settled).toEqual(["ok:undefined"]);
    expect(clock.pendingTimers).toBe(0);
  });
});
