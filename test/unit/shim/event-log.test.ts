import {
  appendFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { EventLog, type EventRecord, readUndelivered } from "../../../src/shim/event-log.js";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "berth-event-log-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const record = (sequence: number, size = 3): EventRecord => ({
  sequence,
  containerId: `c${sequence % 2}`,
  envelope: Buffer.alloc(size, sequence),
});
const sequences = (records: readonly EventRecord[]): number[] => records.map(({ sequence }) => sequence);
const segments = (): string[] => readdirSync(directory).filter((name) => name.endsWith(".log"));
const onlySegment = (): string => {
  const [name, ...more] = segments();
  if (name === undefined || more.length > 0) throw new Error(`expected one segment, found ${segments()}`);
  return join(directory, name);
};

describe("the event log", () => {
  it("gives back what was appended, to itself, to a later opener and to a mere reader", () => {
    const log = EventLog.open(directory);
    for (const sequence of [1, 2, 3]) log.append(record(sequence));
    expect(log.readAfter(1, 10)).toEqual([record(2), record(3)]);
    expect(readUndelivered(directory)).toEqual([record(1), record(2), record(3)]);
    log.close();
    const again = EventLog.open(directory);
    expect(again.lastSequence).toBe(3);
    expect(sequences(again.readAfter(0, 2))).toEqual([1, 2]);
    again.close();
  });

  it("forgets what is acknowledged, across a reopening too", () => {
    const log = EventLog.open(directory);
    for (const sequence of [1, 2, 3]) log.append(record(sequence));
    log.acknowledge(2);
    expect(sequences(readUndelivered(directory))).toEqual([3]);
    log.close();
    const again = EventLog.open(directory);
    expect(again.acknowledgedSequence).toBe(2);
    expect(sequences(again.readAfter(0, 10))).toEqual([3]);
    again.acknowledge(3);
    again.close();
    const empty = EventLog.open(directory);
    expect(empty.lastSequence).toBe(3);
    expect(segments()).toEqual([]);
    empty.append(record(4));
    expect(sequences(readUndelivered(directory))).toEqual([4]);
    empty.close();
  });

  it("stays small while everything is acknowledged", () => {
    const log = EventLog.open(directory, { segmentBytes: 1024 });
    for (let sequence = 1; sequence <= 1000; sequence++) {
      log.append(record(sequence, 50));
      log.acknowledge(sequence);
    }
    expect(log.sizeBytes).toBeLessThan(1024);
    expect(segments().length).toBeLessThanOrEqual(1);
    log.close();
  });

  it("drops whole segments behind a lagging reader", () => {
    const log = EventLog.open(directory, { segmentBytes: 200 });
    for (let sequence = 1; sequence <= 40; sequence++) log.append(record(sequence, 50));
    const before = segments().length;
    expect(before).toBeGreaterThan(5);
    log.acknowledge(30);
    expect(segments().length).toBeLessThan(before / 2);
    expect(sequences(log.readAfter(0, 100))).toEqual([31, 32, 33, 34, 35, 36, 37, 38, 39, 40]);
    expect(sequences(log.readAfter(35, 2))).toEqual([36, 37]);
    log.close();
  });

  it("reads up to a torn record, as a kill in the middle of a write leaves it, and goes on after it", () => {
    const log = EventLog.open(directory);
    log.append(record(1));
    log.append(record(2));
    log.close();
    const whole = readFileSync(onlySegment());
    for (let cut = 1; cut < whole.length / 2; cut++) {
      writeFileSync(onlySegment(), whole.subarray(0, whole.length - cut));
      expect(sequences(readUndelivered(directory))).toEqual([1]);
    }
    const again = EventLog.open(directory);
    expect(again.lastSequence).toBe(1);
    again.append(record(2));
    again.append(record(3));
    expect(readUndelivered(directory)).toEqual([record(1), record(2), record(3)]);
    again.close();
  });

  it("does not take garbage for events", () => {
    const log = EventLog.open(directory);
    log.append(record(1));
    log.append(record(2));
    log.close();
    const bytes = readFileSync(onlySegment());
    bytes.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 0xff, bytes.length - 1);
    writeFileSync(onlySegment(), bytes);
    appendFileSync(onlySegment(), Buffer.alloc(100, 0xff));
    expect(sequences(readUndelivered(directory))).toEqual([1]);
  });

  it("is private, and empty where there is none", () => {
    EventLog.open(join(directory, "sub")).close();
    expect(statSync(join(directory, "sub")).mode & 0o777).toBe(0o700);
    expect(readUndelivered(join(directory, "nowhere"))).toEqual([]);
  });
});
