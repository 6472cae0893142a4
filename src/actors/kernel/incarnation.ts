/**
 * One life of an actor, from init to its crash or end, and the context its handlers see. It owns everything
 * that must not outlive it: effects in flight, timers, watches, and asks taken but not answered.
 */
import type { Clock, Timer } from "../../core/clock.js";
import { cancelled, deadlineExceeded, unavailable } from "../../core/errors.js";
import type { Logger } from "../../core/logger.js";
import { failed, type Outcome, succeeded } from "../../core/outcome.js";
import type { ActorCell } from "./actor-cell.js";
import type { Cell, Watcher } from "./cell.js";
import { setLongTimer } from "./long-timer.js";
import type { Token } from "./mailbox.js";
import { cellOf } from "./refs.js";
import type { PendingAsk } from "./reply.js";
import type { ActorContext, ActorRef, AnyActorRef, Down, PerformOptions, SupervisorRef } from "./types.js";

interface Effect {
  readonly run: (signal: AbortSignal) => Promise<unknown>;
  readonly settle: (outcome: Outcome<never>) => unknown;
  readonly deadlineMs: number | undefined;
}

interface Flight {
  readonly controller: AbortController;
  readonly settle: Effect["settle"];
  timer: Timer | undefined;
}

class KeyedTimer implements Token {
  live = true;
  timer: Timer | undefined;
  constructor(readonly key: string) {}
}

class Watch implements Watcher {
  constructor(
    readonly incarnation: Incarnation,
    readonly target: Cell | undefined,
    readonly onDown: (down: Down) => unknown,
  ) {}

  down(down: Down): void {
    this.incarnation.watchFired(this, down);
  }
}

// biome-ignore lint/suspicious/noExplicitAny: the kernel runs actors of every message type
export class Incarnation implements ActorContext<any>, Token {
  live = true;
  #log: Logger | undefined;
  #requested: Effect[] | undefined;
  #flights: Set<Flight> | undefined;
  #timers: Map<string, KeyedTimer> | undefined;
  #watches: Set<Watch> | undefined;
  #openAsks: Set<PendingAsk> | undefined;

  constructor(readonly cell: ActorCell) {}

  // biome-ignore lint/suspicious/noExplicitAny: see the class
  get self(): ActorRef<any> {
    return this.cell.ref;
  }

  get path(): string {
    return this.cell.path;
  }

  get clock(): Clock {
    return this.cell.runtime.clock;
  }

  get log(): Logger {
    // Made on first use: a child logger per actor would cost more than most actors.
    this.#log ??= this.cell.runtime.log.child({ actor: this.path });
    return this.#log;
  }

  get supervisor(): SupervisorRef {
    const { parent } = this.cell.place;
    if (parent === undefined) throw new Error(`actor ${this.path} has no supervisor`);
    return parent.ref;
  }

  perform<T>(
    effect: (signal: AbortSignal) => Promise<T>,
    settle: (outcome: Outcome<T>) => unknown,
    options?: PerformOptions,
  ): void {
    if (!this.live) return;
    const request: Effect = { run: effect, settle, deadlineMs: options?.deadlineMs };
    if (!this.cell.busy) {
      this.#launch(request);
      return;
    }
    this.#requested ??= [];
    this.#requested.push(request);
  }

  startTimer(key: string, delayMs: number, message: unknown): void {
    if (!this.live) return;
    this.cancelTimer(key);
    const entry = new KeyedTimer(key);
    this.#timers ??= new Map();
    this.#timers.set(key, entry);
    // The entry stays in the map until its message is handled, so that cancelTimer also takes back a message
    // that has fired and still waits in the mailbox.
    entry.timer = setLongTimer(this.clock, delayMs, () => {
      if (entry.live) this.cell.deliverOwn(() => message, entry);
    });
  }

  cancelTimer(key: string): void {
    const entry = this.#timers?.get(key);
    if (entry === undefined) return;
    entry.live = false;
    entry.timer?.cancel();
    this.#timers?.delete(key);
  }

  /** The message of a timer is being handled: its key is free again. */
  timerHandled(token: Token): void {
    if (token instanceof KeyedTimer && this.#timers?.get(token.key) === token) this.#timers.delete(token.key);
  }

  watch(target: AnyActorRef, onDown: (down: Down) => unknown): void {
    if (!this.live) return;
    const cell = cellOf(target) ?? this.cell.runtime.cells.get(target.path);
    const watch = new Watch(this, cell, onDown);
    this.#watches ??= new Set();
    this.#watches.add(watch);
    if (cell === undefined) watch.down({ path: target.path, reason: { kind: "normal" } });
    else cell.addWatcher(watch);
  }

  watchFired(watch: Watch, down: Down): void {
    if (!this.#watches?.delete(watch)) return;
    this.cell.deliverOwn(() => watch.onDown(down), this);
  }

  stop(): void {
    if (this.live) this.cell.stopSelf();
  }

  stopIfIdle(): boolean {
    if (!this.live || !this.cell.mailboxIdle()) return false;
    this.cell.stopSelf();
    return true;
  }

  /** The handler took this ask and has not answered yet. */
  hold(ask: PendingAsk): void {
    this.#openAsks ??= new Set();
    ask.heldBy(this.#openAsks);
  }

  /** Runs what the handler asked for; false when that was nothing. */
  launchRequested(): boolean {
    const requested = this.#requested;
    if (requested === undefined) return false;
    this.#requested = undefined;
    for (const request of requested) if (this.live) this.#launch(request);
    return true;
  }

  /** Ends it: nothing of this incarnation reaches the actor any more. */
  close(): void {
    this.live = false;
    this.#requested = undefined;
    for (const entry of this.#timers?.values() ?? []) {
      entry.live = false;
      entry.timer?.cancel();
    }
    this.#timers = undefined;
    for (const watch of this.#watches ?? []) watch.target?.removeWatcher(watch);
    this.#watches = undefined;
    const flights = this.#flights;
    this.#flights = undefined;
    for (const flight of flights ?? []) {
      flight.timer?.cancel();
      flight.controller.abort(cancelled(`actor ${this.path} ended`));
    }
  }

  rejectOpenAsks(why: string): void {
    const open = this.#openAsks;
    this.#openAsks = undefined;
    // The error is built only when somebody waits: its stack trace is the dearest part of a restart.
    for (const ask of [...(open ?? [])]) ask.reject(unavailable(`actor ${this.path} ${why}`));
  }

  #launch(request: Effect): void {
    const flight: Flight = { controller: new AbortController(), settle: request.settle, timer: undefined };
    this.#flights ??= new Set();
    this.#flights.add(flight);
    if (request.deadlineMs !== undefined) {
      flight.timer = setLongTimer(this.clock, request.deadlineMs, () => {
        const error = deadlineExceeded(
          `effect of actor ${this.path} did not finish within ${request.deadlineMs} ms`,
        );
        // Settled before the abort, so that the effect's own answer to the abort comes too late to count.
        this.#land(flight, failed(error));
        flight.controller.abort(error);
      });
    }
    let running: Promise<unknown>;
    try {
      running = Promise.resolve(request.run(flight.controller.signal));
    } catch (error) {
      running = Promise.reject(error);
    }
    running.then(
      (value) => this.#land(flight, succeeded(value)),
      (error: unknown) => this.#land(flight, failed(error)),
    );
  }

  #land(flight: Flight, outcome: Outcome<unknown>): void {
    if (!this.#flights?.delete(flight)) return;
    flight.timer?.cancel();
    this.cell.deliverOwn(() => flight.settle(outcome as Outcome<never>), this);
  }
}
