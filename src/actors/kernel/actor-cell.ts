/** Runs one actor: takes letters from its mailbox in slices, one at a time, and contains what its handlers throw. */
import { resourceExhausted, unavailable } from "../../core/errors.js";
import { Cell, type Place } from "./cell.js";
import { Histogram } from "./histogram.js";
import { Incarnation } from "./incarnation.js";
import { type Letter, Mailbox, Poison, type Token } from "./mailbox.js";
import { ActorHandle } from "./refs.js";
import type { PendingAsk } from "./reply.js";
import type { KernelRuntime } from "./runtime.js";
import type { ActorSpec, AskOptions, Behavior, ExitReason, Lane, TreeNode } from "./types.js";

/** Messages per activation: long enough to amortise the switch, short enough that a busy actor starves nobody. */
const sliceMessages = 64;
const defaultMailboxLimit = 1024;
// biome-ignore lint/suspicious/noExplicitAny: the kernel runs actors of every state and message type
type AnyBehavior = Behavior<any, any>;

export class ActorCell extends Cell {
  // biome-ignore lint/suspicious/noExplicitAny: see AnyBehavior
  readonly ref = new ActorHandle<any>(this);
  readonly #behavior: AnyBehavior;
  /** Undefined once dead, so that a kept handle pins next to nothing. */
  #mailbox: Mailbox | undefined;
  readonly #limit: number;
  #incarnation: Incarnation | undefined;
  #state: unknown;
  #initialised = false;
  #busy = false;
  #scheduled = false;
  #current: Letter | undefined;
  /** What must happen once the running handler returns. */
  #afterwards: "kill" | "end" | undefined;
  #stopping: "asked" | "told" | undefined;
  #handled = 0;
  #histogram: Histogram | undefined;
  readonly #run = (): void => this.#activate();

  constructor(
    runtime: KernelRuntime,
    place: Place,
    // biome-ignore lint/suspicious/noExplicitAny: see AnyBehavior
    spec: ActorSpec<any, any>,
  ) {
    super(runtime, place);
    this.#behavior = spec.behavior;
    this.#limit = spec.mailboxLimit ?? defaultMailboxLimit;
    this.#mailbox = new Mailbox(this.#limit);
  }

  /** True while a handler (or init, or last words) of this actor is on the stack. */
  get busy(): boolean {
    return this.#busy;
  }

  tell(message: unknown, from: string | undefined): void {
    const mailbox = this.#mailbox;
    if (mailbox === undefined) {
      this.runtime.deadLetter(this.path, from, this.#describe(message), "no-such-actor");
      return;
    }
    const lane = this.#laneOf(message);
    if (lane === "normal" && mailbox.full) {
      this.runtime.deadLetter(this.path, from, this.#describe(message), "mailbox-full");
      return;
    }
    this.#enqueue(mailbox, { message, from, ask: undefined, token: undefined }, lane);
  }

  ask(message: unknown, ask: PendingAsk, options: AskOptions): void {
    const mailbox = this.#mailbox;
    if (mailbox === undefined) {
      ask.reject(unavailable(`actor ${this.path} has ended`));
      return;
    }
    const lane = this.#laneOf(message);
    if (lane === "normal" && mailbox.full) {
      ask.reject(resourceExhausted(`mailbox of actor ${this.path} is full: ${mailbox.limit} messages wait`));
      return;
    }
    ask.arm(options);
    this.#enqueue(mailbox, { message, from: options.from, ask, token: undefined }, lane);
  }

  /** Lets in a message of the actor's own making, whatever waits; dropped once `token` has died. */
  deliverOwn(build: () => unknown, token: Token): void {
    const mailbox = this.#mailbox;
    if (mailbox === undefined || !token.live) return;
    let letter: Letter;
    let lane: Lane = "priority";
    try {
      const message = build();
      letter = { message, from: this.path, ask: undefined, token };
      lane = this.#laneOf(message);
    } catch (error) {
      // Crashing here could be in the middle of one of its own handlers: let it crash at its next turn.
      letter = { message: undefined, from: this.path, ask: undefined, token: new Poison(error, token) };
    }
    this.#enqueue(mailbox, letter, lane);
  }

  mailboxIdle(): boolean {
    return this.#mailbox?.idle() ?? true;
  }

  /** ctx.stop(): after the handler, or now when none runs. */
  stopSelf(): void {
    this.#afterwards ??= "end";
    if (!this.#busy) this.#settleAfterwards();
  }

  protected override begin(): boolean {
    const incarnation = new Incarnation(this);
    this.#incarnation = incarnation;
    this.#initialised = false;
    this.#stopping = undefined;
    this.#afterwards = undefined;
    this.#busy = true;
    try {
      this.#state = this.#behavior.init(incarnation);
      this.#initialised = true;
    } catch (error) {
      this.#crash(error, undefined);
      return true;
    }
    this.#busy = false;
    this.#afterHandler(incarnation);
    if (this.isAlive() && (this.#mailbox?.depth ?? 0) > 0) this.#schedule();
    return true;
  }

  protected override beginStop(): void {
    if (this.#behavior.stopping === undefined) {
      this.stopSelf();
      return;
    }
    this.#stopping = "asked";
    this.#schedule();
  }

  protected override beginKill(): void {
    this.#afterwards = "kill";
    if (!this.#busy) this.#settleAfterwards();
  }

  protected override release(_reason: ExitReason): void {
    const mailbox = this.#mailbox;
    this.#mailbox = undefined;
    this.#histogram = undefined;
    for (let letter = mailbox?.shift(); letter !== undefined; letter = mailbox?.shift()) {
      if (letter.ask !== undefined) {
        letter.ask.reject(unavailable(`actor ${this.path} ended before it handled the message`));
      } else if (letter.token === undefined) {
        this.runtime.deadLetter(this.path, letter.from, this.#describe(letter.message), "stopped");
      }
    }
  }

  override inspect(): TreeNode {
    return {
      path: this.path,
      type: "actor",
      kind: this.#behavior.kind,
      status: this.statusWord,
      phase: this.#phase(),
      strategy: undefined,
      restart: this.place.restart,
      mailboxDepth: this.#mailbox?.depth ?? 0,
      mailboxLimit: this.#limit,
      current: this.#current === undefined ? undefined : this.#describe(this.#current.message),
      handled: this.#handled,
      restarts: this.restarts,
      lastCrash: this.lastCrash,
      handling: this.#histogram?.snapshot(),
      children: [],
    };
  }

  #enqueue(mailbox: Mailbox, letter: Letter, lane: Lane): void {
    mailbox.push(letter, lane);
    if (this.runtime.taps.active) {
      this.runtime.observe("enqueued", this.path, this.#describe(letter.message));
    }
    if (this.life === "alive") this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.runtime.scheduler.schedule(this.#run);
  }

  #activate(): void {
    this.#scheduled = false;
    const incarnation = this.#incarnation;
    const { clock } = this.runtime;
    let startedAt = clock.monotonicMs();
    for (let turn = 0; turn < sliceMessages; turn++) {
      // Any handler may end this incarnation, and a restart within the slice must start its own.
      if (incarnation === undefined || !incarnation.live || this.life !== "alive") return;
      if (this.#stopping === "asked") {
        this.#tellStopping(incarnation);
        continue;
      }
      const letter = this.#mailbox?.shift();
      if (letter === undefined) return;
      startedAt = this.#handle(incarnation, letter, startedAt);
    }
    if (incarnation?.live && ((this.#mailbox?.depth ?? 0) > 0 || this.#stopping === "asked"))
      this.#schedule();
  }

  /** Handles one letter; returns the time, which is when the next one starts. */
  #handle(incarnation: Incarnation, letter: Letter, startedAt: number): number {
    const { clock, taps } = this.runtime;
    const { ask, token } = letter;
    this.#current = letter;
    this.#busy = true;
    try {
      if (token !== undefined) {
        if (token instanceof Poison) throw token.error;
        incarnation.timerHandled(token);
      }
      this.#state = this.#behavior.handle(this.#state, letter.message, incarnation);
    } catch (error) {
      this.#crash(error, letter);
      return startedAt;
    }
    this.#busy = false;
    this.#current = undefined;
    this.#handled += 1;
    if (ask !== undefined && !ask.settled) incarnation.hold(ask);
    const endedAt = clock.monotonicMs();
    const durationUs = (endedAt - startedAt) * 1000;
    this.#histogram ??= new Histogram();
    this.#histogram.record(durationUs);
    if (taps.active) this.runtime.observe("handled", this.path, this.#describe(letter.message), durationUs);
    return this.#afterHandler(incarnation) ? clock.monotonicMs() : endedAt;
  }

  #tellStopping(incarnation: Incarnation): void {
    this.#stopping = "told";
    this.#busy = true;
    try {
      this.#state = this.#behavior.stopping?.(this.#state, incarnation);
    } catch (error) {
      this.#crash(error, undefined);
      return;
    }
    this.#busy = false;
    this.#afterHandler(incarnation);
  }

  /** Ends or launches what the handler asked for; true when effects were launched. */
  #afterHandler(incarnation: Incarnation): boolean {
    if (this.#afterwards !== undefined) {
      this.#settleAfterwards();
      return false;
    }
    return incarnation.launchRequested();
  }

  #settleAfterwards(): void {
    const what = this.#afterwards;
    this.#afterwards = undefined;
    if (!this.isAlive() || what === undefined) return;
    if (what === "kill") this.#endIncarnation({ kind: "killed" });
    else this.#endIncarnation({ kind: this.stopMode === undefined ? "normal" : "shutdown" });
  }

  #crash(error: unknown, letter: Letter | undefined): void {
    this.#busy = false;
    this.#current = undefined;
    this.runtime.counters.crashes += 1;
    this.recordCrash(error);
    const what = letter === undefined ? undefined : this.#describe(letter.message);
    this.runtime.log.error({ err: error, actor: this.path, message: what }, "actor crashed");
    if (this.runtime.taps.active) this.runtime.observe("crashed", this.path, what);
    letter?.ask?.reject(unavailable(`actor ${this.path} crashed while handling ${what}`, { cause: error }));
    this.#endIncarnation({ kind: "crash", error });
  }

  #endIncarnation(reason: ExitReason): void {
    // A tap that saw the crash may have stopped the actor already.
    if (!this.isAlive()) return;
    const incarnation = this.#incarnation;
    const state = this.#state;
    this.#incarnation = undefined;
    this.#state = undefined;
    this.#stopping = undefined;
    this.#afterwards = undefined;
    this.life = "waiting";
    incarnation?.close();
    if (this.#initialised && this.#behavior.terminated !== undefined) {
      this.#busy = true;
      try {
        this.#behavior.terminated(state, reason);
      } catch (error) {
        this.runtime.log.error({ err: error, actor: this.path }, "last words of an actor threw");
      }
      this.#busy = false;
    }
    this.#initialised = false;
    incarnation?.rejectOpenAsks(`ended without an answer (${reason.kind})`);
    this.incarnationEnded(reason);
  }

  #laneOf(message: unknown): Lane {
    if (this.#behavior.lane === undefined) return "normal";
    try {
      return this.#behavior.lane(message);
    } catch {
      // A sender must not suffer for a behaviour's fault; the handler will meet the message and may crash.
      return "normal";
    }
  }

  #describe(message: unknown): string {
    try {
      if (this.#behavior.describe !== undefined) return this.#behavior.describe(message);
      const kind: unknown = (message as { readonly kind?: unknown } | null | undefined)?.kind;
      return typeof kind === "string" ? kind : typeof message;
    } catch {
      return "(describe threw)";
    }
  }

  #phase(): string | undefined {
    if (!this.#initialised || this.#behavior.phaseOf === undefined) return undefined;
    try {
      return this.#behavior.phaseOf(this.#state);
    } catch {
      return "(phaseOf threw)";
    }
  }
}
