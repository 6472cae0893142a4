/**
 * A queue of one container's operations that must not overlap: each starts when the one before has settled.
 * What may not wait behind a slow runtime (signals, exits, queries) does not go through it.
 */
import { resourceExhausted } from "../core/errors.js";

export class OperationLane {
  readonly #limit: number;
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  /** `limit` bounds the operations waiting or running. */
  constructor(limit = 256) {
    this.#limit = limit;
  }

  /** Runs `operation` in turn; rejects resource-exhausted at once when too many wait. */
  async run<T>(operation: () => Promise<T>): Promise<T> {
    if (this.#waiting >= this.#limit)
      throw resourceExhausted(`${this.#waiting} operations of this task wait already`);
    this.#waiting += 1;
    const before = this.#last;
    const turn = (async () => {
      await before;
      return operation();
    })();
    this.#last = turn.catch(() => undefined);
    try {
      return await turn;
    } finally {
      this.#waiting -= 1;
    }
  }
}
