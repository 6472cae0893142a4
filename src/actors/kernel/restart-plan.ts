/**
 * What a supervisor still has to do to its children: stop some, last started first, then start some in order.
 * Crashes that happen meanwhile join the plan instead of making a second one.
 */
import type { Cell } from "./cell.js";
import { Ring } from "./ring.js";
import type { Strategy } from "./types.js";

export class RestartPlan {
  /** In starting order: the last one is stopped first. */
  #stops: Cell[] = [];
  readonly #starts = new Ring<Cell>();
  readonly #toStart = new Set<Cell>();

  constructor(readonly strategy: Strategy) {}

  get empty(): boolean {
    return this.#stops.length === 0 && this.#starts.length === 0;
  }

  /** True for a child that the plan will start (again) anyway. */
  covers(cell: Cell): boolean {
    return this.#toStart.has(cell);
  }

  /** Starts `cell` after everything planned so far. */
  addStart(cell: Cell): void {
    if (this.#toStart.has(cell)) return;
    this.#toStart.add(cell);
    this.#starts.push(cell);
  }

  /**
   * Plans the restart of `crashed` and, by the strategy, of its siblings. `ordered`: it comes before the
   * siblings that were to be started after it, as during a supervisor's first start.
   */
  addRestart(crashed: Cell, siblings: Iterable<Cell>, ordered: boolean): void {
    if (this.strategy === "one-for-one" && !ordered) {
      this.addStart(crashed);
      return;
    }
    const affected = new Set(this.#toStart).add(crashed);
    const stops = new Set(this.#stops);
    for (const cell of this.strategy === "one-for-one" ? [] : siblings) {
      if (this.strategy === "rest-for-one" && cell.place.order < crashed.place.order) continue;
      if (cell.isAlive()) stops.add(cell);
      // A temporary child is never started again, not even with its group.
      if (cell.place.restart !== "temporary") affected.add(cell);
    }
    const inOrder = (a: Cell, b: Cell): number => a.place.order - b.place.order;
    this.#stops = [...stops].sort(inOrder);
    this.clearStarts();
    for (const cell of [...affected].sort(inOrder)) this.addStart(cell);
  }

  nextStop(): Cell | undefined {
    for (let cell = this.#stops.pop(); cell !== undefined; cell = this.#stops.pop()) {
      if (cell.isAlive()) return cell;
    }
    return undefined;
  }

  nextStart(): Cell | undefined {
    for (let cell = this.#starts.shift(); cell !== undefined; cell = this.#starts.shift()) {
      // Skips what was stopped for good since it was planned.
      if (this.#toStart.delete(cell) && cell.life === "waiting") return cell;
    }
    return undefined;
  }

  forget(cell: Cell): void {
    this.#toStart.delete(cell);
  }

  clear(): void {
    this.#stops = [];
    this.clearStarts();
  }

  private clearStarts(): void {
    this.#starts.clear();
    this.#toStart.clear();
  }
}
