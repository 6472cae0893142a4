/** What a bench gets and how much of it to do. */
import type { Entry, RuntimeName } from "./contestants.js";
import type { Recorder } from "./recorder.js";

export interface BenchContext {
  readonly entries: readonly Entry[];
  readonly runtime: RuntimeName;
  readonly recorder: Recorder;
  /** A tenth of the work: shows that everything runs, not what it costs. */
  readonly quick: boolean;
  readonly log: (line: string) => void;
}

export interface Bench {
  readonly name: string;
  /** Only worth while with one OCI runtime: the runtime has no part in what is measured. */
  readonly runtimes: readonly RuntimeName[];
  readonly run: (context: BenchContext) => Promise<void>;
}
