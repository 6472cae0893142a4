/**
 * The on-disk half of the event spool: an append log in small segments plus a watermark of what berthd has
 * acknowledged. Written by the shim alone; readable by anybody at any moment, also after a `kill -9`, so that
 * the daemon can collect what a dead shim never delivered. Nothing is fsynced: the log lives beside sockets
 * in a directory that a reboot empties, and a process crash does not lose the page cache.
 * The bytes are laid out in `wire/event-log-format.ts`.
 */
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import {
  type EventRecord,
  encodeRecord,
  listSegments,
  parseSegment,
  readWatermark,
  watermarkName,
} from "../wire/event-log-format.js";

export { type EventRecord, readUndelivered } from "../wire/event-log-format.js";

export interface EventLogOptions {
  /** A segment is closed once it is this long; default 256 KiB. */
  readonly segmentBytes?: number;
}

interface Segment {
  readonly path: string;
  readonly firstSequence: number;
  sizeBytes: number;
}

/** Appends, trims and re-reads; every call is a few synchronous system calls on a memory file system. */
export class EventLog {
  readonly #directory: string;
  readonly #segmentBytes: number;
  readonly #watermarkFd: number;
  readonly #segments: Segment[] = [];
  #tailFd: number | undefined;
  #lastSequence = 0;
  #acknowledged = 0;

  private constructor(directory: string, options: EventLogOptions) {
    this.#directory = directory;
    this.#segmentBytes = options.segmentBytes ?? 256 * 1024;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    this.#acknowledged = readWatermark(directory);
    this.#lastSequence = this.#acknowledged;
    for (const { path, firstSequence } of listSegments(directory)) {
      const { records, validBytes } = parseSegment(readFileSync(path));
      const last = records.at(-1);
      if (last === undefined || last.sequence <= this.#acknowledged) {
        unlinkSync(path);
        continue;
      }
      this.#lastSequence = Math.max(this.#lastSequence, last.sequence);
      this.#segments.push({ path, firstSequence, sizeBytes: validBytes });
    }
    this.#watermarkFd = openSync(join(directory, watermarkName), "a+", 0o600);
    closeSync(this.#watermarkFd);
    this.#watermarkFd = openSync(join(directory, watermarkName), "r+");
  }

  /** Opens or makes the log; a torn record at the end of an earlier run is forgotten. */
  static open(directory: string, options: EventLogOptions = {}): EventLog {
    return new EventLog(directory, options);
  }

  get lastSequence(): number {
    return this.#lastSequence;
  }

  /** Every event up to this one has been acknowledged. */
  get acknowledgedSequence(): number {
    return this.#acknowledged;
  }

  get sizeBytes(): number {
    return this.#segments.reduce((sum, segment) => sum + segment.sizeBytes, 0);
  }

  /** Writes one record; throws the errno (a full disk) and then leaves the log as it was. */
  append(record: EventRecord): void {
    const bytes = encodeRecord(record);
    const { segment, fd } = this.#tail(record.sequence);
    this.#lastSequence = record.sequence;
    try {
      for (let written = 0; written < bytes.length; ) {
        written += writeSync(fd, bytes, written, bytes.length - written, segment.sizeBytes + written);
      }
    } catch (error) {
      ftruncateSync(fd, segment.sizeBytes);
      throw error;
    }
    segment.sizeBytes += bytes.length;
  }

  /** Forgets every event up to `sequence`, and the segments that held only such. */
  acknowledge(sequence: number): void {
    if (sequence <= this.#acknowledged) return;
    this.#acknowledged = sequence;
    const watermark = Buffer.alloc(8);
    watermark.writeBigUInt64BE(BigInt(sequence));
    writeSync(this.#watermarkFd, watermark, 0, 8, 0);
    for (let next = this.#segments[1]; next !== undefined; next = this.#segments[1]) {
      if (next.firstSequence > sequence + 1) break;
      this.#dropFirst();
    }
    // The open segment is emptied by starting over, not by rewriting, once it has grown worth the trouble.
    const only = this.#segments[0];
    if (sequence >= this.#lastSequence && only !== undefined && only.sizeBytes >= this.#segmentBytes / 8) {
      this.#dropFirst();
    }
  }

  /** Up to `limit` unacknowledged records after `sequence`, in order. */
  readAfter(sequence: number, limit: number): EventRecord[] {
    const found: EventRecord[] = [];
    const from = Math.max(sequence, this.#acknowledged);
    this.#segments.forEach((segment, index) => {
      const next = this.#segments[index + 1];
      if (found.length >= limit || (next !== undefined && next.firstSequence <= from + 1)) return;
      const bytes = readFileSync(segment.path).subarray(0, segment.sizeBytes);
      for (const record of parseSegment(bytes).records) {
        if (record.sequence > from && found.length < limit) found.push(record);
      }
    });
    return found;
  }

  close(): void {
    if (this.#tailFd !== undefined) closeSync(this.#tailFd);
    this.#tailFd = undefined;
    closeSync(this.#watermarkFd);
  }

  #tail(sequence: number): { segment: Segment; fd: number } {
    const last = this.#segments.at(-1);
    if (last !== undefined && last.sizeBytes < this.#segmentBytes) {
      this.#tailFd ??= openTail(last);
      return { segment: last, fd: this.#tailFd };
    }
    if (this.#tailFd !== undefined) closeSync(this.#tailFd);
    this.#tailFd = undefined;
    const path = join(this.#directory, `${String(sequence).padStart(16, "0")}.log`);
    this.#tailFd = openSync(path, "w+", 0o600);
    const segment = { path, firstSequence: sequence, sizeBytes: 0 };
    this.#segments.push(segment);
    return { segment, fd: this.#tailFd };
  }

  #dropFirst(): void {
    const first = this.#segments.shift();
    if (first === undefined) return;
    if (this.#segments.length === 0 && this.#tailFd !== undefined) {
      closeSync(this.#tailFd);
      this.#tailFd = undefined;
    }
    unlinkSync(first.path);
  }
}

function openTail(segment: Segment): number {
  const fd = openSync(segment.path, "r+");
  if (fstatSync(fd).size > segment.sizeBytes) ftruncateSync(fd, segment.sizeBytes);
  return fd;
}
