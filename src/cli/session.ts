/**
 * One process attached to this terminal: its FIFOs, its signals, its window size, its exit. Used by `run`,
 * `exec` and `attach`, which differ only in how the process comes to be.
 */
import { constants } from "node:os";
import type { DaemonClient } from "../client/daemon-client.js";
import type { FifoPaths, FifoSet } from "../client/fifo-set.js";
import { toDaemonError } from "../core/errors.js";
import type { CliContext } from "./context.js";
import { startForCertain, type Target, waitForExit } from "./daemon-absence.js";
import { ifFound } from "./removal.js";
import { copyInput, copyOutput, drained } from "./session-streams.js";
import type { RoutedSignal } from "./signal-router.js";
import { onResize, rawMode, windowSize } from "./terminal.js";

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
  readonly start: (signal: AbortSignal) => Promise<void>;
  /** Called once it is certain that the process has started. */
  readonly started?: () => void;
}

export type SessionEnd =
  | { readonly kind: "exited"; readonly exitStatus: number; readonly exitedAt: string }
  | { readonly kind: "detached" };

const noFifos: FifoPaths = { stdin: "", stdout: "", stderr: "" };

/** Runs a session to its end. A failure before the process runs is thrown; cleaning up is the caller's. */
export async function runSession(
  ctx: CliContext,
  client: DaemonClient,
  options: SessionOptions,
): Promise<SessionEnd> {
  const { id, execId, fifos } = options;
  const target = { containerId: id, execId };
  const output = fifos === undefined ? [] : copyOutput(ctx.stdio, fifos, options.terminal);
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
    // A signal that comes while the process starts is for the process: it may be running already.
    const early: RoutedSignal[] = [];
    const impatience = new AbortController();
    undo.push(
      ctx.signals.take((name) => {
        early.push(name);
        if (early.length >= 3) impatience.abort(new Error(`interrupted by ${name}`));
      }),
    );
    await startForCertain(ctx, client, target, options.start, impatience.signal);
    options.started?.();
    fifos?.peerIsThere();
    const forward = forwarder(ctx, client, target);
    undo.push(ctx.signals.take(forward));
    for (const name of early) forward(name);
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
      const closeInput = async (): Promise<void> => {
        await ifFound(client.tasks.closeIo({ ...target, stdin: true }, { signal: ended.signal }));
      };
      copyInput(ctx.stdio, fifos, { ...options, detach, closeInput }, ended.signal).catch((error) => {
        if (!ended.signal.aborted) ctx.note(`stdin: ${toDaemonError(error).message}`);
      });
    }
    const exit = await Promise.race([waitForExit(ctx, client, target, ended.signal), detached]);
    if (exit === "detached") return { kind: "detached" };
    await drained(ctx.stdio, output);
    return { kind: "exited", ...exit };
  } finally {
    ended.abort();
    for (const step of undo.reverse()) step();
  }
}

/** Signals go to the process; whoever insists (third interrupt) or hangs up the pipe gets it killed. */
function forwarder(ctx: CliContext, client: DaemonClient, target: Target): (name: RoutedSignal) => void {
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
