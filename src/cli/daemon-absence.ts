/** Calls that must come to an end although the daemon may die and come back under them. */
import { setTimeout as sleep } from "node:timers/promises";
import type { DaemonClient } from "../client/daemon-client.js";
import { timeText } from "../client/payload.js";
import { taskState } from "../client/records.js";
import { DaemonError } from "../core/errors.js";
import type { CliContext } from "./context.js";

/** How long a daemon may be away while its container runs on. */
const daemonAbsenceMs = 60_000;
/** A wait that lasted this long had reached a daemon: a new absence starts counting from zero. */
const reunionMs = 5_000;

/** A process: the container's first one when `execId` is "". */
export interface Target {
  readonly containerId: string;
  readonly execId: string;
}

const isUnavailable = (error: unknown): boolean =>
  error instanceof DaemonError && error.kind === "unavailable";

/**
 * Starts the process even if the daemon dies while it does. Whether a lost answer was a start is asked of the
 * daemon that comes back: doing it twice, or cleaning up something that runs, would both be wrong.
 */
export async function startForCertain(
  ctx: CliContext,
  client: DaemonClient,
  target: Target,
  start: (signal: AbortSignal) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  try {
    await start(signal);
    return;
  } catch (error) {
    if (!isUnavailable(error)) throw error;
  }
  const absence = new Absence(ctx);
  for (;;) {
    try {
      const { process } = await client.tasks.get(target, { signal });
      if (process !== undefined && taskState(process) !== "created") return;
      await start(signal);
      return;
    } catch (error) {
      if (!isUnavailable(error)) throw error;
      await absence.bear(error, signal);
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

/** Resolves when the process has exited. Lasts as long as that takes; `signal` ends the waiting. */
export async function waitForExit(
  ctx: CliContext,
  client: DaemonClient,
  target: Target,
  signal: AbortSignal,
): Promise<{ readonly exitStatus: number; readonly exitedAt: string }> {
  const absence = new Absence(ctx);
  for (;;) {
    const askedAt = performance.now();
    try {
      const { exitStatus, exitedAt } = await client.tasks.wait(target, { signal });
      return { exitStatus, exitedAt: timeText(exitedAt) };
    } catch (error) {
      if (!isUnavailable(error)) throw error;
      // The container outlives a daemon that restarts; so does its exit status.
      if (performance.now() - askedAt > reunionMs) absence.over();
      await absence.bear(error, signal);
    }
  }
}
