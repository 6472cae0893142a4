/** A stdio plane with a built pump worker, FIFOs as a client makes them, and children as the runtime would start them. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger } from "../../../src/core/logger.js";
import { makeFifo } from "../../../src/native/fds.js";
import type { Stdio } from "../../../src/ports/shim-port.js";
import {
  createStdioPlane,
  type ProcessIo,
  type ProcessIoRequest,
  type StdioMode,
  type StdioPlane,
} from "../../../src/shim/stdio/process-io.js";
import { type BuiltWorker, buildWorker } from "../../support/build-worker.js";

export const never = new AbortController().signal;

export interface PlaneFixture {
  readonly directory: string;
  readonly plane: StdioPlane;
  fifo(name: string): string;
  open(stdio: Partial<Stdio>, extra?: Partial<ProcessIoRequest>): Promise<ProcessIo>;
  close(): Promise<void>;
}

let worker: Promise<BuiltWorker> | undefined;
/** One build per test file. */
export const pumpWorker = (): Promise<BuiltWorker> => {
  worker ??= buildWorker("workers/stdio-pump.worker.ts");
  return worker;
};
export const removePumpWorker = async (): Promise<void> => (await worker)?.remove();

export async function createFixture(
  mode: StdioMode = "direct",
  options: { readonly pumpWorkers?: number; readonly criuPresent?: boolean } = {},
): Promise<PlaneFixture> {
  const directory = mkdtempSync(join(tmpdir(), "berth-stdio-"));
  const plane = createStdioPlane({
    log: silentLogger,
    criuPresent: options.criuPresent ?? false,
    workerUrl: (await pumpWorker()).url,
    pumpWorkers: options.pumpWorkers ?? 1,
  });
  return {
    directory,
    plane,
    fifo(name) {
      const path = join(directory, name);
      makeFifo(path);
      return path;
    },
    open: (stdio, extra) =>
      plane.open(
        {
          streamKey: "ns/id",
          stdio: { stdin: "", stdout: "", stderr: "", terminal: false, ...stdio },
          mode,
          ioUid: 0,
          ioGid: 0,
          openTimeoutMs: 0,
          drainTimeoutMs: 5_000,
          temporaryDirectory: directory,
          ...extra,
        },
        never,
      ),
    async close() {
      await plane.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

export interface Child {
  readonly process: ChildProcess;
  readonly exited: Promise<number>;
}

/** Starts a shell command on an io's descriptors. */
export function startChild(io: ProcessIo, command: string): Child {
  const process = spawn("/bin/sh", ["-c", command], { stdio: [...io.childStdio] });
  const exited = new Promise<number>((resolve) => {
    process.once("exit", (code, signal) => resolve(code ?? (signal === null ? 255 : 128)));
  });
  return { process, exited };
}

/** Starts, reports ready, waits for the exit, reports that: the life of a short process. */
export async function runChild(io: ProcessIo, command: string): Promise<number> {
  const child = startChild(io, command);
  await io.childReady(10_000);
  return child.exited;
}

/** Descriptors of this process that point into `directory`, to pipes, eventfds, epolls or terminals. */
export function ourFds(directory: string): string[] {
  return readdirSync("/proc/self/fd")
    .map((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`);
      } catch {
        return "";
      }
    })
    .filter((target) => target.startsWith(directory) || /^(pipe:|\/dev\/pt|anon_inode:\[event)/.test(target))
    .sort();
}

/** The octal flags of one of our descriptors, as the kernel sees them. */
export function fdFlags(fd: number): number {
  const text = readFileSync(`/proc/self/fdinfo/${fd}`, "latin1");
  return Number.parseInt(/^flags:\s*(\d+)/m.exec(text)?.[1] ?? "0", 8);
}
