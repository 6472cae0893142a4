/** The stdio plane under a real runc: what the runtime does to descriptors and terminals is not guessed. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { silentLogger } from "../../src/core/logger.js";
import { makeFifo } from "../../src/native/fds.js";
import {
  createStdioPlane,
  type ProcessIo,
  type StdioMode,
  type StdioPlane,
} from "../../src/shim/stdio/process-io.js";
import { type BuiltWorker, buildWorker } from "../support/build-worker.js";
import { readFifo, writeFifo } from "../support/fifo.js";
import { buildRootfs } from "../support/rootfs.js";
import { containerSpec } from "../support/spec.js";
import { until } from "../support/until.js";

const usable = process.getuid?.() === 0 && spawnSync("runc", ["--version"]).status === 0;
if (!usable) console.warn("SKIPPED: stdio under runc needs root and runc");

describe.skipIf(!usable)("stdio of a runc container", () => {
  let directory: string;
  let rootfs: string;
  let worker: BuiltWorker;
  let plane: StdioPlane;
  let nextId = 0;
  const runcRoot = (): string => join(directory, "runc");

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), "berth-io-"));
    rootfs = buildRootfs(join(directory, "rootfs"));
    worker = await buildWorker("workers/stdio-pump.worker.ts");
    plane = createStdioPlane({
      log: silentLogger,
      criuPresent: false,
      workerUrl: worker.url,
      pumpWorkers: 1,
    });
  });
  afterAll(async () => {
    await plane.close();
    worker.remove();
    rmSync(directory, { recursive: true, force: true });
  });

  const runc = async (args: readonly string[], io?: ProcessIo): Promise<void> => {
    const child = spawn("runc", ["--root", runcRoot(), ...args], {
      stdio: io === undefined ? "ignore" : [...io.childStdio],
    });
    const [status] = (await once(child, "exit")) as [number | null];
    if (status !== 0) throw new Error(`runc ${args.join(" ")}: exit ${status}`);
  };

  interface Running {
    readonly io: ProcessIo;
    readonly fifos: string;
    /** Waits for the container's end and deletes it. */
    finish(): Promise<void>;
  }

  const run = async (
    mode: StdioMode,
    args: readonly string[],
    terminal = false,
    user?: { uid: number; gid: number },
  ): Promise<Running> => {
    const id = `berth-io-${process.pid}-${nextId++}`;
    const bundle = join(directory, id);
    mkdirSync(bundle);
    writeFileSync(
      join(bundle, "config.json"),
      JSON.stringify(containerSpec({ rootfs, args, terminal, ...(user === undefined ? {} : { user }) })),
    );
    for (const name of ["in", "out", "err"]) makeFifo(join(bundle, name));
    const io = await plane.open(
      {
        streamKey: `test/${id}`,
        stdio: {
          stdin: join(bundle, "in"),
          stdout: join(bundle, "out"),
          stderr: terminal ? "" : join(bundle, "err"),
          terminal,
        },
        mode,
        ioUid: 0,
        ioGid: 0,
        openTimeoutMs: 0,
        drainTimeoutMs: 5_000,
        temporaryDirectory: directory,
      },
      AbortSignal.timeout(30_000),
    );
    const console = io.consoleSocketPath === undefined ? [] : ["--console-socket", io.consoleSocketPath];
    try {
      await runc(["create", "--bundle", bundle, ...console, id], io);
      await io.childReady(10_000);
      await runc(["start", id]);
    } catch (error) {
      await io.close();
      await runc(["delete", "--force", id]).catch(() => {});
      throw error;
    }
    return {
      io,
      fifos: bundle,
      async finish() {
        await until("the container to stop", () => {
          const state = spawnSync("runc", ["--root", runcRoot(), "state", id], { encoding: "utf8" });
          return /"status": "stopped"/.test(state.stdout);
        });
        const report = await io.exited();
        expect(report.drained).toBe(true);
        await io.close();
        await runc(["delete", "--force", id]);
      },
    };
  };

  it.each(["direct", "pump"] as const)("carries all three streams, %s", async (mode) => {
    const { io, fifos, finish } = await run(mode, [
      "sh",
      "-c",
      "cat; echo oops >&2; head -c 500000 /dev/zero",
    ]);
    const out = readFifo(join(fifos, "out"));
    const err = readFifo(join(fifos, "err"));
    const input = writeFifo(join(fifos, "in"));
    input.write("typed\n");
    await out.match(/typed\n/);
    io.closeStdin();
    input.close();
    await finish();
    expect((await out.end(5_000)).length).toBe(500_006);
    expect((await err.end(5_000)).toString()).toBe("oops\n");
  });

  it.each(["direct", "pump"] as const)(
    "lets an unprivileged process reopen its own output, %s",
    async (mode) => {
      const user = { uid: 1000, gid: 1000 };
      const { fifos, finish } = await run(mode, ["sh", "-c", "echo reopened > /proc/self/fd/1"], false, user);
      const out = readFifo(join(fifos, "out"));
      await finish();
      expect((await out.end(5_000)).toString()).toBe("reopened\n");
      if (mode === "direct") expect(statSync(join(fifos, "out")).uid).toBe(1000);
    },
  );

  it("runs a shell on a terminal", async () => {
    const { io, fifos, finish } = await run("auto", ["sh"], true);
    const out = readFifo(join(fifos, "out"));
    io.resize(91, 31);
    const input = writeFifo(join(fifos, "in"));
    input.write("stty -echo; stty size\n");
    await out.match(/31 91\r\n/);
    input.write("exit 3\n");
    await finish();
    await out.end(5_000);
    input.close();
  });

  it("reads from /dev/null and writes nowhere without streams", async () => {
    const io = await plane.open(
      {
        streamKey: "test/null",
        stdio: { stdin: "", stdout: "", stderr: "", terminal: false },
        mode: "auto",
        ioUid: 0,
        ioGid: 0,
        openTimeoutMs: 1_000,
        drainTimeoutMs: 1_000,
        temporaryDirectory: directory,
      },
      AbortSignal.timeout(30_000),
    );
    expect(new Set(io.childStdio.map((fd) => statSync(`/proc/self/fd/${fd}`).rdev)).size).toBe(1);
    await io.childReady(1_000);
    await io.close();
  });
});
