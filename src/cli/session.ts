/**
 * One process attached to this terminal: its FIFOs, its signals, its window size, its exit. Used by `run`,
 * `exec` and `attach`, which differ only in how the process comes to be.
 */
import { constants } from "node:os";
import { type Readable, Transform } from "node:stream";
import { finished, pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import type { DaemonClient } from "../client/daemon-client.js";
import type { FifoPaths, FifoSet } from "../client/fifo-set.js";
import { timeText } from "../client/payload.js";
import { taskState } from "../client/records.js";
import { DaemonError, toDaemonError } from "../core/errors.js";
import type { CliContext } from "./context.js";
import type { RoutedSignal } from "./signal-router.js";
import { DetachFilter, isTerminal, onResize, rawMode, windowSize } from "./terminal.js";

export interface SessionOptions {
  readonly id: string;
  /** "" for the container's init process. */
  readonly execId: string;
  readonly stdin: boolean;
  readonly terminal: boolean;
  /** Undefined when the output goes elsewhere: then there is only the exit to wait for. */
  readonly fifos: FifoSet | undefined;
  /** Registers the process with the daemon (Create or Exec). */
  readonly create: (paths: FifoPaths) => Promise<void>;
  /** Starts it, after `create`; called again only when the daemon died before it had started it. */
  readonly start: () => Promise<void>;
  /** Called once it is certain that the process has started. */
  readonly started?: () => void;
}

export type SessionEnd =
  | { readonly kind: "exited"; readonly exitStatus: number; readonly exitedAt: string }
  | { readonly kind: "detached" };

/** After the exit, output ends when the daemon closes the FIFOs; a child that kept them open is not waited for. */
const quietAfterExitMs = 2_000;
/** How long a daemon may be away while its container runs on. */
const daemonAbsenceMs = 60_000;
/** A wait that lasted this long had reached a daemon: a new absence starts counting from zero. */
const reunionMs = 5_000;
const endOfTransmission = 0x04;
const noFifos: FifoPaths = { stdin: "", stdout: "", stderr: "" };

/** Runs a session to its end. A failure before the process runs is thrown; cleaning up is the caller's. */
export async function runSession(
  ctx: CliContext,
  client: DaemonClient,
  options: SessionOptions,
): Promise<SessionEnd> {
  const { id, execId, fifos } = options;
  const target = { containerId: id, execId };
  const output = fifos === undefined ? [] : copyOutput(ctx, fifos, options.terminal);
  await options.create(fifos?.paths ?? noFifos);

  const ended = new AbortController();
  let detach: () => void = () => {};
  const detached = new Promise<"detached">((resolve) => {
    detach = () => resolve("detached");
  });
  const undo: Array<() => void> = [];
  try {
    // Before the first output, which must not be translated; after Create, so that ctrl-C can still end a slow one.
    if (options.terminal && options.stdin) undo.push(await rawMode(ctx.stdio));
    await startForCertain(ctx, client, options);
    options.started?.();
    fifos?.peerIsThere();
    undo.push(ctx.signals.take(forwarder(ctx, client, target)));
    if (options.terminal) {
      const resize = (size: { width: number; height: number }): void => {
        // The process may be gone already; its exit is what gets reported.
        client.tasks.resizePty({ ...target, ...size }, { signal: ended.signal }).catch(() => {});
      };
      const size = windowSize(ctx.stdio);
      if (size !== undefined) resize(size);
      undo.push(onResize(ctx.stdio, resize));
    }
    if (options.stdin && fifos !== undefined) {
      copyInput(ctx, client, options, fifos, ended.signal, detach).catch((error) => {
        if (!ended.signal.aborted) ctx.note(`stdin: ${toDaemonError(error).message}`);
      });
    }
    const exit = await Promise.race([waitForExit(ctx, client, target, ended.signal), detached]);
    if (exit === "detached") return { kind: "detached" };
    await drained(ctx, output);
    return exit;
  } finally {
    ended.abort();
    for (const step of undo.reverse()) step();
  }
}

interface Output {
  readonly ended: Promise<void>;
  lastByteAt: number;
}

function copyOutput(ctx: CliContext, fifos: FifoSet, terminal: boolean): Output[] {
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
  const outputs = [copy(fifos.openStdout(), ctx.stdio.stdout)];
  if (!terminal && fifos.paths.stderr !== "") outputs.push(copy(fifos.openStderr(), ctx.stdio.stderr));
  return outputs;
}

async function drained(ctx: CliContext, outputs: readonly Output[]): Promise<void> {
  const all = Promise.all(outputs.map((output) => output.ended)).then(() => "ended" as const);
  const exitSeenAt = performance.now();
  for (;;) {
    const outcome = await Promise.race([all, sleep(100, "waiting" as const)]);
    if (outcome === "ended") return;
    if (ctx.stdio.stdout.destroyed) return;
    // A slow reader of ours is not silence: the rest is still on its way to it.
    if (ctx.stdio.stdout.writableNeedDrain || ctx.stdio.stderr.writableNeedDrain) continue;
    const quietSince = Math.max(exitSeenAt, ...outputs.map((output) => output.lastByteAt));
    if (performance.now() - quietSince > quietAfterExitMs) return;
  }
}

async function copyInput(
  ctx: CliContext,
  client: DaemonClient,
  options: SessionOptions,
  fifos: FifoSet,
  signal: AbortSignal,
  detach: () => void,
): Promise<void> {
  const sink = await fifos.openStdin(signal);
  const filter =
    options.terminal && isTerminal(ctx.stdio)
      ? new DetachFilter(detach)
      : options.terminal
        ? new EofKey()
        : new Transform(passOn);
  // A terminal stays open when our input ends: its end reaches the process as a key, and closing the FIFO would
  // make the shim hang up the pty under it.
  await pipeline(ctx.stdio.stdin, filter, sink, { signal, end: !options.terminal });
  if (options.terminal) return;
  await client.tasks
    .closeIo({ containerId: options.id, execId: options.execId, stdin: true }, { signal })
    .catch((error) => {
      // Gone or stopped meanwhile: it needs no end of input any more.
      if (!signal.aborted && toDaemonError(error).kind !== "not-found") throw error;
    });
}

const passOn = {
  transform(chunk: Buffer, _encoding: BufferEncoding, done: (error: null, chunk: Buffer) => void): void {
    done(null, chunk);
  },
};

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

/** Signals go to the process; whoever insists (third interrupt) or hangs up the pipe gets it killed. */
function forwarder(
  ctx: CliContext,
  client: DaemonClient,
  target: { readonly containerId: string; readonly execId: string },
): (name: RoutedSignal) => void {
  let insistence = 0;
  return (name) => {
    let number: number = constants.signals[name];
    if (name === "SIGINT" || name === "SIGTERM") {
      insistence += 1;
      if (insistence === 2) ctx.note("the container has not exited yet; once more to kill it");
      if (insistence > 2) number = constants.signals.SIGKILL;
    }
    if (name === "SIGPIPE") number = constants.signals.SIGKILL;
    client.tasks.kill({ ...target, signal: number }).catch((error) => {
      const failure = toDaemonError(error);
      if (failure.kind !== "not-found") ctx.note(`could not forward ${name}: ${failure.message}`);
    });
  };
}

type Target = Parameters<DaemonClient["tasks"]["get"]>[0];

const isUnavailable = (error: unknown): boolean =>
  error instanceof DaemonError && error.kind === "unavailable";

/**
 * Starts the process even if the daemon dies while it does. Whether a lost answer was a start is asked of the
 * daemon that comes back: doing it twice, or cleaning up something that runs, would both be wrong.
 */
async function startForCertain(
  ctx: CliContext,
  client: DaemonClient,
  options: SessionOptions,
): Promise<void> {
  const target = { containerId: options.id, execId: options.execId };
  try {
    await options.start();
    return;
  } catch (error) {
    if (!isUnavailable(error)) throw error;
  }
  const absence = new Absence(ctx);
  for (;;) {
    try {
      const { process } = await client.tasks.get(target, { signal: ctx.signal });
      if (process !== undefined && taskState(process) !== "created") return;
      await options.start();
      return;
    } catch (error) {
      if (!isUnavailable(error)) throw error;
      await absence.bear(error, ctx.signal);
    }
  }
}

/** A daemon that is away: told once, borne for a minute. */
class Absence {
  readonly #ctx: CliContext;
  #since: number | undefined;

  constructor(ctx: CliContext) {
    this.#ctx = ctx;
  }

  /** Resolves when it is time to try again; throws `error` when the daemon has been away for too long. */
  async bear(error: unknown, signal: AbortSignal): Promise<void> {
    if (this.#since === undefined) {
      this.#since = performance.now();
      this.#ctx.note("lost the daemon; waiting for it to come back");
    }
    if (performance.now() - this.#since > daemonAbsenceMs) throw error;
    await sleep(250, undefined, { signal });
  }

  /** It was there again. */
  over(): void {
    this.#since = undefined;
  }
}

async function waitForExit(
  ctx: CliContext,
  client: DaemonClient,
  target: Target,
  signal: AbortSignal,
): Promise<SessionEnd> {
  const absence = new Absence(ctx);
  for (;;) {
    const askedAt = performance.now();
    try {
      const { exitStatus, exitedAt } = await client.tasks.wait(target, { signal });
      return { kind: "exited", exitStatus, exitedAt: timeText(exitedAt) };
    } catch (error) {
      if (!isUnavailable(error)) throw error;
      // The container outlives a daemon that restarts; so does its exit status.
      if (performance.now() - askedAt > reunionMs) absence.over();
      await absence.bear(error, signal);
    }
  }
}
