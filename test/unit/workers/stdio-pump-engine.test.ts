import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createEpoll, type Epoll } from "../../../src/native/epoll.js";
import { createEventFd, signalEventFd } from "../../../src/native/eventfd.js";
import {
  closeFd,
  makePipe,
  O_APPEND,
  O_CREAT,
  O_NONBLOCK,
  O_WRONLY,
  openFd,
  readFd,
  setPipeSize,
  writeFd,
} from "../../../src/native/fds.js";
import { PumpEngine } from "../../../src/workers/stdio-pump-engine.js";
import {
  ledgerBytes,
  ledgerDropped,
  ledgerMoved,
  type PumpEnd,
} from "../../../src/workers/stdio-pump-protocol.js";

describe("the pump engine", () => {
  let epoll: Epoll;
  let wakeFd: number;
  let engine: PumpEngine;
  let ends: Map<number, PumpEnd>;
  let opened: Set<number>;

  beforeEach(() => {
    epoll = createEpoll();
    wakeFd = createEventFd();
    ends = new Map();
    opened = new Set([wakeFd]);
    engine = new PumpEngine(epoll, wakeFd, (id, end) => ends.set(id, end));
  });
  afterEach(() => {
    for (const fd of opened) closeFd(fd);
    epoll.close();
  });

  const pipe = (): [number, number] => {
    const ends = makePipe(O_NONBLOCK);
    for (const fd of ends) opened.add(fd);
    return ends;
  };
  const close = (fd: number): void => {
    opened.delete(fd);
    closeFd(fd);
  };
  const add = (
    id: number,
    source: number,
    sink: number,
    extra: { copied?: boolean; untilEmpty?: boolean } = {},
  ): Float64Array => {
    const ledger = new SharedArrayBuffer(ledgerBytes);
    engine.add({ id, source, sink, copied: false, untilEmpty: false, chunkBytes: 65_536, ledger, ...extra });
    return new Float64Array(ledger);
  };
  const readAll = (fd: number): Buffer => {
    const parts: Buffer[] = [];
    for (;;) {
      const buffer = Buffer.allocUnsafeSlow(65_536);
      const count = readFd(fd, buffer);
      if (count === undefined || count === 0) return Buffer.concat(parts);
      parts.push(buffer.subarray(0, count));
    }
  };

  it("moves bytes, then reports the end of file", () => {
    const [source, writer] = pipe();
    const [reader, sink] = pipe();
    const ledger = add(1, source, sink);
    writeFd(writer, Buffer.from("hello"));
    engine.turn(0);
    expect(readAll(reader).toString()).toBe("hello");
    expect(ends.size).toBe(0);
    close(writer);
    engine.turn(0);
    expect(ends.get(1)).toEqual({ reason: "end-of-file" });
    expect(ledger[ledgerMoved]).toBe(5);
    expect(engine.streamCount).toBe(0);
  });

  it("sleeps while a sink is full, even when its source has hung up", () => {
    const [source, writer] = pipe();
    const [reader, sink] = pipe();
    setPipeSize(sink, 4096);
    writeFd(writer, Buffer.alloc(20_000, 1));
    close(writer);
    add(1, source, sink);
    engine.turn(0);
    const startedAt = performance.now();
    engine.turn(50);
    // A busy loop would return at once: the source reports its hang-up for ever.
    expect(performance.now() - startedAt).toBeGreaterThan(40);
    let received = 0;
    for (let turn = 0; turn < 20 && ends.size === 0; turn++) {
      received += readAll(reader).length;
      engine.turn(0);
    }
    received += readAll(reader).length;
    expect(received).toBe(20_000);
    expect(ends.get(1)).toEqual({ reason: "end-of-file" });
  });

  it("reports a sink that nobody will read again", () => {
    const [source, writer] = pipe();
    const [reader, sink] = pipe();
    add(1, source, sink);
    close(reader);
    writeFd(writer, Buffer.from("x"));
    engine.turn(0);
    expect(ends.get(1)).toEqual({ reason: "sink-closed" });
  });

  it("ends an emptied stream when asked to, at once or when its sink has room again", () => {
    const [source, writer] = pipe();
    const [, sink] = pipe();
    add(1, source, sink);
    engine.endWhenEmpty(1);
    expect(ends.get(1)).toEqual({ reason: "emptied" });

    const [source2, writer2] = pipe();
    const [reader2, sink2] = pipe();
    setPipeSize(sink2, 4096);
    writeFd(writer2, Buffer.alloc(6_000, 2));
    add(2, source2, sink2);
    engine.turn(0);
    engine.endWhenEmpty(2);
    expect(ends.has(2)).toBe(false);
    readAll(reader2);
    for (let turn = 0; turn < 5 && !ends.has(2); turn++) engine.turn(0);
    expect(ends.get(2)).toEqual({ reason: "emptied" });
    expect(readAll(reader2).length).toBe(6_000 - 4_096);
    expect(writer).toBeGreaterThan(2);
  });

  it("waits for room on a full disk and then goes on", () => {
    const [source, writer] = pipe();
    // /dev/full refuses every write as a full disk does.
    const sink = openFd("/dev/full", O_WRONLY | O_NONBLOCK);
    opened.add(sink);
    const ledger = add(1, source, sink, { copied: true });
    writeFd(writer, Buffer.from("kept"));
    engine.turn(0);
    engine.turn(150);
    expect(ends.size).toBe(0);
    engine.remove(1);
    expect(ledger[ledgerDropped]).toBe(4);
    expect(ledger[ledgerMoved]).toBe(0);
  });

  it("copies to files opened for appending", () => {
    const directory = mkdtempSync(join(tmpdir(), "berth-engine-"));
    try {
      const [source, writer] = pipe();
      const sink = openFd(join(directory, "log"), O_WRONLY | O_APPEND | O_CREAT);
      opened.add(sink);
      // As a stream that was thought to splice, and as one known to need copying.
      add(1, source, sink);
      writeFd(writer, Buffer.from("one\n"));
      engine.turn(0);
      engine.remove(1);
      add(2, source, sink, { copied: true });
      writeFd(writer, Buffer.from("two\n"));
      close(writer);
      for (let turn = 0; turn < 5 && !ends.has(2); turn++) engine.turn(0);
      expect(readFileSync(join(directory, "log"), "utf8")).toBe("one\ntwo\n");
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });

  it("says when it was woken, and forgets removed streams", () => {
    expect(engine.turn(0)).toBe(false);
    signalEventFd(wakeFd);
    expect(engine.turn(1_000)).toBe(true);
    const [source, writer] = pipe();
    const [reader, sink] = pipe();
    add(1, source, sink);
    engine.remove(1);
    engine.remove(1);
    writeFd(writer, Buffer.from("stays"));
    engine.turn(0);
    expect(readAll(reader).length).toBe(0);
    expect(readAll(source).toString()).toBe("stays");
  });

  it("keeps every byte in order however writes, reads and turns fall", () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.oneof(
            fc.record({ write: fc.nat(9_000) }),
            fc.constant("read" as const),
            fc.constant("turn" as const),
          ),
          {
            maxLength: 60,
          },
        ),
        fc.boolean(),
        (steps, copied) => {
          const id = Math.floor(Math.random() * 2 ** 40) + 10;
          const [source, writer] = pipe();
          const [reader, sink] = pipe();
          setPipeSize(sink, 8192);
          const ledger = add(id, source, sink, { copied });
          let written = 0;
          const received: Buffer[] = [];
          for (const step of steps) {
            if (step === "read") received.push(readAll(reader));
            else if (step === "turn") engine.turn(0);
            else {
              const bytes = Buffer.from(Array.from({ length: step.write }, (_, at) => (written + at) % 251));
              if (bytes.length > 0) written += writeFd(writer, bytes) ?? 0;
            }
          }
          close(writer);
          for (let turn = 0; turn < 200 && !ends.has(id); turn++) {
            engine.turn(5);
            received.push(readAll(reader));
          }
          const all = Buffer.concat(received);
          expect(ends.get(id)).toEqual({ reason: "end-of-file" });
          expect(all.length).toBe(written);
          expect(all.every((byte, at) => byte === at % 251)).toBe(true);
          expect(ledger[ledgerMoved]).toBe(written);
          for (const fd of [source, reader, sink]) close(fd);
        },
      ),
      { numRuns: 60 },
    );
  });
});
