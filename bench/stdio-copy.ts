/**
 * How fast a process's output reaches its client, and what it costs the shim, for each way it can travel:
 * direct (the shim only holds the FIFO), pumped through a pipe, pumped from a terminal. One writer, one
 * reader, both other processes. Run: npx tsx bench/stdio-copy.ts [MiB] [rounds]
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { arch, cpus, release, tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger } from "../src/core/logger.js";
import { makeFifo } from "../src/native/fds.js";
import { createStdioPlane, type StdioMode, type StdioPlane } from "../src/shim/stdio/process-io.js";
import { buildWorker } from "../test/support/build-worker.js";
import { startOnTerminal } from "../test/unit/shim-stdio/pty-sender.js";

const mebibytes = Number(process.argv[2] ?? 1024);
const rounds = Number(process.argv[3] ?? 5);

interface Sample {
  readonly megabytesPerSecond: number;
  readonly cpuSecondsPerGigabyte: number;
}

async function measure(
  plane: StdioPlane,
  directory: string,
  mode: StdioMode,
  terminal: boolean,
  bytes: number,
): Promise<Sample> {
  const out = join(directory, `out-${performance.now()}`);
  makeFifo(out);
  const reader = spawn("/bin/sh", ["-c", `exec cat "$1" > /dev/null`, "sh", out], { stdio: "ignore" });
  const readerExit = once(reader, "exit");
  const io = await plane.open(
    {
      streamKey: "bench/stdio",
      stdio: { stdin: "", stdout: out, stderr: "", terminal },
      mode,
      ioUid: 0,
      ioGid: 0,
      openTimeoutMs: 10_000,
      drainTimeoutMs: 60_000,
      temporaryDirectory: directory,
    },
    AbortSignal.timeout(60_000),
  );
  const write = `exec head -c ${bytes} /dev/zero`;
  const cpuBefore = process.cpuUsage();
  const startedAt = performance.now();
  const writer: ChildProcess = terminal
    ? startOnTerminal(io.consoleSocketPath ?? "", `stty raw -echo; ${write}`).process
    : spawn("/bin/sh", ["-c", write], { stdio: [...io.childStdio] });
  const writerExit = once(writer, "exit");
  await io.childReady(10_000);
  await writerExit;
  const report = await io.exited();
  await readerExit;
  const seconds = (performance.now() - startedAt) / 1000;
  const cpu = process.cpuUsage(cpuBefore);
  await io.close();
  if (!report.drained) throw new Error("the output was not drained");
  return {
    megabytesPerSecond: bytes / 1e6 / seconds,
    cpuSecondsPerGigabyte: (cpu.user + cpu.system) / 1e6 / (bytes / 1e9),
  };
}

const sorted = (values: readonly number[]): number[] => [...values].sort((a, b) => a - b);
const median = (values: readonly number[]): number => sorted(values)[Math.floor(values.length / 2)] ?? 0;

async function main(): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "berth-bench-"));
  const worker = await buildWorker("workers/stdio-pump.worker.ts");
  const plane = createStdioPlane({
    log: silentLogger,
    criuPresent: false,
    workerUrl: worker.url,
    pumpWorkers: 1,
  });
  console.log(
    `node ${process.version}, ${arch()}, ${cpus().length} x ${cpus()[0]?.model}, Linux ${release()}`,
  );
  console.log(`${mebibytes} MiB per round (terminal: a sixteenth), ${rounds} rounds after one to warm up\n`);
  console.log("way         median MB/s   worst MB/s   median shim CPU s/GB   worst");
  try {
    for (const [name, mode, terminal] of [
      ["direct", "direct", false],
      ["pump pipe", "pump", false],
      ["pump tty", "pump", true],
    ] as const) {
      const bytes = (mebibytes * 2 ** 20) / (terminal ? 16 : 1);
      const samples: Sample[] = [];
      for (let round = 0; round <= rounds; round++) {
        const sample = await measure(plane, directory, mode, terminal, bytes);
        if (round > 0) samples.push(sample);
      }
      const speed = samples.map((sample) => sample.megabytesPerSecond);
      const cost = samples.map((sample) => sample.cpuSecondsPerGigabyte);
      console.log(
        `${name.padEnd(12)}${median(speed).toFixed(0).padStart(10)}${Math.min(...speed)
          .toFixed(0)
          .padStart(13)}` +
          `${median(cost).toFixed(3).padStart(23)}${Math.max(...cost)
            .toFixed(3)
            .padStart(8)}`,
      );
    }
  } finally {
    await plane.close();
    worker.remove();
    rmSync(directory, { recursive: true, force: true });
  }
}

await main();
