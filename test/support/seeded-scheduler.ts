/** A scheduler that draws what runs next by seed: the same seed gives the same order, every time. */
import type { Scheduler } from "../../src/actors/kernel/types.js";

/** A small generator of uniform numbers in [0, 1) (mulberry32); good enough to shuffle, and repeatable. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export class SeededScheduler implements Scheduler {
  readonly #waiting: (() => void)[] = [];
  readonly #random: (() => number) | undefined;
  #steps = 0;

  /** Without a seed, work runs first in, first out. */
  constructor(seed?: number) {
    this.#random = seed === undefined ? undefined : seededRandom(seed);
  }

  get pending(): number {
    return this.#waiting.length;
  }

  /** Pieces of work run so far. */
  get steps(): number {
    return this.#steps;
  }

  schedule(run: () => void): void {
    this.#waiting.push(run);
  }

  /** Runs one piece of work; false when there was none. */
  step(): boolean {
    const { length } = this.#waiting;
    if (length === 0) return false;
    let run: (() => void) | undefined;
    if (this.#random === undefined) run = this.#waiting.shift();
    else {
      // Swap with the last: the order among the rest does not matter, since every draw is random.
      const index = Math.floor(this.#random() * length);
      run = this.#waiting[index];
      const last = this.#waiting.pop() as () => void;
      if (index < length - 1) this.#waiting[index] = last;
    }
    this.#steps += 1;
    run?.();
    return true;
  }

  /** Runs until nothing waits, new work included. Throws after `limit` steps: that is a livelock. */
  drain(limit = 1_000_000): void {
    for (let steps = 0; this.step(); steps++) {
      if (steps >= limit) throw new Error(`the scheduler is still busy after ${limit} steps`);
    }
  }
}
