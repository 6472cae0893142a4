/** How the daemon gets at shim processes: starts them, finds those of an earlier daemon, and cleans up after them. */
import type { ContainerId, Namespace, ShimId, TaskKey } from "../core/ids.js";
import type { Envelope } from "./event-sink.js";
import type { ProcessState, ShimPort } from "./shim-port.js";

/**
 * A task as its shim reports it. `processes` begins with init (id "") and goes on with the execs; it is empty
 * while the task is still being created.
 */
export interface HostedTask {
  readonly id: ContainerId;
  readonly bundle: string;
  readonly processes: readonly { readonly execId: string; readonly state: ProcessState }[];
}

export interface ShimConnection extends ShimPort {
  /** Resolves when the shim can no longer be reached: it died or closed its socket. */
  readonly closed: Promise<void>;
  tasks(signal: AbortSignal): Promise<readonly HostedTask[]>;
  /** One task, or undefined when the shim does not have it. */
  task(id: ContainerId, signal: AbortSignal): Promise<HostedTask | undefined>;
  ping(signal: AbortSignal): Promise<void>;
  /** Asks an empty shim to exit and waits until it has; kills it when it does not. */
  shutdown(signal: AbortSignal): Promise<void>;
}

export interface ShimRequest {
  readonly shimId: ShimId;
  readonly namespace: Namespace;
  /** Runtime name as clients give it, such as io.containerd.runc.v2. */
  readonly runtime: string;
}

export interface ShimLauncher {
  /**
   * Where a runtime name leads: to the built-in multi-task shim, or to a foreign binary that serves one group
   * each. Throws DaemonError in containerd's words for a name that cannot be resolved.
   */
  resolve(runtime: string): { readonly builtIn: boolean };
  /** Starts the shim, or dials the process that serves this id already. */
  open(request: ShimRequest, signal: AbortSignal): Promise<ShimConnection>;
  /** True while the process of this shim lives, whether it answers or not. */
  isAlive(shimId: ShimId): boolean;
  /** Shims that an earlier daemon left, dead or alive. */
  leftovers(): readonly ShimRequest[];
  /** What a dead shim had still to say of a task, in its order. Each event is given once, until `forget` and a while after. */
  undelivered(shimId: ShimId, id: ContainerId): readonly Envelope[];
  /** Removes what a gone shim leaves of its own: socket, pid file, directory. */
  forget(shimId: ShimId): Promise<void>;
  /** After a shim's death: ends and deletes one container through the runtime, unmounts its rootfs. Resolves with the pid that init had (0 if unknown). */
  cleanUpTask(key: TaskKey, bundle: string, signal: AbortSignal): Promise<{ readonly pid: number }>;
}
