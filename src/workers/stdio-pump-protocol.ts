/**
 * What the main thread and a pump thread say to each other. Descriptors travel as numbers: the main thread
 * owns and closes every one of them, a pump thread only borrows those of the streams it was given, until it
 * reported their end or answered `remove`.
 */

/** One direction of bytes: everything readable from `source` goes to `sink`, in order, until an end. */
export interface PumpStream {
  /** Never reused, unlike descriptors. Positive. */
  readonly id: number;
  /** A pipe, FIFO or pty master, O_NONBLOCK. */
  readonly source: number;
  /** O_NONBLOCK if it can block. Not the same number as any other stream's descriptor. */
  readonly sink: number;
  /** The sink cannot be spliced to (a file open for appending): bytes pass through a buffer. */
  readonly copied: boolean;
  /** What is asked of the source at once. A splice from anything but a pipe allocates this much each time. */
  readonly chunkBytes: number;
  /** Float64 cells, see the `ledger…` indices; shared, so that a thread's death loses no count. */
  readonly ledger: SharedArrayBuffer;
  /** End as soon as the source is found empty, although it could still get more. */
  readonly untilEmpty: boolean;
}

/** Bytes taken from the source and given to the sink. */
export const ledgerMoved = 0;
/** Bytes taken from the source that the sink can never get, because it failed. */
export const ledgerDropped = 1;
export const ledgerBytes = 16;

export type PumpEnd =
  /** All writers of the source are gone, or the terminal hung up, and the sink has everything. */
  | { readonly reason: "end-of-file" }
  /** The source was empty, as asked for by `untilEmpty`. */
  | { readonly reason: "emptied" }
  /** Nobody will ever read the sink again. */
  | { readonly reason: "sink-closed" }
  | { readonly reason: "failed"; readonly error: string };

/** Sent by a pump thread when it has let go of a stream. */
export interface PumpReport {
  readonly kind: "stream-ended";
  readonly id: number;
  readonly end: PumpEnd;
}

/** What comlink exposes of a pump thread. */
export interface PumpControl {
  add(streams: readonly PumpStream[]): void;
  /** When this answers, the thread uses none of these streams' descriptors any more. Unknown ids are fine. */
  remove(ids: readonly number[]): void;
  endWhenEmpty(ids: readonly number[]): void;
}

export interface PumpWorkerData {
  readonly epollFd: number;
  /** Written after every message: the thread sleeps in epoll_wait and would not see it otherwise. */
  readonly wakeFd: number;
  /** Int32 cell; 1 asks the thread to end. */
  readonly stop: SharedArrayBuffer;
}
