import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { closeFd, O_NONBLOCK, O_RDWR, openFd, pipeSize, readableBytes } from "../../../src/native/fds.js";
import { readFifo, writeFifo } from "../../support/fifo.js";
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

const digest = (bytes: Buffer): string => createHash("sha1").update(bytes).digest("hex");

describe("direct stdio", () => {
  let fixture: PlaneFixture;
  let before: string[];
  beforeEach(async () => {
    fixture = await createFixture("direct");
    before = ourFds(fixture.directory);
  });
  afterEach(async () => {
    await fixture.close();
    await until("descriptors to be closed", () => ourFds(fixture.directory).length <= before.length);
    expect(ourFds(fixture.directory)).toEqual(before);
  });
  afterAll(removePumpWorker);

  it("gives the process blocking descriptors of the client's fifos", async () => {
    const io = await fixture.open({
      stdin: fixture.fifo("in"),
      stdout: fixture.fifo("out"),
      stderr: fixture.fifo("err"),
    });
    for (const fd of io.childStdio) expect(fdFlags(fd) & O_NONBLOCK).toBe(0);
    await io.close();
  });

  it.each([0, 1, 4096, 65_536, 65_537, 300_001, 1_048_576])("delivers %i bytes exactly", async (size) => {
    const out = fixture.fifo("out");
    const reader = readFifo(out);
    const payload = randomBytes(size);
    writeFileSync(join(fixture.directory, "payload"), payload);
    const io = await fixture.open({ stdout: out });
    expect(await runChild(io, `cat ${fixture.directory}/payload`)).toBe(0);
    const report = await io.exited();
    expect(report.drained).toBe(true);
    expect(digest(await reader.end(5_000))).toBe(digest(payload));
    await io.close();
    expect(fixture.plane.stats().pump.threads).toBe(0);
  });

  it("keeps stdout and stderr apart", async () => {
    const out = readFifo(fixture.fifo("out"));
    const err = readFifo(fixture.fifo("err"));
    const io = await fixture.open({
      stdout: join(fixture.directory, "out"),
      stderr: join(fixture.directory, "err"),
    });
    await runChild(io, "echo one; echo two >&2");
    await io.exited();
    expect((await out.end(5_000)).toString()).toBe("one\n");
    expect((await err.end(5_000)).toString()).toBe("two\n");
    await io.close();
  });

  it("keeps the output of an exited process for a reader that comes late, and then ends it", async () => {
    const out = fixture.fifo("out");
    const io = await fixture.open({ stdout: out });
    await runChild(io, "echo late");
    const report = await io.exited();
    expect(report.streams.find(({ stream }) => stream === "stdout")?.unreadBytes).toBe(5);
    expect(fixture.plane.stats().awaitedReaders).toBe(1);
    const reader = readFifo(out);
    expect((await reader.end(5_000)).toString()).toBe("late\n");
    expect(fixture.plane.stats().awaitedReaders).toBe(0);
    await io.close();
  });

  it("survives a client that removes its fifo before the process exits", async () => {
    const out = fixture.fifo("out");
    const reader = readFifo(out);
    const io = await fixture.open({ stdout: out });
    rmSync(out);
    await runChild(io, "echo still here");
    await io.exited();
    expect((await reader.end(5_000)).toString()).toBe("still here\n");
    await io.close();
  });

  it("lets a reader leave and another one continue", async () => {
    const out = fixture.fifo("out");
    const first = readFifo(out);
    const input = fixture.fifo("in");
    const writer = writeFifo(input);
    const io = await fixture.open({ stdin: input, stdout: out });
    const child = startChild(io, "cat");
    await io.childReady(5_000);
    writer.write("one\n");
    await first.match(/one\n/);
    first.close();
    writer.write("two\n");
    writer.close();
    io.closeStdin();
    expect(await child.exited).toBe(0);
    await io.exited();
    expect((await readFifo(out).end(5_000)).toString()).toBe("two\n");
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
      io.closeStdin();
      writer.write("typed\n");
      await reader.match(/typed\n/);
      writer.close();
      expect(await child.exited).toBe(0);
      await io.exited();
      await reader.end(5_000);
      await io.close();
    },
  );

  it("does not end stdin when the client detaches without CloseIO", async () => {
    const input = fixture.fifo("in");
    const reader = readFifo(fixture.fifo("out"));
    const io = await fixture.open({ stdin: input, stdout: join(fixture.directory, "out") });
    const child = startChild(io, "cat");
    await io.childReady(5_000);
    const first = writeFifo(input);
    first.write("one\n");
    await reader.match(/one\n/);
    first.close();
    const second = writeFifo(input);
    second.write("two\n");
    await reader.match(/two\n/);
    second.close();
    io.closeStdin();
    expect(await child.exited).toBe(0);
    await io.exited();
    await reader.end(5_000);
    await io.close();
  });

  it("appends to an existing file and makes a file:// one with its parents for both streams", async () => {
    const existing = join(fixture.directory, "log");
    writeFileSync(existing, "before\n");
    const plain = await fixture.open({ stdout: existing });
    await runChild(plain, "echo after");
    await plain.exited();
    await plain.close();
    expect(readFileSync(existing, "utf8")).toBe("before\nafter\n");

    const nested = join(fixture.directory, "a b/c/log");
    const uri = await fixture.open({ stdout: `file://${nested.replace(" ", "%20")}` });
    await runChild(uri, "echo out; echo err >&2");
    await uri.exited();
    await uri.close();
    expect(readFileSync(nested, "utf8")).toBe("out\nerr\n");
    expect(statSync(nested).mode & 0o777).toBe(0o644);
  });

  it("gives /dev/null where there is no stream", async () => {
    const io = await fixture.open({});
    expect(await runChild(io, 'echo lost; echo lost >&2; test -z "$(cat)"')).toBe(0);
    expect((await io.exited()).drained).toBe(true);
    await io.close();
  });

  it("changes the owner of the streams when asked to", async () => {
    const out = fixture.fifo("out");
    const io = await fixture.open({ stdout: out }, { ioUid: 1234, ioGid: 4321 });
    expect(statSync(out)).toMatchObject({ uid: 1234, gid: 4321 });
    await io.close();
  });

  it("waits for a reader as long as it was told to, then names the fifo", async () => {
    const out = fixture.fifo("out");
    await expect(fixture.open({ stdout: out }, { openTimeoutMs: 60 })).rejects.toMatchObject({
      kind: "deadline-exceeded",
      bare: true,
      message: `failed to start io pipe copy: unable to copy pipes: containerd-shim: opening w/o fifo "${out}" failed: context deadline exceeded`,
    });
    const opening = fixture.open({ stdout: out }, { openTimeoutMs: 10_000 });
    const reader = readFifo(out);
    const io = await opening;
    await runChild(io, "echo hi");
    await io.exited();
    expect((await reader.end(5_000)).toString()).toBe("hi\n");
    await io.close();
  });

  it("refuses paths that cannot be used, in containerd's words, and keeps nothing open", async () => {
    const missing = join(fixture.directory, "missing");
    const folder = join(fixture.directory, "folder");
    mkdirSync(folder);
    const prefix = "failed to start io pipe copy: unable to copy pipes: containerd-shim: ";
    const out = fixture.fifo("out");
    await expect(fixture.open({ stdout: out, stderr: missing })).rejects.toMatchObject({
      kind: "unknown",
      message: `${prefix}opening file "${missing}" failed: open ${missing}: no such file or directory`,
    });
    await expect(fixture.open({ stdout: folder })).rejects.toMatchObject({
      message: `${prefix}opening file "${folder}" failed: open ${folder}: is a directory`,
    });
    await expect(fixture.open({ stdin: missing, stdout: out })).rejects.toMatchObject({
      message: `failed to open stdin fifo ${missing}: stat ${missing}: no such file or directory`,
    });
    await expect(fixture.open({ stdin: folder })).rejects.toMatchObject({
      message: `failed to open stdin fifo ${folder}: open ${folder}: is a directory`,
    });
    expect(ourFds(fixture.directory)).toEqual(before);
    expect(fixture.plane.stats().processes).toBe(0);
  });

  it("stops a writer that nobody reads instead of losing its bytes", async () => {
    const out = fixture.fifo("out");
    const io = await fixture.open({ stdout: out });
    const child = startChild(io, "head -c 3000000 /dev/zero");
    await io.childReady(5_000);
    const probe = openFd(out, O_RDWR | O_NONBLOCK);
    await until("the fifo to be full", () => readableBytes(probe) === pipeSize(probe));
    expect(child.process.exitCode).toBeNull();
    const reader = readFifo(out);
    expect(await child.exited).toBe(0);
    closeFd(probe);
    await io.exited();
    expect((await reader.end(10_000)).length).toBe(3_000_000);
    await io.close();
  });
});
