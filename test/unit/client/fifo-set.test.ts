/** FIFOs with the kernel's real ones: who waits for whom, what ends when, what is left on disk. */
import {
  closeSync,
  constants,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FifoSet } from "../../../src/client/fifo-set.js";

let parent: string;
let fifos: FifoSet | undefined;

beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), "berth-fifo-test-"));
});
afterEach(() => {
  fifos?.close();
  rmSync(parent, { recursive: true });
});

const ourFds = (): number => readdirSync("/proc/self/fd").length;

async function textOf(stream: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

describe("a set of FIFOs", () => {
  it("lies in a private directory and is gone after close, descriptors included", async () => {
    await FifoSet.create({ stdin: false, terminal: false }, parent).then((set) => set.close()); // loads koffi
    const before = ourFds();
    fifos = await FifoSet.create({ stdin: true, terminal: false }, parent);
    const [directory = ""] = readdirSync(parent);
    expect(statSync(join(parent, directory)).mode & 0o777).toBe(0o700);
    for (const path of [fifos.paths.stdin, fifos.paths.stdout, fifos.paths.stderr])
      expect(statSync(path).isFIFO()).toBe(true);
    const closed = [fifos.openStdout(), fifos.openStderr()].map(
      (stream) => new Promise((done) => stream.once("close", done)),
    );
    fifos.close();
    fifos.close();
    await Promise.all(closed);
    expect(readdirSync(parent)).toEqual([]);
    expect(ourFds()).toBe(before);
  });

  it("has no stderr with a terminal and no stdin unless wanted", async () => {
    fifos = await FifoSet.create({ stdin: false, terminal: true }, parent);
    expect(fifos.paths).toMatchObject({ stdin: "", stderr: "" });
    expect(existsSync(fifos.paths.stdout)).toBe(true);
  });

  it("does not end before the daemon has come, then ends with its last writer", async () => {
    fifos = await FifoSet.create({ stdin: false, terminal: true }, parent);
    const text = textOf(fifos.openStdout());
    // Twice, as when a shim opens late and a first writer goes away early.
    for (const word of ["one ", "two"]) {
      const writer = openSync(fifos.paths.stdout, constants.O_WRONLY | constants.O_NONBLOCK);
      writeSync(writer, word);
      closeSync(writer);
    }
    fifos.peerIsThere();
    expect(await text).toBe("one two");
  });

  it("ends at once when the process has written and gone before we let go", async () => {
    fifos = await FifoSet.create({ stdin: false, terminal: true }, parent);
    const stdout = fifos.openStdout();
    fifos.peerIsThere();
    expect(await textOf(stdout)).toBe("");
  });

  it("writes stdin only once somebody reads", async () => {
    fifos = await FifoSet.create({ stdin: true, terminal: false }, parent);
    let opened = false;
    const opening = fifos.openStdin(new AbortController().signal).then((writer) => {
      opened = true;
      return writer;
    });
    await new Promise((done) => setImmediate(done));
    expect(opened).toBe(false);
    const reader = openSync(fifos.paths.stdin, constants.O_RDONLY | constants.O_NONBLOCK);
    const writer = await opening;
    await new Promise<void>((done) => writer.end("input", done));
    const buffer = Buffer.alloc(16);
    expect(buffer.toString("utf8", 0, readSync(reader, buffer))).toBe("input");
    closeSync(reader);
  });

  it("stops waiting for a reader when told", async () => {
    fifos = await FifoSet.create({ stdin: true, terminal: false }, parent);
    const controller = new AbortController();
    const opening = fifos.openStdin(controller.signal);
    controller.abort();
    await expect(opening).rejects.toMatchObject({ name: "AbortError" });
  });

  it("does not occupy the thread pool while it waits", async () => {
    // Five sets with readers waiting: were any of them parked in the pool of four, this stat would hang.
    const sets = await Promise.all(
      Array.from({ length: 5 }, () => FifoSet.create({ stdin: false, terminal: false }, parent)),
    );
    for (const set of sets) {
      set.openStdout().resume();
      set.openStderr().resume();
    }
    const { stat } = await import("node:fs/promises");
    expect((await stat(parent)).isDirectory()).toBe(true);
    for (const set of sets) set.close();
  });

  it("can leave its files for whoever comes back", async () => {
    fifos = await FifoSet.create({ stdin: true, terminal: true }, parent);
    fifos.close({ keepFiles: true });
    expect(existsSync(fifos.paths.stdout)).toBe(true);
    const again = FifoSet.existing(fifos.paths);
    const text = textOf(again.openStdout());
    const writer = openSync(fifos.paths.stdout, constants.O_WRONLY | constants.O_NONBLOCK);
    again.peerIsThere();
    writeSync(writer, "later");
    closeSync(writer);
    expect(await text).toBe("later");
    again.close();
    expect(existsSync(fifos.paths.stdout)).toBe(true);
  });
});
