import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { invalidArgument, unavailable, unknownError } from "../../../src/core/errors.js";
import { silentLogger } from "../../../src/core/logger.js";
import { EventLog, type EventRecord, readUndelivered } from "../../../src/shim/event-log.js";
import { EventSpool, type EventSpoolOptions } from "../../../src/shim/event-spool.js";
import { Envelope } from "../../../src/wire/gen/containerd/types/types.js";
import { ManualClock, settle } from "./task-fakes.js";

const payload = (text: string) => ({ typeUrl: "t", value: Buffer.from(text) });

describe("the event spool", () => {
  let directory: string;
  let clock: ManualClock;
  let spool: EventSpool;
  /** Deliveries under way, in the order of their start. */
  let pending: { record: EventRecord; accept: () => void; refuse: (error: Error) => void }[];
  let delivered: string[];
  let attempts: number;
  let mostAtOnce: number;
  /** What a delivery does by itself; undefined leaves it pending. */
  let reflex: ((record: EventRecord) => Error | undefined) | undefined;

  const textOf = (record: EventRecord): string =>
    `${record.containerId}:${Buffer.from(Envelope.decode(record.envelope).event?.value ?? []).toString()}`;
  const open = (options: Partial<EventSpoolOptions> = {}): void => {
    spool = new EventSpool({
      namespace: "ns",
      log: silentLogger,
      clock,
      eventLog: EventLog.open(directory, { segmentBytes: 4096 }),
      forwarder: {
        forward: (record) =>
          new Promise((resolve, reject) => {
            attempts += 1;
            const entry = {
              record,
              accept: () => {
                pending.splice(pending.indexOf(entry), 1);
                delivered.push(textOf(record));
                resolve();
              },
              refuse: (error: Error) => {
                pending.splice(pending.indexOf(entry), 1);
                reject(error);
              },
            };
            pending.push(entry);
            mostAtOnce = Math.max(mostAtOnce, pending.length);
            if (reflex === undefined) return;
            const error = reflex(record);
            if (error === undefined) entry.accept();
            else entry.refuse(error);
          }),
      },
      ...options,
    });
  };
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "berth-spool-"));
    clock = new ManualClock();
    pending = [];
    delivered = [];
    attempts = 0;
    mostAtOnce = 0;
    reflex = undefined;
  });
  afterEach(() => {
    spool.close();
    rmSync(directory, { recursive: true, force: true });
  });

  it("delivers one container's events strictly one after the other, and containers side by side", async () => {
    open();
    for (const text of ["1", "2", "3"])
      for (const id of ["a", "b"]) spool.publish(id, "/tasks/start", payload(text));
    await settle();
    expect(pending.map(({ record }) => textOf(record))).toEqual(["a:1", "b:1"]);
    pending[1]?.accept();
    await settle();
    expect(pending.map(({ record }) => textOf(record))).toEqual(["a:1", "b:2"]);
    reflex = () => undefined;
    for (const entry of [...pending]) entry.accept();
    await settle();
    expect(delivered.filter((text) => text.startsWith("a"))).toEqual(["a:1", "a:2", "a:3"]);
    expect(delivered.filter((text) => text.startsWith("b"))).toEqual(["b:1", "b:2", "b:3"]);
    expect(spool.depth).toBe(0);
    expect(readUndelivered(directory)).toEqual([]);
  });

  it("keeps at most a window of events on their way", async () => {
    open({ window: 5 });
    for (let id = 0; id < 20; id++) spool.publish(`c${id}`, "/tasks/start", payload("x"));
    await settle();
    expect(pending).toHaveLength(5);
    while (pending.length > 0) {
      pending[0]?.accept();
      await settle();
    }
    expect(delivered).toHaveLength(20);
    expect(mostAtOnce).toBe(5);
  });

  it("tries for ever while there is no daemon, at most once a second, and at once when it is back", async () => {
    open();
    reflex = () => unavailable("cannot connect");
    spool.publish("a", "/tasks/exit", payload("x"));
    await settle();
    for (let second = 0; second < 60; second++) {
      for (let step = 0; step < 10; step++) {
        clock.advance(100);
        await settle();
      }
    }
    expect(attempts).toBeGreaterThan(50);
    expect(attempts).toBeLessThan(80);
    expect(spool.depth).toBe(1);
    reflex = () => undefined;
    spool.kick();
    await settle();
    expect(delivered).toEqual(["a:x"]);
    expect(clock.timers).toBe(0);
  });

  it("lets one container's refused event delay no other container", async () => {
    open();
    reflex = (record) => (record.containerId === "a" ? unknownError("busy") : undefined);
    for (const id of ["a", "b", "c"]) spool.publish(id, "/tasks/start", payload("x"));
    await settle();
    expect(delivered.sort()).toEqual(["b:x", "c:x"]);
    reflex = () => undefined;
    clock.advance(1000);
    await settle();
    expect(delivered).toContain("a:x");
  });

  it("gives up only an event that the daemon calls invalid, so that the ones behind it pass", async () => {
    open();
    reflex = (record) => (textOf(record) === "a:bad" ? invalidArgument("no") : undefined);
    spool.publish("a", "/tasks/start", payload("bad"));
    spool.publish("a", "/tasks/exit", payload("good"));
    await settle();
    expect(delivered).toEqual(["a:good"]);
    expect(spool.depth).toBe(0);
  });

  it("holds a bounded number in memory and takes the rest back from disk, in order", async () => {
    open({ memoryLimit: 10 });
    reflex = () => unavailable("down");
    for (let index = 0; index < 500; index++)
      spool.publish(`c${index % 3}`, "/tasks/exit", payload(`${index}`));
    await settle();
    expect(spool.depth).toBe(500);
    reflex = () => undefined;
    spool.kick();
    for (let turn = 0; turn < 200; turn++) await settle();
    expect(delivered).toHaveLength(500);
    for (const id of ["c0", "c1", "c2"]) {
      const own = delivered.filter((text) => text.startsWith(id)).map((text) => Number(text.slice(3)));
      expect(own).toEqual([...own].sort((a, b) => a - b));
    }
    expect(spool.depth).toBe(0);
  });

  it("delivers what an earlier run left, before anything new, with the same numbers", async () => {
    open();
    reflex = () => unavailable("down");
    spool.publish("a", "/tasks/start", payload("old"));
    await settle();
    spool.close();
    reflex = undefined;
    open();
    spool.publish("a", "/tasks/exit", payload("new"));
    await settle();
    expect(pending.map(({ record }) => [record.sequence, textOf(record)])).toEqual([[1, "a:old"]]);
    reflex = () => undefined;
    pending[0]?.accept();
    await settle();
    expect(delivered).toEqual(["a:old", "a:new"]);
  });

  it("refuses what may be lost when the disk log is full, and never an exit", async () => {
    open({ diskLimitBytes: 1000 });
    reflex = () => unavailable("down");
    for (let index = 0; index < 100; index++) spool.publish("a", "/tasks/oom", payload("oom"));
    const full = spool.depth;
    expect(full).toBeLessThan(50);
    spool.publish("a", "/tasks/exit", payload("exit"));
    spool.publish("a", "/tasks/delete", payload("delete"));
    expect(spool.depth).toBe(full + 2);
  });

  it("says when everything is delivered, or that it was not in time", async () => {
    open();
    expect(await spool.drained(10)).toBe(true);
    spool.publish("a", "/tasks/exit", payload("x"));
    const late = spool.drained(10);
    clock.advance(10);
    expect(await late).toBe(false);
    const inTime = spool.drained(10);
    pending[0]?.accept();
    expect(await inTime).toBe(true);
    expect(clock.timers).toBe(0);
  });

  it("puts namespace, topic, time and payload into the envelope", async () => {
    open();
    spool.publish("a", "/tasks/exit", payload("x"));
    await settle();
    const [entry] = pending;
    if (entry === undefined) throw new Error("nothing was sent");
    expect(Envelope.decode(entry.record.envelope)).toEqual({
      timestamp: { seconds: 1_700_000_000n, nanos: 0 },
      namespace: "ns",
      topic: "/tasks/exit",
      event: { typeUrl: "t", value: Buffer.from("x") },
    });
  });
});
