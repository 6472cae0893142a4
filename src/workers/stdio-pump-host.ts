/**
 * The fixed set of pump threads: none until a stream needs one, each stream on the thread with the fewest, a
 * dead thread replaced and its streams given to the successor. Bytes wait in their pipes meanwhile, so none
 * is lost. Borrows descriptors from callers, who close them when a stream has ended or was detached.
 */
import { resourceExhausted, toDaemonError, unavailable } from "../core/errors.js";
import type { Logger } from "../core/logger.js";
import {
  ledgerBytes,
  ledgerDropped,
  ledgerMoved,
  type PumpEnd,
  type PumpReport,
  type PumpStream,
} from "./stdio-pump-protocol.js";
import { type PumpRemote, type PumpThread, startPumpThread } from "./stdio-pump-thread.js";

/** Threads that may die in a row, within this period each, before their streams are given up. */
const restartIntensity = 5;
const restartPeriodMs = 10_000;
/** A thread answers between two transfers, so in milliseconds; starting one takes about 100 ms. */
const answerTimeoutMs = 15_000;
const stopTimeoutMs = 5_000;
/** The size that the shim asks for its pipes. */
const pipeBytes = 1024 * 1024;
/** A bound against a caller's leak, far above what one shim's descriptors allow. */
const maxStreams = 16_384;

export interface PumpSpec {
  readonly source: number;
  readonly sink: number;
  /** See PumpStream. */
  readonly copied?: boolean;
  readonly chunkBytes?: number;
}

/** One stream in flight. Its descriptors may be closed after `ended` or `detach()` has resolved, not before. */
export interface PumpHandle {
  /** Never rejects. Also resolves, as `emptied`, when the stream was detached. */
  readonly ended: Promise<PumpEnd>;
  movedBytes(): number;
  droppedBytes(): number;
  /** Ends the stream once its source is found empty, instead of at end of file. */
  endWhenEmpty(): void;
  /** Takes the stream away from its thread. Waits for that thread without limit, or for its death. */
  detach(): Promise<void>;
}

export interface PumpHostStats {
  readonly threads: number;
  readonly streams: number;
  readonly threadDeaths: number;
}

export interface Attachment {
  /** In the order of the specs. */
  readonly handles: readonly PumpHandle[];
  /** Resolves once the thread has the streams. */
  readonly started: Promise<void>;
}

interface Entry {
  readonly spec: PumpStream;
  /** Rejects when the stream ended without any thread having had it. */
  readonly started: Promise<void>;
  readonly accept: () => void;
  readonly ledger: Float64Array;
  readonly settle: (end: PumpEnd) => void;
  readonly ended: Promise<PumpEnd>;
  untilEmpty: boolean;
  detached: boolean;
}

interface Slot {
  readonly entries: Map<number, Entry>;
  thread: PumpThread | undefined;
  /** When recent threads of this slot died. */
  deaths: number[];
}

export class PumpHost {
  readonly #slots: Slot[];
  #nextId = 1;
  #deaths = 0;
  #closing = false;

  constructor(
    private readonly options: { readonly log: Logger; readonly workerUrl: URL; readonly threads: number },
  ) {
    this.#slots = Array.from({ length: Math.max(1, options.threads) }, () => ({
      entries: new Map(),
      thread: undefined,
      deaths: [],
    }));
  }

  /** Starts the thread that the next streams will use, if it does not run: it takes about 100 ms to be ready. */
  warm(): void {
    this.#threadOf(this.#leastLoaded());
  }

  /**
   * Starts pumping streams, all on one thread; throws `resource-exhausted` at the limit, `unavailable` when
   * closing. From here on the descriptors are in use until each stream has ended or was detached, also when
   * `started` rejects (`unavailable`: no thread answered in time or none stays alive).
   */
  attach(specs: readonly PumpSpec[]): Attachment {
    if (this.#closing) throw unavailable("the stdio pump is closing");
    if (this.stats().streams + specs.length > maxStreams) {
      throw resourceExhausted(`more than ${maxStreams} stdio streams are being pumped`);
    }
    const slot = this.#leastLoaded();
    const entries = specs.map((spec) => this.#entry(spec));
    for (const entry of entries) slot.entries.set(entry.spec.id, entry);
    const handles = entries.map((entry) => this.#handle(slot, entry));
    this.#give(slot, entries);
    const started = within(
      answerTimeoutMs,
      Promise.all(entries.map((entry) => entry.started)).then(() => {}),
      () => {
        throw unavailable(`the stdio pump did not answer within ${answerTimeoutMs} ms`);
      },
    );
    return { handles, started };
  }

  stats(): PumpHostStats {
    return {
      threads: this.#slots.filter((slot) => slot.thread !== undefined).length,
      streams: this.#slots.reduce((sum, slot) => sum + slot.entries.size, 0),
      threadDeaths: this.#deaths,
    };
  }

  /** Ends all threads; streams still attached end as `failed`. Resolves false if a thread did not end in time. */
  async close(): Promise<boolean> {
    this.#closing = true;
    const threads = this.#slots.flatMap((slot) => (slot.thread === undefined ? [] : [slot.thread]));
    for (const thread of threads) thread.stop();
    const ended = Promise.all(threads.map((thread) => thread.exited)).then(() => true);
    return within(stopTimeoutMs, ended, () => false);
  }

  #entry(spec: PumpSpec): Entry {
    const shared = new SharedArrayBuffer(ledgerBytes);
    const end = deferred<PumpEnd>();
    const start = deferred<void>();
    start.promise.catch(() => {}); // Whoever attached looks at `started`, perhaps later.
    return {
      spec: {
        id: this.#nextId++,
        source: spec.source,
        sink: spec.sink,
        copied: spec.copied ?? false,
        chunkBytes: spec.chunkBytes ?? pipeBytes,
        ledger: shared,
        untilEmpty: false,
      },
      ledger: new Float64Array(shared),
      started: start.promise,
      accept: start.resolve,
      settle: (how) => {
        start.reject(unavailable(how.reason === "failed" ? how.error : "the stream ended before it started"));
        end.resolve(how);
      },
      ended: end.promise,
      untilEmpty: false,
      detached: false,
    };
  }

  #handle(slot: Slot, entry: Entry): PumpHandle {
    const id = entry.spec.id;
    let detaching: Promise<void> | undefined;
    const detach = async (): Promise<void> => {
      if (!slot.entries.has(id)) return;
      // Marked first: a thread that dies now must not hand this stream to its successor.
      entry.detached = true;
      const thread = slot.thread;
      if (thread !== undefined) {
        await thread.call((control) => control.remove([id])).catch(() => thread.exited);
      }
      slot.entries.delete(id);
      entry.settle({ reason: "emptied" });
    };
    return {
      ended: entry.ended,
      movedBytes: () => entry.ledger[ledgerMoved] ?? 0,
      droppedBytes: () => entry.ledger[ledgerDropped] ?? 0,
      endWhenEmpty: () => {
        if (entry.untilEmpty || !slot.entries.has(id)) return;
        entry.untilEmpty = true;
        // If the thread dies over this, its successor gets the mark with the stream.
        this.#tell(slot, (control) => control.endWhenEmpty([id]));
      },
      detach: () => {
        detaching ??= detach();
        return detaching;
      },
    };
  }

  /**
   * The only way a stream gets to a thread, once per thread: a second `add` could arrive after the stream had
   * ended and its descriptors were closed. When the thread dies over it, `#threadEnded` gives it to the next.
   */
  #give(slot: Slot, entries: readonly Entry[]): void {
    const thread = this.#threadOf(slot);
    if (thread === undefined) {
      for (const entry of entries) {
        slot.entries.delete(entry.spec.id);
        entry.settle({ reason: "failed", error: "no stdio pump thread stays alive" });
      }
      return;
    }
    const streams = entries.map((entry) => ({ ...entry.spec, untilEmpty: entry.untilEmpty }));
    thread
      .call((control) => control.add(streams))
      .then(
        () => {
          for (const entry of entries) entry.accept();
        },
        () => {}, // It died.
      );
  }

  #tell(slot: Slot, send: (control: PumpRemote) => Promise<void>): void {
    slot.thread?.call(send).catch((error: unknown) => {
      this.options.log.debug({ err: toDaemonError(error) }, "stdio pump thread did not answer");
    });
  }

  #leastLoaded(): Slot {
    return this.#slots.reduce((best, slot) => (slot.entries.size < best.entries.size ? slot : best));
  }

  #threadOf(slot: Slot): PumpThread | undefined {
    if (slot.thread !== undefined || this.#closing) return slot.thread;
    const now = performance.now();
    slot.deaths = slot.deaths.filter((at) => now - at < restartPeriodMs);
    if (slot.deaths.length >= restartIntensity) return undefined;
    const thread = startPumpThread(this.options.workerUrl, (report) => this.#reported(slot, thread, report));
    slot.thread = thread;
    void thread.exited.then((error) => this.#threadEnded(slot, thread, error));
    return thread;
  }

  #reported(slot: Slot, thread: PumpThread, report: PumpReport): void {
    // A late word of a dead thread: its successor has the stream by now and will report the end again.
    if (slot.thread !== thread) return;
    const entry = slot.entries.get(report.id);
    if (entry === undefined) return;
    slot.entries.delete(report.id);
    // A short stream's end overtakes the answer to its `add`.
    entry.accept();
    entry.settle(report.end);
  }

  #threadEnded(slot: Slot, thread: PumpThread, error: Error | undefined): void {
    if (slot.thread !== thread) return;
    slot.thread = undefined;
    if (!this.#closing) {
      this.#deaths++;
      slot.deaths.push(performance.now());
    }
    const orphans = [...slot.entries.values()].filter((entry) => !entry.detached);
    const fields = { threadId: thread.threadId, streams: orphans.length, err: error };
    if (!this.#closing && orphans.length === 0) {
      this.options.log.warn(fields, "stdio pump thread died; the next stream starts another");
      return;
    }
    const successor = this.#threadOf(slot);
    if (successor !== undefined) {
      this.options.log.warn({ ...fields, decision: "restart" }, "stdio pump thread died");
    } else if (!this.#closing) {
      this.options.log.error({ ...fields, decision: "give up" }, "stdio pump threads keep dying");
    }
    this.#give(slot, orphans);
  }
}

interface Deferred<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (error: Error) => void;
}

function deferred<T>(): Deferred<T> {
  let settle: Omit<Deferred<T>, "promise"> | undefined;
  const promise = new Promise<T>((resolve, reject) => {
    settle = { resolve, reject };
  });
  return { promise, ...(settle as unknown as Omit<Deferred<T>, "promise">) };
}

/** `work`, or what `late` returns when that takes longer. */
async function within<T>(timeoutMs: number, work: Promise<T>, late: () => T): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<"late">((resolve) => {
    timer = setTimeout(resolve, timeoutMs, "late");
  });
  try {
    const first = await Promise.race([work.then((value) => ({ value })), timeout]);
    return first === "late" ? late() : first.value;
  } finally {
    clearTimeout(timer);
  }
}
