/** Handling times of one actor, in fixed buckets: a few words of memory, no allocation per message. */
import type { HandlingHistogram } from "./types.js";

export const boundsUs: readonly number[] = Object.freeze([
  10, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 100_000, 1_000_000,
]);

export class Histogram {
  readonly #counts: number[] = new Array<number>(boundsUs.length + 1).fill(0);

  record(durationUs: number): void {
    let bucket = 0;
    while (bucket < boundsUs.length && durationUs > (boundsUs[bucket] as number)) bucket += 1;
    this.#counts[bucket] = (this.#counts[bucket] as number) + 1;
  }

  snapshot(): HandlingHistogram {
    return { boundsUs, counts: [...this.#counts] };
  }
}
