/**
 * The kernel's vocabulary, in OTP's words. Nothing here knows of containers, real time or I/O: a clock and a
 * scheduler are handed in, so the same actors run in the daemon and under a virtual clock in simulation.
 */
import type { Clock } from "../../core/clock.js";
import type { DaemonError } from "../../core/errors.js";
import type { Logger } from "../../core/logger.js";
import type { Outcome } from "../../core/outcome.js";

/** The answer to one ask. Settles exactly once: later calls are ignored and counted. */
export interface Reply<T> {
  readonly settled: boolean;
  resolve(value: T): void;
  reject(error: DaemonError): void;
}

/**
 * `normal` messages queue in the bounded lane. `priority` ones overtake them (exits, kills, stops) and are
 * always let in, as are an actor's own settled effects, timers and DOWN notices.
 */
export type Lane = "normal" | "priority";

export interface AskOptions {
  /** Milliseconds until the ask is rejected deadline-exceeded; "none" only for subscriptions such as Wait. */
  readonly timeoutMs: number | "none";
  /**
   * Aborting rejects the ask with `cancelled`, or with the deadline-exceeded that the signal carries. What the
   * actor has begun is not undone; a message still queued is skipped, as it is after a timeout.
   */
  readonly signal?: AbortSignal | undefined;
  /** Who sends: messages of one sender keep their order. For dead letters and the tap. */
  readonly from?: string;
}

/** Any actor, for watching and inspection. */
export interface AnyActorRef {
  readonly path: string;
}

export interface ActorRef<M> extends AnyActorRef {
  /** Sends without an answer. Never throws; a dead actor or a full mailbox makes a dead letter. */
  tell(message: M, from?: string): void;
  /** Sends a message built around a Reply. Rejects `resource-exhausted` when the mailbox is full, `unavailable` when the actor is dead or dies first. */
  ask<T>(build: (reply: Reply<T>) => M, options: AskOptions): Promise<T>;
}

export type ExitReason =
  | { readonly kind: "normal" }
  | { readonly kind: "shutdown" }
  /** Did not stop within its shutdown budget. */
  | { readonly kind: "killed" }
  | { readonly kind: "crash"; readonly error: unknown };

export interface Down {
  readonly path: string;
  readonly reason: ExitReason;
}

export interface PerformOptions {
  /** Aborts the effect's signal after this many milliseconds and settles it deadline-exceeded. */
  readonly deadlineMs?: number;
}

export interface ActorContext<M> {
  readonly self: ActorRef<M>;
  readonly path: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** Supervisor under which this actor lives. */
  readonly supervisor: SupervisorRef;
  /**
   * Runs `effect` after the handler returned; its outcome comes back as the message that `settle` builds.
   * The signal aborts when the actor ends or the deadline passes; an outcome that arrives after the actor's
   * end or restart is discarded, so an effect gives back what it holds when its signal has aborted. A handler
   * that throws or stops the actor runs none of the effects it asked for.
   */
  perform<T>(
    effect: (signal: AbortSignal) => Promise<T>,
    settle: (outcome: Outcome<T>) => M,
    options?: PerformOptions,
  ): void;
  /** (Re)starts the timer of that key: `message` arrives after `delayMs`. */
  startTimer(key: string, delayMs: number, message: M): void;
  cancelTimer(key: string): void;
  /**
   * Exactly one message, built by `onDown`, when `target` ends; at once if it has ended already. A restart is
   * not an end. This actor's own crash forgets its watches: init asks for them again.
   */
  watch(target: AnyActorRef, onDown: (down: Down) => M): void;
  /** Ends this actor (reason normal) once the current handler has returned; open asks are rejected unavailable. */
  stop(): void;
  /** As stop(), but only if no message is waiting; true when the actor will end. */
  stopIfIdle(): boolean;
}

export interface Behavior<S, M> {
  /** The kind of actor, for inspection and metrics: "container", "journal". */
  readonly kind: string;
  /** Called at start and at every restart, with a new context. Synchronous: use ctx.perform for the rest. */
  init(ctx: ActorContext<M>): S;
  /** One message at a time; returns the next state. A throw is a crash: the supervisor decides. */
  handle(state: S, message: M, ctx: ActorContext<M>): S;
  lane?(message: M): Lane;
  /** A short word for inspection. */
  phaseOf?(state: S): string;
  /**
   * Asked to stop by the supervisor. May perform effects, then must call ctx.stop() within the shutdown
   * budget. Without this function the actor stops at once.
   */
  stopping?(state: S, ctx: ActorContext<M>): S;
  /** Last words, synchronous: release what the state owns. */
  terminated?(state: S, reason: ExitReason): void;
  /** A name for a message in inspection and dead letters; default is its `kind`. */
  describe?(message: M): string;
}

export type Strategy = "one-for-one" | "one-for-all" | "rest-for-one";
/** permanent: always restarted. transient: only after a crash. temporary: never. */
export type RestartType = "permanent" | "transient" | "temporary";

export interface ActorSpec<S, M> {
  readonly type: "actor";
  readonly behavior: Behavior<S, M>;
  /** Bound of the normal lane; default 1024. */
  readonly mailboxLimit?: number;
}

export interface SupervisorSpec {
  readonly type: "supervisor";
  readonly strategy: Strategy;
  /** More than `intensity` restarts within `periodMs` end the supervisor with a crash (escalation). */
  readonly intensity: number;
  readonly periodMs: number;
  readonly children: readonly ChildSpec[];
  /**
   * `reverse` (default): children stop one after the other, the last started first. `together`: all are asked
   * at once, for many children that do not lean on one another.
   */
  readonly stopOrder?: "reverse" | "together";
}

export interface ChildSpec {
  /** Unique among its siblings; the path is `<parent>/<id>`. */
  readonly id: string;
  // biome-ignore lint/suspicious/noExplicitAny: a supervisor holds children of every state and message type
  readonly start: ActorSpec<any, any> | SupervisorSpec;
  readonly restart: RestartType;
  /** Milliseconds from the stop request to the kill. */
  readonly shutdownMs: number;
}

export interface SupervisorRef extends AnyActorRef {
  /** Starts a dynamic child, last in the order. Throws DaemonError already-exists for a live id, unavailable when stopping. */
  startActor<M>(child: ChildSpec & { readonly start: ActorSpec<unknown, M> }): ActorRef<M>;
  startSupervisor(child: ChildSpec & { readonly start: SupervisorSpec }): SupervisorRef;
  /** Stops and forgets a child; resolves when it has ended. Unknown ids are fine. */
  stopChild(id: string): Promise<void>;
  child(id: string): AnyActorRef | undefined;
  childIds(): readonly string[];
}

/** Runs queued work later, in order; the daemon's yields to I/O between slices, the simulation's draws by seed. */
export interface Scheduler {
  schedule(run: () => void): void;
}

export interface DeadLetter {
  readonly at: number;
  readonly to: string;
  readonly from: string | undefined;
  readonly message: string;
  readonly reason: "no-such-actor" | "mailbox-full" | "stopped";
}

export interface HandlingHistogram {
  /** Upper bounds in microseconds; the last bucket is unbounded. */
  readonly boundsUs: readonly number[];
  readonly counts: readonly number[];
}

export interface TreeNode {
  readonly path: string;
  readonly type: "actor" | "supervisor";
  readonly kind: string;
  readonly status: "running" | "stopping" | "restarting" | "dead";
  readonly phase: string | undefined;
  readonly strategy: Strategy | undefined;
  readonly restart: RestartType;
  readonly mailboxDepth: number;
  readonly mailboxLimit: number | undefined;
  /** What is being handled, when inspected from inside a handler. */
  readonly current: string | undefined;
  readonly handled: number;
  readonly restarts: number;
  readonly lastCrash: { readonly at: number; readonly message: string } | undefined;
  readonly handling: HandlingHistogram | undefined;
  readonly children: readonly TreeNode[];
}

export interface TapEvent {
  readonly at: number;
  readonly kind: "enqueued" | "handled" | "crashed" | "started" | "stopped" | "restarted" | "dead-letter";
  readonly path: string;
  readonly detail: string | undefined;
  readonly durationUs: number | undefined;
}

/** Totals since the system began. */
export interface SystemCounters {
  /** Handlers and inits that threw. */
  readonly crashes: number;
  /** Times an actor or a supervisor was started again. */
  readonly restarts: number;
  /** Answers to asks that were settled already (answered twice, timed out, aborted, rejected at a crash). */
  readonly lateReplies: number;
}

export interface ActorSystemOptions {
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly log: Logger;
  /** How many dead letters are kept for queries; the count never stops. Default 1000. */
  readonly deadLetterLimit?: number;
}

export interface ActorSystem {
  /** Starts the root supervisor; one per system. */
  start(root: SupervisorSpec): SupervisorRef;
  /** Settles when the root has ended: by shutdown, or by giving up (crash). */
  readonly ended: Promise<ExitReason>;
  /** Stops the tree in reverse order within the children's budgets. Idempotent. */
  shutdown(): Promise<void>;
  lookup<M>(path: string): ActorRef<M> | undefined;
  inspect(): TreeNode;
  readonly deadLetters: { readonly count: number; recent(): readonly DeadLetter[] };
  readonly counters: SystemCounters;
  /** Sees everything that happens; returns how to stop looking. A throwing tap is removed. */
  tap(listener: (event: TapEvent) => void): () => void;
}
