/** The bytes between this command's stdio and a process' FIFOs. */
import { PassThrough, type Readable, Transform } from "node:stream";
import { finished, pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import type { FifoSet } from "../client/fifo-set.js";
import type { Stdio } from "./context.js";
import { DetachFilter, isTerminal } from "./terminal.js";

/** After the exit, output ends when the daemon closes the FIFOs; a child that kept them open is not waited for. */
const quietAfterExitMs = 2_000;
const endOfTransmission = 0x04;

export interface Output {
  readonly ended: Promise<void>;
  lastByteAt: number;
}

/** Starts copying what the process prints. */
export function copyOutput(stdio: Stdio, fifos: FifoSet, terminal: boolean): Output[] {
  const copy = (source: Readable, sink: NodeJS.WritableStream): Output => {
    const output = {
      ended: finished(source, { writable: false }).catch(() => {}),
      lastByteAt: performance.now(),
    };
    source.on("data", () => {
      output.lastByteAt = performance.now();
    });
    source.pipe(sink, { end: false });
    return output;
  };
  const outputs = [copy(fifos.openStdout(), stdio.stdout)];
  if (!terminal && fifos.paths.stderr !== "") outputs.push(copy(fifos.openStderr(), stdio.stderr));
  return outputs;
}

/** Resolves when all output has been copied, or when only a stray child could still print. */
export async function drained(stdio: Stdio, outputs: readonly Output[]): Promise<void> {
  const all = Promise.all(outputs.map((output) => output.ended)).then(() => "ended" as const);
  const exitSeenAt = performance.now();
  for (;;) {
    const outcome = await Promise.race([all, sleep(100, "waiting" as const)]);
    if (outcome === "ended") return;
    if (stdio.stdout.destroyed) return;
    // A slow reader of ours is not silence: the rest is still on its way to it.
    if (stdio.stdout.writableNeedDrain || stdio.stderr.writableNeedDrain) continue;
    const quietSince = Math.max(exitSeenAt, ...outputs.map((output) => output.lastByteAt));
    if (performance.now() - quietSince > quietAfterExitMs) return;
  }
}

export interface InputOptions {
  readonly execId: string;
  readonly terminal: boolean;
  /** The user pressed the keys that leave the container running. */
  readonly detach: () => void;
  /** Tells the daemon that no more input comes. */
  readonly closeInput: () => Promise<void>;
}

/** Copies our stdin to the process until it ends or `signal` aborts. */
export async function copyInput(
  stdio: Stdio,
  fifos: FifoSet,
  options: InputOptions,
  signal: AbortSignal,
): Promise<void> {
  const sink = await fifos.openStdin(signal);
  await pipeline(stdio.stdin, inputFilter(stdio, options), sink, {
    signal,
    // A terminal stays open when our input ends: its end reaches the process as a key, and closing the FIFO
    // would make the shim hang up the pty under it.
    end: !options.terminal,
  });
  if (!options.terminal) await options.closeInput();
}

function inputFilter(stdio: Stdio, { terminal, execId, detach }: InputOptions): Transform {
  if (!terminal) return new PassThrough();
  if (!isTerminal(stdio)) return new EofKey();
  // Only a container can be come back to, with attach.
  return execId === "" ? new DetachFilter(detach) : new PassThrough();
}

/** A pty never ends: the end of a piped stdin reaches the process as the key that a person would press. */
class EofKey extends Transform {
  override _transform(
    chunk: Buffer,
    _encoding: BufferEncoding,
    done: (error: null, chunk: Buffer) => void,
  ): void {
    done(null, chunk);
  }

  override _flush(done: (error: null, chunk: Buffer) => void): void {
    done(null, Buffer.from([endOfTransmission]));
  }
}
