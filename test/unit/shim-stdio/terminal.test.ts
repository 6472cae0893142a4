import { createHash, randomBytes } from "node:crypto";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { closeFd } from "../../../src/native/fds.js";
import { readFifo, writeFifo } from "../../support/fifo.js";
import { until } from "../../support/until.js";
import { createFixture, ourFds, type PlaneFixture, removePumpWorker } from "./plane-fixture.js";
import { connectTo, startOnTerminal } from "./pty-sender.js";

describe("terminal stdio", () => {
  let fixture: PlaneFixture;
  let before: string[];
  beforeEach(async () => {
    before = ourFds("/nowhere");
    fixture = await createFixture("direct");
  });
  afterEach(async () => {
    await fixture.close();
    await until("descriptors to be closed", () => ourFds(fixture.directory).length <= before.length);
    expect(ourFds(fixture.directory)).toEqual(before);
  });
  afterAll(removePumpWorker);

  const openTerminal = async (drainTimeoutMs = 5_000) => {
    const input = fixture.fifo("in");
    const out = fixture.fifo("out");
    const reader = readFifo(out);
    const io = await fixture.open({ stdin: input, stdout: out, terminal: true }, { drainTimeoutMs });
    return { io, reader, input, socket: io.consoleSocketPath ?? "" };
  };

  it("carries keys and output, and cleans up its socket", async () => {
    const { io, reader, input, socket } = await openTerminal();
    const child = startOnTerminal(
      socket,
      "stty -echo; tty >/dev/null && echo ready; read line; echo got $line",
    );
    await io.childReady(5_000);
    expect(existsSync(socket)).toBe(false);
    expect(readdirSync(fixture.directory).sort()).toEqual(["in", "out"]);
    const writer = writeFifo(input);
    await reader.match(/ready\r\n/);
    writer.write("hello\n");
    expect(await child.exited).toBe(0);
    const report = await io.exited();
    expect(report.drained).toBe(true);
    expect((await reader.end(5_000)).toString()).toBe("ready\r\ngot hello\r\n");
    expect(report.streams.map(({ stream, deliveredBytes }) => [stream, deliveredBytes])).toEqual([
      ["stdin", 6],
      ["stdout", 18],
    ]);
    writer.close();
    await io.close();
  });

  it.each([1, 4095, 65_536, 1_000_003])(
    "delivers %i bytes of raw output exactly, the tail included",
    async (size) => {
      const { io, reader, socket } = await openTerminal();
      const payload = randomBytes(size);
      writeFileSync(join(fixture.directory, "payload"), payload);
      const child = startOnTerminal(socket, `stty raw -echo; cat ${fixture.directory}/payload`);
      await io.childReady(5_000);
      expect(await child.exited).toBe(0);
      expect((await io.exited()).drained).toBe(true);
      const received = await reader.end(10_000);
      expect(received.length).toBe(size);
      expect(createHash("sha1").update(received).digest("hex")).toBe(
        createHash("sha1").update(payload).digest("hex"),
      );
      await io.close();
    },
  );

  it("applies a size that was set before the terminal came, and later ones", async () => {
    const { io, reader, input, socket } = await openTerminal();
    io.resize(121, 41);
    const writer = writeFifo(input);
    const child = startOnTerminal(socket, "stty -echo; echo go; read x; stty size; read x; stty size");
    await io.childReady(5_000);
    await reader.match(/go/);
    writer.write("\n");
    await reader.match(/41 121/);
    io.resize(65_536 + 80, 24);
    writer.write("\n");
    await reader.match(/24 80/);
    expect(await child.exited).toBe(0);
    await io.exited();
    await reader.end(5_000);
    io.resize(1, 1);
    writer.close();
    await io.close();
    io.resize(1, 1);
  });

  it("hangs up on the process when the client has ended its input after CloseIO, delivering what was written", async () => {
    const { io, reader, input, socket } = await openTerminal();
    const writer = writeFifo(input);
    const child = startOnTerminal(socket, "stty -echo; echo waiting; sleep 100");
    await io.childReady(5_000);
    await reader.match(/waiting/);
    io.closeStdin();
    writer.close();
    expect(await child.exited).toBe(129);
    await io.exited();
    expect((await reader.end(5_000)).toString()).toBe("waiting\r\n");
    await io.close();
  });

  it("lets a client detach and another one attach", async () => {
    const { io, reader, input, socket } = await openTerminal();
    const child = startOnTerminal(socket, "stty -echo; echo ready; read a; echo got $a; read b; echo got $b");
    await io.childReady(5_000);
    await reader.match(/ready/);
    const first = writeFifo(input);
    first.write("one\n");
    await reader.match(/got one/);
    first.close();
    reader.close();
    const second = writeFifo(input);
    second.write("two\n");
    expect(await child.exited).toBe(0);
    await io.exited();
    expect((await readFifo(join(fixture.directory, "out")).end(5_000)).toString()).toContain("got two");
    second.close();
    await io.close();
  });

  it("rejects when no terminal comes in time, and when the peer sends none", async () => {
    const first = await openTerminal();
    await expect(first.io.childReady(40)).rejects.toMatchObject({ kind: "deadline-exceeded" });
    await first.io.close();
    const second = await fixture.open({ stdout: join(fixture.directory, "out"), terminal: true });
    closeFd(connectTo(second.consoleSocketPath ?? ""));
    await expect(second.childReady(5_000)).rejects.toMatchObject({
      message: "failed to retrieve console master",
    });
    await second.close();
  });

  it("is freed by close while it waits for the terminal", async () => {
    const { io } = await openTerminal();
    const ready = io.childReady(60_000);
    const refused = expect(ready).rejects.toMatchObject({ kind: "cancelled" });
    await io.close();
    await refused;
  });

  it("refuses outputs that containerd refuses, in its words", async () => {
    const missing = join(fixture.directory, "missing");
    await expect(fixture.open({ terminal: true })).rejects.toMatchObject({
      kind: "unknown",
      message: "failed to start console copy: stat : no such file or directory",
    });
    await expect(fixture.open({ terminal: true, stdout: missing })).rejects.toMatchObject({
      message: `failed to start console copy: stat ${missing}: no such file or directory`,
    });
    await expect(fixture.open({ stdout: "zzz:///x" })).rejects.toMatchObject({
      kind: "unknown",
      message: "unknown STDIO scheme zzz",
    });
  });
});
