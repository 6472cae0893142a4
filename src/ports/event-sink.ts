import type { Instant } from "../core/exit.js";
import type { OpaqueAny } from "./store-port.js";

/** One event as containerd's subscribers see it. */
export interface Envelope {
  readonly timestamp: Instant;
  readonly namespace: string;
  readonly topic: string;
  readonly event: OpaqueAny;
}

/** An envelope as the journal knows it. */
export interface JournalEntry {
  /** Rises by one with each entry. */
  readonly sequence: bigint;
  readonly envelope: Envelope;
}

/** Where a subscriber's events go. */
export interface EventSink {
  /** Takes the entry or returns false: the subscriber's bounded queue is full, and it is cut off. */
  push(entry: JournalEntry): boolean;
  /** The journal drops this subscriber: it lagged too far, or the daemon stops. */
  end(reason: "lagging" | "shutdown"): void;
}
