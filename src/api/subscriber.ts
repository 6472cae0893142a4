/**
 * One Events.Subscribe stream as the journal sees it: a bounded queue in front of a transport that may stall.
 * Nothing leaves before the first event. A subscriber that lags is cut off with the reason, the others feel nothing.
 */
import { resourceExhausted, unavailable } from "../core/errors.js";
import type { EventSink, JournalEntry } from "../ports/event-sink.js";
import { encodedEntry } from "./event-encoding.js";
import type { ResponseStream } from "./unary.js";

/** Bytes that may wait beside the bound on their number: events can be megabytes. */
const maxQueuedBytes = 16 * 1024 * 1024;

export class Subscriber implements EventSink {
  readonly #stream: ResponseStream<Buffer>;
  readonly #limit: number;
  #queue: Buffer[] = [];
  #queuedBytes = 0;
  #stalled = false;
  #open = true;
  #fail: (reason: unknown) => void = () => undefined;
  /** Rejects when the subscription is over, by whichever side; never resolves. */
  readonly ended: Promise<never>;

  constructor(stream: ResponseStream<Buffer>, limit: number, signal: AbortSignal) {
    this.#stream = stream;
    this.#limit = limit;
    this.ended = new Promise((_, reject) => {
      this.#fail = reject;
    });
    // Whoever opened the subscription awaits this later; until then a rejection is not an unhandled one.
    this.ended.catch(() => undefined);
    const onAbort = (): void => this.#finish(signal.reason);
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
  }

  push(entry: JournalEntry): boolean {
    if (!this.#open) return false;
    const bytes = encodedEntry(entry);
    if (!this.#stalled) {
      this.#write(bytes);
      return true;
    }
    if (this.#queue.length >= this.#limit || this.#queuedBytes + bytes.length > maxQueuedBytes) return false;
    this.#queue.push(bytes);
    this.#queuedBytes += bytes.length;
    return true;
  }

  end(reason: "lagging" | "shutdown"): void {
    const { length } = this.#queue;
    this.#finish(
      reason === "lagging"
        ? resourceExhausted(`subscriber is too slow: ${length} events were waiting for it`)
        : unavailable("the event journal stopped"),
    );
  }

  #finish(reason: unknown): void {
    this.#open = false;
    this.#queue = [];
    this.#queuedBytes = 0;
    this.#fail(reason);
  }

  #write(bytes: Buffer): void {
    if (this.#stream.write(bytes)) return;
    this.#stalled = true;
    this.#stream.drained().then(
      () => this.#flush(),
      (error: unknown) => this.#finish(error),
    );
  }

  #flush(): void {
    this.#stalled = false;
    const waiting = this.#queue;
    this.#queue = [];
    let sent = 0;
    while (sent < waiting.length && !this.#stalled) {
      const bytes = waiting[sent++] as Buffer;
      this.#queuedBytes -= bytes.length;
      this.#write(bytes);
    }
    if (this.#open) this.#queue = waiting.slice(sent);
  }
}
