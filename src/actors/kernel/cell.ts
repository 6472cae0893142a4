/**
 * What an actor and a supervisor have in common: a place in the tree, a life of several incarnations, people
 * watching for its end. A cell outlives crashes and restarts; it ends once.
 */
import type { Timer } from "../../core/clock.js";
import { setLongTimer } from "./long-timer.js";
import type { KernelRuntime } from "./runtime.js";
import type { SupervisorCell } from "./supervisor-cell.js";
import type { AnyActorRef, ChildSpec, Down, ExitReason, RestartType, TreeNode } from "./types.js";

/**
 * waiting: no incarnation is alive (not started yet, or between a crash and the restart); messages queue.
 * alive: started. dead: ended for good.
 */
export type Life = "waiting" | "alive" | "dead";

/** What becomes of a cell whose incarnation was asked to stop: gone for good, or waiting to be started again. */
export type After = "end" | "suspend";

export interface Watcher {
  down(down: Down): void;
}

/** Where a cell stands among its siblings. */
export interface Place {
  readonly parent: SupervisorCell | undefined;
  readonly path: string;
  readonly id: string;
  readonly restart: RestartType;
  readonly shutdownMs: number;
  /** Grows in starting order; stopping goes down. */
  readonly order: number;
  /** Listed in the supervisor's spec, so it comes back when the supervisor restarts. */
  readonly isStatic: boolean;
}

export const placeOf = (
  parent: SupervisorCell,
  child: ChildSpec,
  order: number,
  isStatic: boolean,
): Place => ({
  parent,
  path: `${parent.path}/${child.id}`,
  id: child.id,
  restart: child.restart,
  shutdownMs: child.shutdownMs,
  order,
  isStatic,
});

export abstract class Cell {
  life: Life = "waiting";
  restarts = 0;
  lastCrash: { readonly at: number; readonly message: string } | undefined;
  /** Set while the current incarnation is being stopped from outside. */
  protected stopMode: After | undefined;
  protected exit: ExitReason | undefined;
  #started = false;
  #killTimer: Timer | undefined;
  #watchers: Set<Watcher> | undefined;
  #endListeners: ((reason: ExitReason) => void)[] | undefined;

  constructor(
    readonly runtime: KernelRuntime,
    readonly place: Place,
  ) {
    runtime.cells.set(place.path, this);
  }

  abstract readonly ref: AnyActorRef;
  abstract inspect(): TreeNode;
  /** Begins an incarnation. False when it is not complete yet: then the parent hears `childStarted` later. */
  protected abstract begin(): boolean;
  /** Asked to stop: ends the incarnation now or later through `incarnationEnded`. */
  protected abstract beginStop(): void;
  /** Ends the incarnation without asking; through `incarnationEnded` as well. */
  protected abstract beginKill(): void;
  /** Gives back what a dead cell must not hold. */
  protected abstract release(reason: ExitReason): void;

  get path(): string {
    return this.place.path;
  }

  /** Starts a waiting cell. True when it is up, or came down again at once; see `begin`. */
  start(): boolean {
    if (this.life !== "waiting") return true;
    if (this.runtime.taps.active) this.runtime.observe(this.#started ? "restarted" : "started", this.path);
    // A tap may have stopped it.
    if (!this.isWaiting()) return true;
    this.life = "alive";
    if (this.#started) {
      this.restarts += 1;
      this.runtime.counters.restarts += 1;
    }
    this.#started = true;
    return this.begin();
  }

  /** Stops within the shutdown budget, then kills. A later "end" wins over an earlier "suspend". */
  requestStop(after: After): void {
    if (this.life === "dead") return;
    if (this.life === "waiting") {
      if (after === "end") this.finish(this.exit ?? { kind: "shutdown" });
      return;
    }
    if (this.stopMode !== undefined) {
      if (after === "end") this.stopMode = "end";
      return;
    }
    this.stopMode = after;
    this.beginStop();
    // Stopped already (no stopping function): life has changed under us, and no budget is needed.
    if (this.isAlive()) {
      this.#killTimer = setLongTimer(this.runtime.clock, this.place.shutdownMs, () => {
        if (!this.isAlive()) return;
        this.runtime.log.warn(
          { actor: this.path, shutdownMs: this.place.shutdownMs },
          "killed: shutdown budget spent",
        );
        this.beginKill();
      });
    }
  }

  kill(after: After): void {
    if (this.life !== "alive") {
      this.requestStop(after);
      return;
    }
    if (this.stopMode === undefined || after === "end") this.stopMode = after;
    this.beginKill();
  }

  isWaiting(): boolean {
    return this.life === "waiting";
  }

  isAlive(): boolean {
    return this.life === "alive";
  }

  /** Sets a mark of a crash for inspection and counts it. */
  protected recordCrash(error: unknown): void {
    this.lastCrash = {
      at: this.runtime.clock.now(),
      message: error instanceof Error ? error.message : String(error),
    };
  }

  /** The incarnation is over: decides between the end, a wait for the parent's order, and a restart. */
  protected incarnationEnded(reason: ExitReason): void {
    const { parent, restart } = this.place;
    // Its own last words may have had it ended.
    if (this.life === "dead") return;
    this.exit = reason;
    this.#killTimer?.cancel();
    this.#killTimer = undefined;
    const mode = this.stopMode;
    this.stopMode = undefined;
    if (mode === "end" || parent === undefined) {
      this.finish(reason);
    } else if (mode === "suspend") {
      this.life = "waiting";
      parent.childSuspended(this);
    } else if (restart === "permanent" || (restart === "transient" && reason.kind === "crash")) {
      this.life = "waiting";
      parent.childDown(this, reason);
    } else {
      this.finish(reason);
    }
  }

  /** The one end of a cell. No incarnation may be alive. */
  finish(reason: ExitReason): void {
    if (this.life === "dead") return;
    this.life = "dead";
    this.exit = reason;
    this.#killTimer?.cancel();
    if (this.runtime.cells.get(this.path) === this) this.runtime.cells.delete(this.path);
    this.place.parent?.childEnded(this);
    this.release(reason);
    if (this.runtime.taps.active) this.runtime.observe("stopped", this.path, reason.kind);
    const watchers = this.#watchers;
    this.#watchers = undefined;
    if (watchers !== undefined) for (const watcher of watchers) watcher.down({ path: this.path, reason });
    const listeners = this.#endListeners;
    this.#endListeners = undefined;
    if (listeners !== undefined) for (const listener of listeners) listener(reason);
  }

  addWatcher(watcher: Watcher): void {
    if (this.life === "dead") {
      watcher.down({ path: this.path, reason: this.exit ?? { kind: "normal" } });
      return;
    }
    this.#watchers ??= new Set();
    this.#watchers.add(watcher);
  }

  removeWatcher(watcher: Watcher): void {
    this.#watchers?.delete(watcher);
  }

  /** Calls back once, at the end; at once when it has ended. */
  onEnd(listener: (reason: ExitReason) => void): void {
    if (this.life === "dead") {
      listener(this.exit ?? { kind: "normal" });
      return;
    }
    this.#endListeners ??= [];
    this.#endListeners.push(listener);
  }

  protected get statusWord(): TreeNode["status"] {
    if (this.life === "dead") return "dead";
    if (this.life === "waiting") return "restarting";
    return this.stopMode === undefined ? "running" : "stopping";
  }
}
