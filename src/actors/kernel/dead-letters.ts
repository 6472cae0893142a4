/** What could not be delivered: counted for ever, the last ones kept for queries. */
import { Ring } from "./ring.js";
import type { DeadLetter } from "./types.js";

export class DeadLetters {
  #count = 0;
  readonly #recent = new Ring<DeadLetter>();

  constructor(readonly limit: number) {}

  get count(): number {
    return this.#count;
  }

  add(letter: DeadLetter): void {
    this.#count += 1;
    if (this.limit <= 0) return;
    if (this.#recent.length >= this.limit) this.#recent.shift();
    this.#recent.push(letter);
  }

  /** Oldest first. */
  recent(): readonly DeadLetter[] {
    return this.#recent.toArray();
  }
}
