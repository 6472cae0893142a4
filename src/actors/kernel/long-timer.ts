/** Delays as people write them: Infinity means never, and more than a platform timer can hold is cut to its most. */
import type { Clock, Timer } from "../../core/clock.js";

/** setTimeout's limit, about 24.8 days; anything longer would fire at once. */
const maxDelayMs = 2 ** 31 - 1;

export function setLongTimer(clock: Clock, delayMs: number, fire: () => void): Timer | undefined {
  if (delayMs === Number.POSITIVE_INFINITY) return undefined;
  return clock.setTimer(Math.min(Math.max(delayMs, 0), maxDelayMs), fire);
}
