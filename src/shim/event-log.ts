/**
 * The on-disk half of the event spool: an append log in small segments plus a watermark of what berthd has
 * acknowledged. Written by the shim alone; readable by anybody at any moment, also after a `kill -9`, so that
 * the daemon can collect what a dead shim never delivered. Nothing is fsynced: the log lives beside sockets
 * in a directory that a reboot empties, and a process crash does not lose the page cache.
 *
 * Segment `<first sequence>.log` holds records: u32 length, u32 crc32, payload. Payload: u64 sequence, u16
 * length of the container id, the id, the encoded containerd.types.Envelope. All big-endian.
 */
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";

export interface EventRecord {
  /** Rises by one with each event of this shim; from 1. */
  readonly sequence: number;
  readonly containerId: string;
  /** An encoded containerd.types.Envelope. */
  readonly envelope: Uint8Array;
}

export interface EventLogOptions {
  /** A segment is closed once it is this long; default 256 KiB. */
  readonly segmentBytes?: number;
}

interface Segment {
  readonly path: string;
  readonly firstSequence: number;
  sizeBytes: number;
}

const headerBytes = 8;
const watermarkName = "acked";
const segmentPattern = /^(\d{16})\.log$/;

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

/** What a shim never got acknowledged, in order; [] when there is no log. For the daemon, after a shim's death. */
export function readUndelivered(directory: string): EventRecord[] {
  const acknowledged = readWatermark(directory);
  return listSegments(directory)
    .flatMap(({ path }) => parseSegment(readFileSync(path)).records)
    .filter((record) => record.sequence > acknowledged);
}

function openTail(segment: Segment): number {
  const fd = openSync(segment.path, "r+");
  if (fstatSync(fd).size > segment.sizeBytes) ftruncateSync(fd, segment.sizeBytes);
  return fd;
}

function listSegments(directory: string): { path: string; firstSequence: number }[] {
  let names: string[];
  try {
    names = readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
  return names
    .filter((name) => segmentPattern.test(name))
    .sort()
    .map((name) => ({ path: join(directory, name), firstSequence: Number(name.slice(0, 16)) }));
}

function readWatermark(directory: string): number {
  try {
    const bytes = readFileSync(join(directory, watermarkName));
    return bytes.length >= 8 ? Number(bytes.readBigUInt64BE()) : 0;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return 0;
    throw error;
  }
}

function encodeRecord(record: EventRecord): Buffer {
  const id = Buffer.from(record.containerId);
  const payload = Buffer.alloc(10 + id.length + record.envelope.length);
  payload.writeBigUInt64BE(BigInt(record.sequence), 0);
  payload.writeUInt16BE(id.length, 8);
  id.copy(payload, 10);
  payload.set(record.envelope, 10 + id.length);
  const header = Buffer.alloc(headerBytes);
  header.writeUInt32BE(payload.length, 0);
  header.writeUInt32BE(crc32(payload), 4);
  return Buffer.concat([header, payload]);
}

/** Reads until the end or the first record that is torn or damaged: nothing after it can be trusted. */
function parseSegment(bytes: Buffer): { records: EventRecord[]; validBytes: number } {
  const records: EventRecord[] = [];
  let offset = 0;
  while (offset + headerBytes <= bytes.length) {
    const length = bytes.readUInt32BE(offset);
    const end = offset + headerBytes + length;
    if (length < 10 || end > bytes.length) break;
    const payload = bytes.subarray(offset + headerBytes, end);
    if (crc32(payload) !== bytes.readUInt32BE(offset + 4)) break;
    const idEnd = 10 + payload.readUInt16BE(8);
    if (idEnd > payload.length) break;
    records.push({
      sequence: Number(payload.readBigUInt64BE(0)),
      containerId: payload.toString("utf8", 10, idEnd),
      envelope: payload.subarray(idEnd),
    });
    offset = end;
  }
  return { records, validBytes: offset };
}
