/**
 * Keeps children alive: starts them in order, restarts by strategy within its intensity, stops in reverse.
 * Children report synchronously and are answered in a later turn of the scheduler, so that no handler ever has
 * its neighbours change under it, and a stop request gets in between two restart attempts.
 */
import { internal, unavailable } from "../../core/errors.js";
import { ActorCell } from "./actor-cell.js";
import { Cell, type Place, placeOf } from "./cell.js";
import { checkChildren } from "./child-specs.js";
import { SupervisorHandle } from "./refs.js";
import { RestartPlan } from "./restart-plan.js";
import { RestartWindow } from "./restart-window.js";
import type { KernelRuntime } from "./runtime.js";
import type { ChildSpec, ExitReason, SupervisorSpec, TreeNode } from "./types.js";

/** Steps of a plan per activation that need no yield: stops that are done at once. */
const sliceSteps = 256;

interface Ending {
  reason: ExitReason;
  /** Children of the spec wait, with their mailboxes, for this supervisor's own restart. */
  keep: boolean;
  /** In starting order, so the last is stopped first. */
  readonly queue: Cell[];
}

export class SupervisorCell extends Cell {
  readonly ref: SupervisorHandle;
  /** Every child that has not ended, in starting order. */
  children = new Map<string, Cell>();
  readonly #spec: SupervisorSpec;
  readonly #plan: RestartPlan;
  readonly #window: RestartWindow;
  /** Set while every child is being stopped: how this incarnation will end. */
  #ending: Ending | undefined;
  readonly #awaitedStops = new Set<Cell>();
  #awaitedStart: Cell | undefined;
  /** False until the children of the spec are up for the first time in this incarnation. */
  #complete = false;
  #scheduled = false;
  #nextOrder: number;
  readonly #run = (): void => {
    this.#scheduled = false;
    this.#step();
  };

  constructor(runtime: KernelRuntime, place: Place, spec: SupervisorSpec) {
    super(runtime, place);
    this.ref = new SupervisorHandle(this);
    this.#spec = spec;
    this.#plan = new RestartPlan(spec.strategy);
    this.#window = new RestartWindow(spec.intensity, spec.periodMs);
    this.#nextOrder = spec.children.length;
    this.#fillStatic();
  }

  startChild(child: ChildSpec): Cell {
    checkChildren(this.path, [child], this.runtime.cells);
    if (this.life !== "alive" || this.#ending !== undefined || this.stopMode !== undefined) {
      throw unavailable(`supervisor ${this.path} is not running`);
    }
    const cell = this.#create(child, this.#nextOrder++, false);
    // While a group is being restarted the newcomer, last in the order, waits for its elders.
    if (this.#spec.strategy !== "one-for-one" && !this.#settled()) this.#plan.addStart(cell);
    else this.#start(cell);
    return cell;
  }

  stopChild(id: string): Promise<void> {
    const cell = this.children.get(id);
    if (cell === undefined) return Promise.resolve();
    const ended = new Promise<void>((resolve) => cell.onEnd(() => resolve()));
    cell.requestStop("end");
    return ended;
  }

  /** A child's incarnation is over and its restart type wants another. */
  childDown(cell: Cell, reason: ExitReason): void {
    this.#awaitedStops.delete(cell);
    if (this.#awaitedStart === cell) this.#awaitedStart = undefined;
    this.#schedule();
    if (this.life !== "alive" || this.#ending !== undefined) return;
    const err = reason.kind === "crash" ? reason.error : undefined;
    const fields = { supervisor: this.path, child: cell.place.id, reason: reason.kind, err };
    // It fell while its group was already to be restarted: one restart covers both.
    if (this.#plan.covers(cell)) return;
    const now = this.runtime.clock.monotonicMs();
    if (this.#window.admit(now)) {
      this.#plan.addRestart(cell, this.children.values(), !this.#complete);
      const restarts = this.#window.count;
      this.runtime.log.warn({ ...fields, restarts, decision: this.#spec.strategy }, "restarting child");
      return;
    }
    const { intensity, periodMs } = this.#spec;
    this.runtime.log.error(
      { ...fields, intensity, periodMs, decision: "escalate" },
      "restart intensity exceeded",
    );
    const error = internal(
      `supervisor ${this.path} gave up: child ${cell.place.id} needed more than ${intensity} restarts in ${periodMs} ms`,
      { cause: err },
    );
    this.recordCrash(error);
    this.#beginEnding({ kind: "crash", error });
  }

  /** A child stopped on our request and waits to be started again. */
  childSuspended(cell: Cell): void {
    this.#awaitedStops.delete(cell);
    this.#schedule();
  }

  /** A child has ended for good. */
  childEnded(cell: Cell): void {
    if (this.children.get(cell.place.id) === cell) this.children.delete(cell.place.id);
    this.#plan.forget(cell);
    const awaitedStop = this.#awaitedStops.delete(cell);
    const awaitedStart = this.#awaitedStart === cell;
    if (awaitedStart) this.#awaitedStart = undefined;
    if (awaitedStop || awaitedStart) this.#schedule();
  }

  /** A supervisor among the children has all of its own up. */
  childStarted(cell: Cell): void {
    if (this.#awaitedStart !== cell) return;
    this.#awaitedStart = undefined;
    this.#schedule();
  }

  protected override begin(): boolean {
    this.#ending = undefined;
    this.#complete = false;
    this.#awaitedStart = undefined;
    this.#awaitedStops.clear();
    this.#window.reset();
    this.#fillStatic();
    for (const cell of this.children.values()) this.#plan.addStart(cell);
    this.#startInOrder();
    return this.#complete || !this.isAlive();
  }

  protected override beginStop(): void {
    this.#beginEnding({ kind: "shutdown" });
  }

  protected override beginKill(): void {
    this.#beginEnding({ kind: "killed" });
    const ending = this.#ending;
    if (ending === undefined) return;
    if (ending.reason.kind === "shutdown") ending.reason = { kind: "killed" };
    ending.queue.length = 0;
    for (const cell of [...this.children.values()].reverse()) {
      if (cell.isAlive()) this.#awaitedStops.add(cell);
      cell.kill(this.#keeps(cell) ? "suspend" : "end");
    }
    this.#schedule();
  }

  protected override release(reason: ExitReason): void {
    this.#plan.clear();
    for (const cell of [...this.children.values()].reverse()) cell.finish(reason);
  }

  override inspect(): TreeNode {
    return {
      path: this.path,
      type: "supervisor",
      kind: "supervisor",
      status: this.#ending !== undefined && this.life === "alive" ? "stopping" : this.statusWord,
      phase: undefined,
      strategy: this.#spec.strategy,
      restart: this.place.restart,
      mailboxDepth: 0,
      mailboxLimit: undefined,
      current: undefined,
      handled: 0,
      restarts: this.restarts,
      lastCrash: this.lastCrash,
      handling: undefined,
      children: [...this.children.values()].map((cell) => cell.inspect()),
    };
  }

  /** Makes the cells of the spec that are missing; those that survived a restart keep their place. */
  #fillStatic(): void {
    const survivors = this.children;
    this.children = new Map();
    this.#spec.children.forEach((child, order) => {
      const cell = survivors.get(child.id);
      if (cell === undefined) this.#create(child, order, true);
      else this.children.set(child.id, cell);
    });
  }

  #create(child: ChildSpec, order: number, isStatic: boolean): Cell {
    const place = placeOf(this, child, order, isStatic);
    const cell =
      child.start.type === "actor"
        ? new ActorCell(this.runtime, place, child.start)
        : new SupervisorCell(this.runtime, place, child.start);
    this.children.set(child.id, cell);
    return cell;
  }

  #settled(): boolean {
    return this.#plan.empty && this.#awaitedStart === undefined && this.#awaitedStops.size === 0;
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.runtime.scheduler.schedule(this.#run);
  }

  #step(): void {
    if (this.life !== "alive") return;
    if (this.#ending !== undefined) this.#stopAll(this.#ending);
    else this.#followPlan();
  }

  #followPlan(): void {
    if (this.#awaitedStops.size > 0) return;
    for (let steps = 0; ; steps++) {
      const cell = this.#plan.nextStop();
      if (cell === undefined) break;
      this.#stop(cell, cell.place.restart === "temporary" ? "end" : "suspend");
      if (this.#awaitedStops.size > 0) return;
      if (steps >= sliceSteps) {
        this.#schedule();
        return;
      }
    }
    if (!this.#complete) {
      this.#startInOrder();
      return;
    }
    if (this.#awaitedStart !== undefined) return;
    const cell = this.#plan.nextStart();
    if (cell === undefined) return;
    this.#start(cell);
    // One attempt per turn: a child that falls at once must not keep a stop request out.
    if (!this.#plan.empty) this.#schedule();
  }

  /** The first start: as far as it goes in one turn, since nothing has failed yet. */
  #startInOrder(): void {
    while (this.isAlive() && this.#ending === undefined && this.#awaitedStart === undefined) {
      // A child that fell during the start has the rest wait for the next turn.
      if (this.#scheduled) return;
      const cell = this.#plan.nextStart();
      if (cell === undefined) {
        this.#complete = true;
        this.place.parent?.childStarted(this);
        return;
      }
      this.#start(cell);
    }
  }

  #start(cell: Cell): void {
    if (cell.start()) return;
    // Once it runs, a one-for-one supervisor owes its children no order: one slow starter holds up nobody.
    if (this.#spec.strategy !== "one-for-one" || !this.#complete) this.#awaitedStart = cell;
  }

  #stop(cell: Cell, after: "end" | "suspend"): void {
    if (this.#awaitedStart === cell) this.#awaitedStart = undefined;
    this.#awaitedStops.add(cell);
    cell.requestStop(after);
    if (!cell.isAlive()) this.#awaitedStops.delete(cell);
  }

  #keeps(cell: Cell): boolean {
    return this.#ending?.keep === true && cell.place.isStatic && cell.place.restart !== "temporary";
  }

  /** Starts stopping every child; the first reason stays. */
  #beginEnding(reason: ExitReason): void {
    if (this.life !== "alive") return;
    // Children of the spec wait for our own restart, when there will be one; their mailboxes survive it.
    const restarts =
      this.stopMode === "suspend" ||
      (this.stopMode === undefined && this.place.parent !== undefined && this.place.restart !== "temporary");
    if (this.#ending === undefined) {
      this.#plan.clear();
      this.#awaitedStart = undefined;
      this.#ending = { reason, keep: restarts, queue: [...this.children.values()] };
    }
    this.#ending.keep &&= restarts;
    this.#schedule();
  }

  #stopAll(ending: Ending): void {
    // The parent may have changed its mind from a restart to the end since.
    if (this.stopMode === "end") ending.keep = false;
    const together = this.#spec.stopOrder === "together";
    for (let steps = 0; together || this.#awaitedStops.size === 0; steps++) {
      if (steps >= sliceSteps) {
        this.#schedule();
        return;
      }
      const cell = ending.queue.pop();
      if (cell === undefined) break;
      if (cell.isAlive()) this.#stop(cell, this.#keeps(cell) ? "suspend" : "end");
      else if (!this.#keeps(cell)) cell.requestStop("end");
    }
    if (this.#awaitedStops.size > 0 || ending.queue.length > 0) return;
    this.#ending = undefined;
    this.life = "waiting";
    this.incarnationEnded(ending.reason);
  }
}
