/** What the parts of one task share: who it is, its adapters, its limits in time. */
import type { Clock } from "../core/clock.js";
import type { ContainerId } from "../core/ids.js";
import type { Logger } from "../core/logger.js";
import type { Mount, Stdio } from "../ports/shim-port.js";
import type { ContainerRuntime, ExitSource, StdioOpener } from "./ports.js";
import type { StdioMode } from "./stdio/stdio-plan.js";
import type { TaskEvents } from "./task-events.js";

export interface TaskLimits {
  /** How long an exit's event waits for the rest of the process's output. */
  readonly drainMs: number;
  /** How long Delete waits for it; containerd's 10 s by default. */
  readonly deleteDrainMs: number;
  /** How long init's exit waits for execs that will not die. */
  readonly exitHoldMs: number;
  /** How long a process that was sent SIGKILL may take to be reaped. */
  readonly killMs: number;
  /** How long opening the streams and meeting the client in them may take. */
  readonly stdioMs: number;
}

export const defaultTaskLimits: TaskLimits = {
  drainMs: 10_000,
  deleteDrainMs: 10_000,
  exitHoldMs: 10_000,
  killMs: 10_000,
  stdioMs: 30_000,
};

export interface TaskIdentity {
  readonly id: ContainerId;
  readonly bundle: string;
  readonly stdio: Stdio;
  readonly rootfs: readonly Mount[];
  /** Directory of criu images to restore from; "" for a fresh start. */
  readonly checkpoint: string;
  /** Who owns the pipes of its processes. */
  readonly ioUid: number;
  readonly ioGid: number;
  readonly stdioMode: StdioMode | undefined;
}

/** The mounts that make the bundle's rootfs. */
export interface Rootfs {
  mount(): Promise<void>;
  /** Detaches everything under the rootfs; fine when nothing is mounted. */
  unmount(): Promise<void>;
}

export interface TaskContext {
  readonly identity: TaskIdentity;
  readonly log: Logger;
  readonly clock: Clock;
  readonly events: TaskEvents;
  readonly exits: ExitSource;
  readonly stdio: StdioOpener;
  readonly runtime: ContainerRuntime;
  readonly rootfs: Rootfs;
  readonly limits: TaskLimits;
}

/** Resolves true when `work` settled first, false after `limitMs`. Never rejects; `work` goes on. */
export function settledWithin(clock: Clock, work: Promise<unknown>, limitMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = clock.setTimer(limitMs, () => resolve(false));
    const done = (): void => {
      timer.cancel();
      resolve(true);
    };
    work.then(done, done);
  });
}
