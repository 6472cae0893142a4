/** Waiting for a fact that has no event: polled, with a deadline that says what it waited for. */
import { setTimeout as delay } from "node:timers/promises";

export interface UntilOptions {
  /** How long to wait at most, in milliseconds; 10 s when not given. */
  readonly timeoutMs?: number;
  readonly intervalMs?: number;
}

/** Resolves with the first value of `probe` that is neither undefined nor false; rejects at the deadline. */
export async function until<T>(
  what: string,
  probe: () => T | undefined | false | Promise<T | undefined | false>,
  options: UntilOptions = {},
): Promise<T> {
  const timeoutMs = options.timeoutMs ?? 10_000;
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const value = await probe();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > deadline) throw new Error(`waited ${timeoutMs} ms for ${what}`);
    await delay(options.intervalMs ?? 20);
  }
}

/** Runs `work` over the items, at most `width` at a time; results are in the order of the items. */
export async function concurrently<T, R>(
  width: number,
  items: readonly T[],
  work: (item: T, index: number) => Promise<R>,
): Promise<R[]> {
  const results = new Array<R>(items.length);
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let index = next++; index < items.length; index = next++) {
      results[index] = await work(items[index] as T, index);
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, lane));
  return results;
}
