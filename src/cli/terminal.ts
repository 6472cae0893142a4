/** The user's terminal while a container has it: raw mode, window size, the keys that detach. */
import { Transform, type TransformCallback } from "node:stream";
import { ReadStream, WriteStream } from "node:tty";
import type { Stdio } from "./context.js";

export interface WindowSize {
  readonly width: number;
  readonly height: number;
}

/** The size of the window behind `stdio`, or undefined when its stdout is not a terminal. */
export function windowSize(stdio: Stdio): WindowSize | undefined {
  if (!(stdio.stdout instanceof WriteStream)) return undefined;
  const [width, height] = stdio.stdout.getWindowSize();
  return width > 0 && height > 0 ? { width, height } : undefined;
}

/** Calls `changed` at every new window size; returns how to stop. */
export function onResize(stdio: Stdio, changed: (size: WindowSize) => void): () => void {
  const { stdout } = stdio;
  if (!(stdout instanceof WriteStream)) return () => {};
  const listener = (): void => {
    const size = windowSize(stdio);
    if (size !== undefined) changed(size);
  };
  stdout.on("resize", listener);
  return () => stdout.off("resize", listener);
}

/** True when our stdin is a terminal. */
export const isTerminal = (stdio: Stdio): boolean => stdio.stdin instanceof ReadStream && stdio.stdin.isTTY;

/**
 * Puts the terminal behind stdin into raw mode; the returned function restores it and may be called twice.
 * Also restored when the process exits in any way that runs its exit handlers. Without a terminal nothing happens.
 */
export async function rawMode(stdio: Stdio): Promise<() => void> {
  if (!isTerminal(stdio)) return () => {};
  const { makeRaw } = await import("../client/raw-terminal.js");
  const unmake = makeRaw((stdio.stdin as ReadStream & { readonly fd: number }).fd);
  let done = false;
  const restore = (): void => {
    if (done) return;
    done = true;
    process.off("exit", restore);
    try {
      unmake();
    } catch {
      // The terminal is gone (its window was closed): there is nothing left to restore.
    }
  };
  process.once("exit", restore);
  return restore;
}

const ctrlP = 0x10;
const ctrlQ = 0x11;

/** Passes the user's keys on; ctrl-p ctrl-q calls `detach` instead, and nothing is passed on after that. */
export class DetachFilter extends Transform {
  readonly #detach: () => void;
  #held = false;
  #detached = false;

  constructor(detach: () => void) {
    super();
    this.#detach = detach;
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    const out: number[] = [];
    for (const byte of chunk) {
      if (this.#detached) break;
      if (this.#held && byte === ctrlQ) {
        this.#detached = true;
        this.#detach();
        break;
      }
      if (this.#held) out.push(ctrlP);
      this.#held = byte === ctrlP;
      if (!this.#held) out.push(byte);
    }
    done(null, Buffer.from(out));
  }

  override _flush(done: TransformCallback): void {
    done(null, this.#held && !this.#detached ? Buffer.from([ctrlP]) : undefined);
  }
}
