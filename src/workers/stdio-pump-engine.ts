/**
 * The epoll loop of a pump thread: moves bytes with splice, so that they never enter this process. A stream
 * waits for one descriptor at a time, its source or, when that has bytes but the sink is full, its sink; so
 * a reader that does not read costs nothing and holds up nobody else. Owns no descriptor.
 */
import { EPOLLIN, EPOLLOUT, type Epoll } from "../native/epoll.js";
import { drainEventFd } from "../native/eventfd.js";
import { POLLERR, POLLHUP, POLLIN, POLLOUT, pollFd, readFd, writeFd } from "../native/fds.js";
import { hasCode, SystemError } from "../native/libc.js";
import { splice } from "../native/splice.js";
import { ledgerDropped, ledgerMoved, type PumpEnd, type PumpStream } from "./stdio-pump-protocol.js";

/** Splices for one stream before the others get their turn. */
const roundsPerTurn = 4;
/** The buffer of copied streams. */
const bufferBytes = 64 * 1024;
/** A pipe that polls writable has room for a page: what is read for it must not be more. */
const pageBytes = 4096;
/** How long a stream rests whose sink said no without saying when to come back (disk full, a busy tty). */
const restMs = 100;
const shortRestMs = 2;

const wakeData = 0;
const sinkBit = 1;

interface Stream {
  readonly id: number;
  readonly source: number;
  readonly sink: number;
  readonly ledger: Float64Array;
  chunkBytes: number;
  copied: boolean;
  untilEmpty: boolean;
  /** Which descriptor epoll watches; "resting" streams have none and a time to try again. */
  waitsFor: "source" | "sink" | "resting";
  restUntil: number;
  /** Read but not taken by the sink yet; copied streams only. */
  pending: Buffer | undefined;
}

export class PumpEngine {
  readonly #streams = new Map<number, Stream>();
  readonly #resting = new Set<Stream>();
  #chunk: Buffer | undefined;

  constructor(
    private readonly epoll: Epoll,
    private readonly wakeFd: number,
    private readonly onEnd: (id: number, end: PumpEnd) => void,
  ) {
    epoll.add(wakeFd, EPOLLIN, wakeData);
  }

  get streamCount(): number {
    return this.#streams.size;
  }

  add(spec: PumpStream): void {
    if (this.#streams.has(spec.id)) return;
    const stream: Stream = {
      id: spec.id,
      source: spec.source,
      sink: spec.sink,
      ledger: new Float64Array(spec.ledger),
      chunkBytes: spec.copied ? Math.min(spec.chunkBytes, bufferBytes) : spec.chunkBytes,
      copied: spec.copied,
      untilEmpty: spec.untilEmpty,
      waitsFor: "resting",
      restUntil: 0,
      pending: undefined,
    };
    this.#streams.set(spec.id, stream);
    this.#guarded(stream, () => {
      this.#watch(stream, "source");
      // Bytes may have waited for long; without this an `untilEmpty` stream that is empty would never end.
      this.#pump(stream);
    });
  }

  /** Forgets a stream without a report. */
  remove(id: number): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    if (stream.pending !== undefined) {
      stream.ledger[ledgerDropped] = (stream.ledger[ledgerDropped] ?? 0) + stream.pending.length;
    }
    this.#unwatch(stream);
    this.#streams.delete(id);
  }

  endWhenEmpty(id: number): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    stream.untilEmpty = true;
    if (stream.waitsFor === "source") this.#guarded(stream, () => this.#pump(stream));
  }

  /** Waits up to `timeoutMs` for work and does it. True when the wake descriptor fired: messages are waiting. */
  turn(timeoutMs: number): boolean {
    let woken = false;
    this.epoll.wait(this.#shortened(timeoutMs), (data) => {
      if (data === wakeData) {
        drainEventFd(this.wakeFd);
        woken = true;
        return;
      }
      const stream = this.#streams.get(Math.floor(data / 2));
      // An event of this batch may be for a stream that ended earlier in it.
      if (stream === undefined) return;
      this.#guarded(stream, () => {
        if (data % 2 === sinkBit) this.#watch(stream, "source");
        this.#pump(stream);
      });
    });
    this.#resumeRested();
    return woken;
  }

  #pump(stream: Stream): void {
    for (let round = 0; round < roundsPerTurn; round++) {
      const moved = this.#transfer(stream);
      if (moved === undefined) {
        this.#stalled(stream);
        return;
      }
      if (moved === 0) {
        this.#end(stream, { reason: "end-of-file" });
        return;
      }
      stream.ledger[ledgerMoved] = (stream.ledger[ledgerMoved] ?? 0) + moved;
      // Much less than asked for: the source was empty, or nearly; asking again would only get EAGAIN.
      if (moved < stream.chunkBytes / 4 && !stream.untilEmpty) return;
    }
    // Epoll is level-triggered: what is left announces itself again, after the other streams' turn. An ending
    // stream may just have become empty, which nothing would announce.
    if (stream.untilEmpty) this.#rest(stream, 0);
  }

  /** Bytes moved, 0 at the end of the source, undefined when one side would block. */
  #transfer(stream: Stream): number | undefined {
    if (stream.copied) return this.#copy(stream);
    try {
      return splice(stream.source, stream.sink, stream.chunkBytes);
    } catch (error) {
      // Some pairs of files cannot be spliced (older kernels: terminals).
      if (!hasCode(error, "EINVAL")) throw error;
      stream.copied = true;
      stream.chunkBytes = pageBytes;
      return this.#copy(stream);
    }
  }

  #copy(stream: Stream): number | undefined {
    if (stream.pending === undefined) {
      // Reading only what the sink can take keeps bytes in the pipe, where a thread's death cannot lose them.
      const room = pollFd(stream.sink, POLLOUT);
      if ((room & POLLOUT) === 0) return undefined;
      this.#chunk ??= Buffer.allocUnsafeSlow(bufferBytes);
      const count = readFd(stream.source, this.#chunk.subarray(0, stream.chunkBytes));
      if (count === undefined || count === 0) return count;
      return this.#give(stream, this.#chunk.subarray(0, count));
    }
    return this.#give(stream, stream.pending);
  }

  #give(stream: Stream, bytes: Buffer): number | undefined {
    let taken: number | undefined;
    try {
      taken = writeFd(stream.sink, bytes);
    } catch (error) {
      stream.pending = bytes === stream.pending ? bytes : Buffer.from(bytes);
      throw error;
    }
    if (taken === bytes.length) {
      stream.pending = undefined;
      return taken;
    }
    const rest = bytes.subarray(taken ?? 0);
    stream.pending = bytes.buffer === this.#chunk?.buffer ? Buffer.from(rest) : rest;
    return taken;
  }

  /** EAGAIN does not say which side: look at both. */
  #stalled(stream: Stream): void {
    const sink = pollFd(stream.sink, POLLOUT);
    if ((sink & POLLERR) !== 0 && (sink & POLLOUT) === 0) {
      this.#end(stream, { reason: "sink-closed" });
      return;
    }
    const hasBytes =
      stream.pending !== undefined || (pollFd(stream.source, POLLIN) & (POLLIN | POLLHUP)) !== 0;
    if (!hasBytes) {
      if (stream.untilEmpty) this.#end(stream, { reason: "emptied" });
      else if (stream.waitsFor !== "source") this.#watch(stream, "source");
      return;
    }
    if ((sink & POLLOUT) === 0) this.#watch(stream, "sink");
    // Both claim to be ready: without a rest this would spin.
    else this.#rest(stream, shortRestMs);
  }

  /** Runs one stream's work; its failure ends or rests that stream only. */
  #guarded(stream: Stream, work: () => void): void {
    try {
      work();
    } catch (error) {
      if (hasCode(error, "EPIPE")) this.#end(stream, { reason: "sink-closed" });
      // A pty master says EIO when the last slave descriptor is closed: its end of file.
      else if (hasCode(error, "EIO") && !(error instanceof SystemError && error.syscall === "write"))
        this.#end(stream, { reason: "end-of-file" });
      // A full disk is back-pressure like any other: the process waits until there is room.
      else if (hasCode(error, "ENOSPC", "EDQUOT")) this.#rest(stream, restMs);
      else this.#end(stream, { reason: "failed", error: String(error) });
    }
  }

  #watch(stream: Stream, side: "source" | "sink"): void {
    if (stream.waitsFor === side) return;
    this.#unwatch(stream);
    if (side === "source") this.epoll.add(stream.source, EPOLLIN, stream.id * 2);
    else this.epoll.add(stream.sink, EPOLLOUT, stream.id * 2 + sinkBit);
    stream.waitsFor = side;
  }

  // Removed, not modified to no events: a hang-up is reported whatever the mask, and would spin.
  #unwatch(stream: Stream): void {
    if (stream.waitsFor === "source") this.epoll.remove(stream.source);
    else if (stream.waitsFor === "sink") this.epoll.remove(stream.sink);
    else this.#resting.delete(stream);
    stream.waitsFor = "resting";
  }

  #rest(stream: Stream, forMs: number): void {
    this.#unwatch(stream);
    stream.restUntil = performance.now() + forMs;
    this.#resting.add(stream);
  }

  #resumeRested(): void {
    if (this.#resting.size === 0) return;
    const now = performance.now();
    for (const stream of [...this.#resting]) {
      if (stream.restUntil > now) continue;
      this.#guarded(stream, () => {
        this.#watch(stream, "source");
        this.#pump(stream);
      });
    }
  }

  #shortened(timeoutMs: number): number {
    let shortest = timeoutMs;
    const now = performance.now();
    for (const stream of this.#resting) {
      shortest = Math.min(shortest, Math.max(0, Math.ceil(stream.restUntil - now)));
    }
    return shortest;
  }

  #end(stream: Stream, end: PumpEnd): void {
    this.remove(stream.id);
    this.onEnd(stream.id, end);
  }
}
