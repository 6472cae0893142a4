/**
 * The FIFOs between a client and one process' stdio: made in a private directory, opened so that neither the
 * event loop nor a libuv thread ever blocks on them, and removed on every path. The daemon's side opens the
 * same paths, so they must exist before Tasks.Create or Tasks.Exec is called.
 */
import { chmodSync, closeSync, constants, mkdtempSync, openSync, rmSync } from "node:fs";
import { Socket } from "node:net";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { deadlineExceeded } from "../core/errors.js";

export interface FifoWish {
  readonly stdin: boolean;
  /** A terminal has one output stream: no stderr FIFO is made. */
  readonly terminal: boolean;
}

export interface FifoPaths {
  readonly stdin: string;
  readonly stdout: string;
  /** "" with a terminal. */
  readonly stderr: string;
}

const directoryPrefix = "berth-io-";
/** containerd's own limit for both ends of a FIFO to meet. */
const peerDeadlineMs = 30_000;

const isRoot = (): boolean => process.getuid?.() === 0;
/** Where the directories are made unless BERTH_FIFO_DIR says otherwise. On a tmpfs for root: FIFOs that a killed client left are gone with the next boot. */
const parentDirectory = (): string => process.env.BERTH_FIFO_DIR || (isRoot() ? "/run" : tmpdir());

export class FifoSet {
  readonly #directory: string;
  readonly #readers: Socket[] = [];
  /** Write ends of our own: without a writer a FIFO reads as ended before the daemon has opened it. */
  #holders: number[] = [];
  #stdin: Socket | undefined;
  #closed = false;
  /** A process that exits in a hurry still removes its files. */
  readonly #atExit = (): void => this.close();

  private constructor(
    directory: string,
    readonly paths: FifoPaths,
  ) {
    this.#directory = directory;
    if (directory !== "") process.once("exit", this.#atExit);
  }

  /** Makes the FIFOs of one process. `parent` is for tests. */
  static async create(wish: FifoWish, parent: string = parentDirectory()): Promise<FifoSet> {
    // Loaded late: most commands need no FIFO, and koffi costs tens of milliseconds.
    const { makeFifo } = await import("../native/fds.js");
    const directory = mkdtempSync(join(parent, directoryPrefix));
    try {
      chmodSync(directory, 0o700);
      const make = (name: string): string => {
        const path = join(directory, name);
        makeFifo(path, 0o700);
        return path;
      };
      return new FifoSet(directory, {
        stdin: wish.stdin ? make("stdin") : "",
        stdout: make("stdout"),
        stderr: wish.terminal ? "" : make("stderr"),
      });
    } catch (error) {
      rmSync(directory, { recursive: true, force: true });
      throw error;
    }
  }

  /** The FIFOs of a process that some earlier client started; they stay where they are when this set is closed. */
  static existing(paths: FifoPaths): FifoSet {
    const set = new FifoSet("", paths);
    return set;
  }

  /** Opens the process' stdout for reading; the stream ends when the last writer has gone after `peerIsThere`. */
  openStdout(): Readable {
    return this.#openReader(this.paths.stdout);
  }

  openStderr(): Readable {
    return this.#openReader(this.paths.stderr);
  }

  #openReader(path: string): Readable {
    // O_RDWR first and never blocking: it counts as a writer, so the reader cannot see an early end.
    this.#holders.push(openSync(path, constants.O_RDWR | constants.O_NONBLOCK));
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const reader = new Socket({ fd, readable: true, writable: false });
    this.#readers.push(reader);
    return reader;
  }

  /** The daemon has opened its ends (Create or Start has returned): from now on its closing them is the end. */
  peerIsThere(): void {
    for (const fd of this.#holders) closeSync(fd);
    this.#holders = [];
  }

  /**
   * The write end of the process' stdin. Waits until the daemon reads: bytes written earlier would be lost if
   * this process ended before they are fetched. Rejects deadline-exceeded after 30 s.
   */
  async openStdin(signal: AbortSignal): Promise<Writable> {
    const deadline = performance.now() + peerDeadlineMs;
    for (let pauseMs = 2; ; pauseMs = Math.min(pauseMs * 2, 100)) {
      try {
        const fd = openSync(this.paths.stdin, constants.O_WRONLY | constants.O_NONBLOCK);
        this.#stdin = new Socket({ fd, readable: false, writable: true });
        return this.#stdin;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ENXIO") throw error;
      }
      if (performance.now() > deadline) throw deadlineExceeded("nobody opened the process' stdin to read it");
      await sleep(pauseMs, undefined, { signal });
    }
  }

  /** Closes every end and, unless `keepFiles`, removes the FIFOs. Harmless when repeated. */
  close(options: { readonly keepFiles?: boolean } = {}): void {
    if (this.#closed) return;
    this.#closed = true;
    process.off("exit", this.#atExit);
    this.peerIsThere();
    this.#stdin?.destroy();
    for (const reader of this.#readers) reader.destroy();
    if (this.#directory !== "" && options.keepFiles !== true)
      rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** Removes the FIFO directory that a client of ours left behind for `path`; any other path is left alone. */
export function removeFifoDirectory(path: string): void {
  const directory = dirname(path);
  if (dirname(directory) !== parentDirectory() || !basename(directory).startsWith(directoryPrefix)) return;
  rmSync(directory, { recursive: true, force: true });
}
