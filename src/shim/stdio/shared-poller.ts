/**
 * One timer for everything that has to be asked again and again because the kernel has no event for it: has
 * somebody opened this FIFO for reading? Fresh questions are asked often, old ones seldom. The timer exists
 * only while there are questions, and never keeps the process alive.
 */

const firstIntervalMs = 2;
const usualIntervalMs = 50;
/** After this long nobody is expected any moment. */
const patienceMs = 10_000;
const oldIntervalMs = 250;

interface Question {
  readonly ask: () => boolean;
  readonly since: number;
  intervalMs: number;
  nextAt: number;
}

export class SharedPoller {
  readonly #questions = new Set<Question>();
  #timer: NodeJS.Timeout | undefined;
  #timerAt = 0;

  get size(): number {
    return this.#questions.size;
  }

  /**
   * Calls `ask` until it returns true, first in 2 ms, later every 50, after 10 s every 250. `ask` must not throw.
   * Returns how to give up.
   */
  add(ask: () => boolean): () => void {
    const now = performance.now();
    const question = { ask, since: now, intervalMs: firstIntervalMs, nextAt: now + firstIntervalMs };
    this.#questions.add(question);
    this.#schedule(question.nextAt);
    return () => {
      this.#questions.delete(question);
      if (this.#questions.size === 0) this.#stop();
    };
  }

  /** Forgets all questions. */
  close(): void {
    this.#questions.clear();
    this.#stop();
  }

  #tick(): void {
    this.#timer = undefined;
    const now = performance.now();
    let next = Number.POSITIVE_INFINITY;
    for (const question of [...this.#questions]) {
      // A question asked before may have made its owner give this one up.
      if (!this.#questions.has(question)) continue;
      if (question.nextAt <= now) {
        if (question.ask()) {
          this.#questions.delete(question);
          continue;
        }
        const longest = now - question.since > patienceMs ? oldIntervalMs : usualIntervalMs;
        question.intervalMs = Math.min(question.intervalMs * 2, longest);
        question.nextAt = now + question.intervalMs;
      }
      next = Math.min(next, question.nextAt);
    }
    if (next !== Number.POSITIVE_INFINITY) this.#schedule(next);
  }

  #schedule(at: number): void {
    if (this.#timer !== undefined) {
      if (this.#timerAt <= at) return;
      clearTimeout(this.#timer);
    }
    this.#timerAt = at;
    this.#timer = setTimeout(() => this.#tick(), Math.max(1, at - performance.now()));
    this.#timer.unref();
  }

  #stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
