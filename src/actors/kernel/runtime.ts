/** What every cell of one system shares: time, scheduling, the table of paths, counters and observers. */
import type { Clock } from "../../core/clock.js";
import type { Logger } from "../../core/logger.js";
import type { Cell } from "./cell.js";
import { DeadLetters } from "./dead-letters.js";
import { Taps } from "./taps.js";
import type { ActorSystemOptions, DeadLetter, Scheduler, SystemCounters, TapEvent } from "./types.js";

export class KernelRuntime {
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly log: Logger;
  readonly deadLetters: DeadLetters;
  readonly taps: Taps;
  readonly counters: { -readonly [K in keyof SystemCounters]: SystemCounters[K] } = {
    crashes: 0,
    restarts: 0,
    lateReplies: 0,
  };
  /** Every cell that has not ended, by path. */
  readonly cells = new Map<string, Cell>();

  constructor(options: ActorSystemOptions) {
    this.clock = options.clock;
    this.scheduler = options.scheduler;
    this.log = options.log;
    this.deadLetters = new DeadLetters(options.deadLetterLimit ?? 1000);
    this.taps = new Taps(options.log);
  }

  deadLetter(to: string, from: string | undefined, message: string, reason: DeadLetter["reason"]): void {
    this.deadLetters.add({ at: this.clock.now(), to, from, message, reason });
    if (this.taps.active) this.observe("dead-letter", to, `${message}: ${reason}`);
  }

  observe(kind: TapEvent["kind"], path: string, detail?: string, durationUs?: number): void {
    this.taps.emit({ at: this.clock.now(), kind, path, detail, durationUs });
  }
}
