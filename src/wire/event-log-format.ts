/**
 * The event log of a shim as bytes on disk: the shim writes it (`shim/event-log.ts`), the daemon reads what a dead
 * shim never delivered.
 *
 * Segment `<first sequence>.log` holds records: u32 length, u32 crc32, payload. Payload: u64 sequence, u16
 * length of the container id, the id, the encoded containerd.types.Envelope. All big-endian. The file `acked`
 * holds the u64 sequence up to which everything has been acknowledged.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";

/** Name of the log's directory in the shim's. */
export const spoolName = "spool";
export const watermarkName = "acked";
const segmentPattern = /^(\d{16})\.log$/;
const headerBytes = 8;

export interface EventRecord {
  /** Rises by one with each event of this shim; from 1. */
  readonly sequence: number;
  readonly containerId: string;
  /** An encoded containerd.types.Envelope. */
  readonly envelope: Uint8Array;
}

/** What a shim never got acknowledged, in order; [] when there is no log. For the daemon, after a shim's death. */
export function readUndelivered(directory: string): EventRecord[] {
  const acknowledged = readWatermark(directory);
  return listSegments(directory)
    .flatMap(({ path }) => parseSegment(readFileSync(path)).records)
    .filter((record) => record.sequence > acknowledged);
}

export function listSegments(directory: string): { path: string; firstSequence: number }[] {
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

export function readWatermark(directory: string): number {
  try {
    const bytes = readFileSync(join(directory, watermarkName));
    return bytes.length >= 8 ? Number(bytes.readBigUInt64BE()) : 0;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return 0;
    throw error;
  }
}

export function encodeRecord(record: EventRecord): Buffer {
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
export function parseSegment(bytes: Buffer): { records: EventRecord[]; validBytes: number } {
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
