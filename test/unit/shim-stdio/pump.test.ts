import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Worker } from "node:worker_threads";
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { signalEventFd } from "../../../src/native/eventfd.js";
import { closeFd, O_NONBLOCK, O_RDWR, openFd } from "../../../src/native/fds.js";
import { readFifo, writeFifo } from "../../support/fifo.js";
import { killAll } from "../../support/proc.js";
import { until } from "../../support/until.js";
import {
  createFixture,
  fdFlags,
  ourFds,
  type PlaneFixture,
  removePumpWorker,
  runChild,
  startChild,
} from "./plane-fixture.js";

// Records the threads that are started, so that a test can kill one.
const threads = vi.hoisted(() => [] as { readonly worker: Worker; readonly wakeFd: number }[]);
vi.mock("node:worker_threads", async (original) => {
  const actual = await original<typeof import("node:worker_threads")>();
  class RecordedWorker extends actual.Worker {
    constructor(...args: ConstructorParameters<typeof Worker>) {
      super(...args);
      const { wakeFd } = args[1]?.workerData ?? { wakeFd: -1 };
      threads.push({ worker: this, wakeFd });
    }
  }
  return { ...actual, Worker: RecordedWorker };
});

/** Ends the newest pump thread without its cooperation, wherever it is. */
async function killPumpThread(): Promise<void> {
  const thread = threads.at(-1);
  if (thread === undefined) throw new Error("no pump thread was started");
  const terminated = thread.worker.terminate();
  // It sleeps in a system call, where nothing reaches it.
  signalEventFd(thread.wakeFd);
  await terminated;
  await until("the thread to be replaced", () => threads.at(-1) !== thread || threads.length > 5, {
    intervalMs: 1,
  });
}

/** What the process's writes have returned so far. */
const bytesWrittenBy = (pid: number | undefined): number =>
  Number(/^wchar: (\d+)/m.exec(readFileSync(`/proc/${pid}/io`, "latin1"))?.[1] ?? 0);

const digest = (bytes: Buffer): string => createHash("sha1").update(bytes).digest("hex");

describe("pumped stdio", () => {
  let fixture: PlaneFixture;
  let before: string[];
  const start = async (pumpWorkers = 1): Promise<void> => {
    before = ourFds("/nowhere");
    fixture = await createFixture("pump", { pumpWorkers });
  };
  beforeEach(() => start());
  afterEach(async () => {
    await fixture.close();
    await until("descriptors to be closed", () => ourFds(fixture.directory).length <= before.length);
    expect(ourFds(fixture.directory)).toEqual(before);
  });
  afterAll(removePumpWorker);

  it("is what auto means when criu is present, and starts no thread before a stream needs one", async () => {
    const auto = await createFixture("auto", { criuPresent: true });
    expect(auto.plane.stats().pump.threads).toBe(0);
    const out = auto.fifo("out");
    const reader = readFifo(out);
    const io = await auto.open({ stdout: out });
    expect(fdFlags(io.childStdio[1]) & O_NONBLOCK).toBe(0);
    expect(auto.plane.stats().pump.threads).toBe(1);
    await runChild(io, "echo pumped");
    const report = await io.exited();
    expect(report.streams[0]).toMatchObject({
      route: "pump",
      readBytes: 7,
      deliveredBytes: 7,
      droppedBytes: 0,
    });
    expect((await reader.end(5_000)).toString()).toBe("pumped\n");
    await io.close();
    await auto.close();
  });

  it.each([0, 1, 4096, 65_537, 1_048_576, 5_000_001])(
    "delivers %i bytes exactly and counts them",
    async (size) => {
      const out = fixture.fifo("out");
      const reader = readFifo(out);
      const payload = randomBytes(size);
      writeFileSync(join(fixture.directory, "payload"), payload);
      const io = await fixture.open({ stdout: out });
      expect(await runChild(io, `cat ${fixture.directory}/payload`)).toBe(0);
      const report = await io.exited();
      expect(report).toMatchObject({ drained: true });
      expect(report.streams[0]).toMatchObject({ readBytes: size, deliveredBytes: size, waitingBytes: 0 });
      expect(digest(await reader.end(5_000))).toBe(digest(payload));
      await io.close();
    },
  );

  it("carries both ways at once", async () => {
    const input = fixture.fifo("in");
    const reader = readFifo(fixture.fifo("out"));
    const io = await fixture.open({ stdin: input, stdout: join(fixture.directory, "out") });
    const payload = randomBytes(2_000_000);
    writeFileSync(join(fixture.directory, "payload"), payload);
    const child = startChild(io, "cat");
    await io.childReady(5_000);
    const writer = writeFifo(input);
    const feeder = spawn("/bin/sh", ["-c", `cat ${fixture.directory}/payload > ${input}`], {
      stdio: "ignore",
    });
    io.closeStdin();
    await once(feeder, "exit");
    writer.close();
    expect(await child.exited).toBe(0);
    const report = await io.exited();
    expect(report.streams.map(({ stream, deliveredBytes }) => [stream, deliveredBytes])).toEqual([
      ["stdin", payload.length],
      ["stdout", payload.length],
      ["stderr", 0],
    ]);
    expect(digest(await reader.end(5_000))).toBe(digest(payload));
    await io.close();
  });

  it.each(["before", "after"])(
    "ends stdin when CloseIO came %s the process was ready and the client closed",
    async (when) => {
      const input = fixture.fifo("in");
      const writer = writeFifo(input);
      const reader = readFifo(fixture.fifo("out"));
      const io = await fixture.open({ stdin: input, stdout: join(fixture.directory, "out") });
      if (when === "before") io.closeStdin();
      const child = startChild(io, "cat");
      await io.childReady(5_000);
      if (when === "after") io.closeStdin();
      writer.write("typed\n");
      await reader.match(/typed\n/);
      writer.close();
      expect(await child.exited).toBe(0);
      await io.exited();
      await reader.end(5_000);
      await io.close();
    },
  );

  it("keeps output for a reader that comes only after the exit", async () => {
    const out = fixture.fifo("out");
    const io = await fixture.open({ stdout: out });
    await runChild(io, "echo late");
    expect((await io.exited()).streams[0]).toMatchObject({ drained: true, unreadBytes: 5 });
    expect((await readFifo(out).end(5_000)).toString()).toBe("late\n");
    await io.close();
  });

  it("lets a reader leave and another one continue", async () => {
    const out = fixture.fifo("out");
    const input = fixture.fifo("in");
    const first = readFifo(out);
    const writer = writeFifo(input);
    const io = await fixture.open({ stdin: input, stdout: out });
    const child = startChild(io, "cat");
    await io.childReady(5_000);
    writer.write("one\n");
    await first.match(/one\n/);
    first.close();
    writer.write("two\n");
    io.closeStdin();
    writer.close();
    expect(await child.exited).toBe(0);
    await io.exited();
    expect((await readFifo(out).end(5_000)).toString()).toBe("two\n");
    await io.close();
  });

  it("does not let a stalled reader hold up its neighbour on the same thread", async () => {
    const stalledOut = fixture.fifo("stalled");
    const stalledReader = openFd(stalledOut, O_RDWR | O_NONBLOCK);
    const stalled = await fixture.open({ stdout: stalledOut }, { drainTimeoutMs: 50 });
    const stuck = startChild(stalled, "exec head -c 4000000 /dev/zero");
    await stalled.childReady(5_000);
    // The fifo and the shim's pipe hold 1 MiB each.
    await until("the stalled stream to be full", () => bytesWrittenBy(stuck.process.pid) > 2_000_000);

    const reader = readFifo(fixture.fifo("out"));
    const io = await fixture.open({ stdout: join(fixture.directory, "out") });
    await runChild(io, "head -c 4000000 /dev/zero");
    expect((await io.exited()).drained).toBe(true);
    expect((await reader.end(10_000)).length).toBe(4_000_000);
    await io.close();

    expect(stuck.process.exitCode).toBeNull();
    killAll([stuck.process.pid ?? -1]);
    await stuck.exited;
    // What a killed writer left behind is named, not waited for beyond the budget.
    const report = await stalled.exited();
    expect(report.drained).toBe(false);
    expect(report.streams[0]?.waitingBytes).toBeGreaterThan(0);
    await stalled.close();
    closeFd(stalledReader);
  });

  it("waits only for its budget when a grandchild holds the pipe, and goes on delivering", async () => {
    const out = fixture.fifo("out");
    const reader = readFifo(out);
    const input = fixture.fifo("release");
    const io = await fixture.open({ stdout: out }, { drainTimeoutMs: 80 });
    await runChild(io, `echo first; (cat < ${input}; echo last) & echo $!`);
    const report = await io.exited();
    expect(report.drained).toBe(false);
    expect(report.waitedMs).toBeGreaterThanOrEqual(75);
    const pid = Number((await reader.match(/first\n\d+\n/)).split("\n")[1]);
    expect(pid).toBeGreaterThan(1);
    writeFifo(input).close();
    expect((await reader.end(5_000)).toString()).toMatch(/last\n$/);
    await io.close();
  });

  it("moves streams to a new thread when theirs dies, losing no byte", async () => {
    const out = fixture.fifo("out");
    const reader = readFifo(out);
    const payload = randomBytes(3_000_000);
    writeFileSync(join(fixture.directory, "payload"), payload);
    const gate = fixture.fifo("gate");
    const io = await fixture.open({ stdout: out });
    const child = startChild(
      io,
      `head -c 1000000 ${fixture.directory}/payload; cat ${gate} >&2; tail -c 2000000 ${fixture.directory}/payload`,
    );
    await io.childReady(5_000);
    await until("the first part", () => reader.bytes().length === 1_000_000);
    const gateWriter = writeFifo(gate);
    await killPumpThread();
    gateWriter.close();
    expect(await child.exited).toBe(0);
    expect((await io.exited()).streams[0]).toMatchObject({ deliveredBytes: payload.length });
    expect(digest(await reader.end(10_000))).toBe(digest(payload));
    expect(fixture.plane.stats().pump).toMatchObject({ threads: 1, threadDeaths: 1 });
    await io.close();
  });

  it("keeps bytes exact when threads die while a stream is at full speed", async () => {
    const out = fixture.fifo("out");
    const reader = readFifo(out);
    const payload = randomBytes(8_000_000);
    writeFileSync(join(fixture.directory, "payload"), payload);
    const io = await fixture.open({ stdout: out });
    const child = startChild(io, `cat ${fixture.directory}/payload`);
    await io.childReady(5_000);
    for (let round = 0; round < 3; round++) await killPumpThread();
    expect(await child.exited).toBe(0);
    expect((await io.exited()).drained).toBe(true);
    expect(digest(await reader.end(10_000))).toBe(digest(payload));
    await io.close();
  });

  it("gives streams up loudly when threads die again and again", async () => {
    const io = await fixture.open({ stdout: fixture.fifo("out") });
    const child = startChild(io, "cat < /dev/zero");
    await io.childReady(5_000);
    while (fixture.plane.stats().pump.streams > 0) await killPumpThread();
    // Its pipe has no reader any more.
    expect([128, 141]).toContain(await child.exited);
    expect((await io.exited()).streams[0]?.drained).toBe(false);
    await io.close();
  });

  it("appends to files", async () => {
    const log = join(fixture.directory, "sub/log");
    for (const word of ["one", "two"]) {
      const io = await fixture.open({ stdout: `file://${log}` });
      await runChild(io, `echo ${word}; echo ${word} >&2`);
      expect((await io.exited()).drained).toBe(true);
      await io.close();
    }
    expect(readFileSync(log, "utf8").split("\n").sort()).toEqual(["", "one", "one", "two", "two"]);
  });

  it("carries a hundred streams at once on two threads", async () => {
    await fixture.close();
    await start(2);
    const runs = Array.from({ length: 100 }, async (_, index) => {
      const out = fixture.fifo(`out${index}`);
      const reader = readFifo(out);
      const io = await fixture.open({ stdout: out });
      await runChild(io, `head -c 200000 /dev/zero | tr '\\0' '${String.fromCharCode(97 + (index % 26))}'`);
      await io.exited();
      const bytes = await reader.end(20_000);
      await io.close();
      return bytes.length === 200_000 && bytes.every((byte) => byte === 97 + (index % 26));
    });
    expect((await Promise.all(runs)).every(Boolean)).toBe(true);
    expect(fixture.plane.stats().pump).toMatchObject({ threads: 2, streams: 0 });
  }, 60_000);

  it("frees everything when closed at any point", async () => {
    const out = fixture.fifo("out");
    const input = fixture.fifo("in");
    const unstarted = await fixture.open({ stdin: input, stdout: out });
    await unstarted.close();
    await unstarted.close();
    const running = await fixture.open({ stdin: input, stdout: out });
    const child = startChild(running, "cat");
    await running.childReady(5_000);
    await Promise.all([running.close(), running.close()]);
    expect(await child.exited).toBe(0);
    const starting = await fixture.open({ stdout: out });
    const ready = starting.childReady(5_000).catch(() => {});
    await starting.close();
    await ready;
    expect(fixture.plane.stats()).toMatchObject({ processes: 0, pump: { streams: 0 } });
  });
});
