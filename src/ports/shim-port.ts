/**
 * The daemon's view of one shim process: shim v2's Task service, for many tasks. Each call has a deadline of
 * the adapter's; errors are DaemonErrors with the runtime's words unchanged.
 */
import type { Exit, Instant } from "../core/exit.js";
import type { ContainerId, Namespace, ShimId } from "../core/ids.js";
import type { OpaqueAny } from "./store-port.js";

export interface Mount {
  readonly type: string;
  readonly source: string;
  readonly target: string;
  readonly options: readonly string[];
}

/** Paths or URIs as the client gave them; opaque to the daemon. */
export interface Stdio {
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly terminal: boolean;
}

export interface TaskCreation {
  readonly id: ContainerId;
  readonly bundle: string;
  readonly rootfs: readonly Mount[];
  readonly stdio: Stdio;
  /** Directory of criu images to restore from; "" for a fresh start. */
  readonly checkpoint: string;
  /** containerd.runc.v1.Options, or undefined for defaults. */
  readonly options: OpaqueAny | undefined;
}

export type ProcessStatus = "unknown" | "created" | "running" | "stopped" | "paused" | "pausing";

export interface ProcessState {
  readonly id: string;
  readonly bundle: string;
  readonly pid: number;
  readonly status: ProcessStatus;
  readonly stdio: Stdio;
  readonly exitStatus: number;
  readonly exitedAt: Instant;
}

export interface ShimPort {
  readonly shimId: ShimId;
  readonly namespace: Namespace;
  readonly pid: number;
  create(task: TaskCreation, signal: AbortSignal): Promise<{ readonly pid: number }>;
  start(id: ContainerId, execId: string, signal: AbortSignal): Promise<{ readonly pid: number }>;
  delete(id: ContainerId, execId: string, signal: AbortSignal): Promise<Exit>;
  state(id: ContainerId, execId: string, signal: AbortSignal): Promise<ProcessState>;
  kill(
    id: ContainerId,
    execId: string,
    signalNumber: number,
    all: boolean,
    signal: AbortSignal,
  ): Promise<void>;
  exec(id: ContainerId, execId: string, stdio: Stdio, spec: OpaqueAny, signal: AbortSignal): Promise<void>;
  resizePty(
    id: ContainerId,
    execId: string,
    width: number,
    height: number,
    signal: AbortSignal,
  ): Promise<void>;
  closeIo(id: ContainerId, execId: string, signal: AbortSignal): Promise<void>;
  pause(id: ContainerId, signal: AbortSignal): Promise<void>;
  resume(id: ContainerId, signal: AbortSignal): Promise<void>;
  pids(
    id: ContainerId,
    signal: AbortSignal,
  ): Promise<readonly { readonly pid: number; readonly info: OpaqueAny | undefined }[]>;
  update(
    id: ContainerId,
    resources: OpaqueAny,
    annotations: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<void>;
  stats(id: ContainerId, signal: AbortSignal): Promise<OpaqueAny>;
  checkpoint(
    id: ContainerId,
    path: string,
    options: OpaqueAny | undefined,
    signal: AbortSignal,
  ): Promise<void>;
  /** True while the connection is up. */
  readonly connected: boolean;
}
