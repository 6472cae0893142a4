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
    // A refused restart ends the supervisor, so the list never holds more than intensity + 1 entries.
    while (this.#times.length > 0 && (this.#times[0] as number) < oldest) this.#times.shift();
    return this.#times.length <= this.intensity;
  }

  /** Restarts within the period that ended with the last one. */
  get count(): number {
    return this.#times.length;
  }

  reset(): void {
    this.#times = [];
  }
}
