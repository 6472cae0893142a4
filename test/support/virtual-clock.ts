/**
 * Time that stands still until a test moves it. With a scheduler attached, everything that is runnable runs
 * before the next timer fires, promises included, as in a simulation of an infinitely fast machine.
 */
import type { Clock, Timer } from "../../src/core/clock.js";

interface Drainable {
  readonly pending: number;
  drain(): void;
}

interface Entry {
  readonly dueMs: number;
  /** Timers due at the same time fire in the order in which they were set. */
  readonly sequence: number;
  readonly fire: () => void;
}

export interface VirtualClockOptions {
  readonly scheduler?: Drainable;
  /** Wall clock at the start, milliseconds since the epoch. Default 2024-01-01T00:00:00Z. */
  readonly epochMs?: number;
}

export class VirtualClock implements Clock {
  readonly #epochMs: number;
  readonly #scheduler: Drainable | undefined;
  readonly #heap: Entry[] = [];
  readonly #live = new Set<Entry>();
  #elapsedMs = 0;
  #sequence = 0;

  constructor(options: VirtualClockOptions = {}) {
    this.#epochMs = options.epochMs ?? Date.UTC(2024, 0, 1);
    this.#scheduler = options.scheduler;
  }

  now(): number {
    return this.#epochMs + this.#elapsedMs;
  }

  monotonicMs(): number {
    return this.#elapsedMs;
  }

  setTimer(delayMs: number, fire: () => void): Timer {
    this.#sequence += 1;
    const entry = { dueMs: this.#elapsedMs + Math.max(0, delayMs), sequence: this.#sequence, fire };
    this.#live.add(entry);
    this.#push(entry);
    return { cancel: () => this.#live.delete(entry) };
  }

  /** Timers that have neither fired nor been cancelled. */
  get pendingTimers(): number {
    return this.#live.size;
  }

  /** Runs scheduled work and promise jobs until neither is left. Time does not move; timers due now fire. */
  async runUntilIdle(): Promise<void> {
    await this.advance(0);
  }

  /** Moves time, firing each timer at its moment with everything runnable done before it. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#elapsedMs + ms;
    await this.#settle();
    for (let next = this.#next(); next !== undefined && next.dueMs <= endMs; next = this.#next()) {
      this.#elapsedMs = Math.max(this.#elapsedMs, next.dueMs);
      this.#fire(next);
      await this.#settle();
    }
    this.#elapsedMs = endMs;
  }

  /** Moves time and fires timers without letting anything else run. */
  advanceOnly(ms: number): void {
    const endMs = this.#elapsedMs + ms;
    for (let next = this.#next(); next !== undefined && next.dueMs <= endMs; next = this.#next()) {
      this.#elapsedMs = Math.max(this.#elapsedMs, next.dueMs);
      this.#fire(next);
    }
    this.#elapsedMs = endMs;
  }

  async #settle(): Promise<void> {
    do {
      this.#scheduler?.drain();
      // One turn of the real loop runs every promise job that is ready; what it schedules is drained next.
      await new Promise<void>((resolve) => setImmediate(resolve));
    } while ((this.#scheduler?.pending ?? 0) > 0);
  }

  #fire(entry: Entry): void {
    this.#live.delete(entry);
    entry.fire();
  }

  #next(): Entry | undefined {
    for (let head = this.#heap[0]; head !== undefined; head = this.#heap[0]) {
      if (this.#live.has(head)) return head;
      this.#pop();
    }
    return undefined;
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    let index = heap.length;
    heap.push(entry);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!isBefore(entry, heap[parent] as Entry)) break;
      heap[index] = heap[parent] as Entry;
      index = parent;
    }
    heap[index] = entry;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Entry, heap[child] as Entry)) child += 1;
      if (!isBefore(heap[child] as Entry, last)) break;
      heap[index] = heap[child] as Entry;
      index = child;
    }
    heap[index] = last;
  }
}

const isBefore = (a: Entry, b: Entry): boolean =>
  a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.sequence < b.sequence);
