/** Counts a supervisor's restarts within its sliding period. */
export class RestartWindow {
  #times: number[] = [];

  constructor(
    readonly intensity: number,
    readonly periodMs: number,
  ) {}

  /** Counts one restart at `nowMs`; false when that is one too many. */
  admit(nowMs: number): boolean {
    this.#times.push(nowMs);
    const oldest = nowMs - this.periodMs;
    // More than intensity + 1 entries change nothing, so the list stays short.
    while (this.#times.length > 0 && (this.#times[0] as number) < oldest) this.#times.shift();
    return this.#times.length <= this.intensity;
  }

  /** Restarts within the period that ends at `nowMs`. */
  count(nowMs: number): number {
    return this.#times.filter((at) => at >= nowMs - this.periodMs).length;
  }

  reset(): void {
    this.#times = [];
  }
}
