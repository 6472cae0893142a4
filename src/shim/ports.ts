/**
 * What a task needs of the world, so that its rules can be tested without one. The adapters that bind these
 * to runc, cgroups and the kernel are in `adapters/`.
 */
import type { Exit } from "../core/exit.js";
import type { ContainerId, ExecId } from "../core/ids.js";
import type { Stdio } from "../ports/shim-port.js";
import type { OpaqueAny } from "../ports/store-port.js";
import type { StdioMode } from "./stdio/stdio-plan.js";

/** A descriptor to hand to a child as its 0, 1 or 2; "null" is /dev/null. */
export type ChildFd = number | "null";

/** The streams of one process, from before it starts until they have drained. */
export interface ProcessStreams {
  readonly childStdio: readonly [ChildFd, ChildFd, ChildFd];
  /** Where the runtime sends the pty master; undefined without a terminal. */
  readonly consoleSocketPath: string | undefined;
  /** The process exists: lets go of its ends, takes the pty, waits for the client. Rejects when that fails in time. */
  childReady(signal: AbortSignal): Promise<void>;
  /** The client will write no more; idempotent. */
  closeStdin(): void;
  resize(width: number, height: number): void;
  /** The process is gone: resolves when its output has drained or `budgetMs` has passed. Never rejects. */
  exited(budgetMs: number): Promise<void>;
  /** Frees everything; idempotent. Never rejects. */
  close(): Promise<void>;
}

export interface StdioOpener {
  open(process: ProcessIdentity, stdio: Stdio, signal: AbortSignal): Promise<ProcessStreams>;
}

export interface ProcessIdentity {
  readonly containerId: ContainerId;
  /** "" for init. */
  readonly execId: string;
  readonly bundle: string;
  readonly ioUid: number;
  readonly ioGid: number;
  /** What the container's annotation asks for; undefined leaves it to the shim's configuration. */
  readonly stdioMode: StdioMode | undefined;
}

/** The exits of children, ours and those that the runtime left us. */
export interface ExitSource {
  /** A point in the order of exits, taken before a process can have started. */
  mark(): number;
  /** Calls `onExit` once, never before this returns. Returns how to stop watching. */
  watch(pid: number, since: number, onExit: (exit: Exit) => void): () => void;
}

export interface CheckpointRequest {
  readonly path: string;
  readonly options: OpaqueAny | undefined;
}

/**
 * One container through its OCI runtime, or around it where the kernel does the same. Each call ends by its own
 * deadline; errors are DaemonErrors in containerd's words.
 */
export interface ContainerRuntime {
  /** The container's processes do not live in a pid namespace of their own: none dies with init by itself. */
  readonly sharesPidNamespace: boolean;
  /** Makes the container up to the point before its program runs; returns init's pid. */
  create(streams: ProcessStreams): Promise<number>;
  start(pid: number): Promise<void>;
  /** As create and start in one, from criu's images; returns init's pid. */
  restore(streams: ProcessStreams, checkpoint: string): Promise<number>;
  /** Starts `process` (the JSON of an OCI process) in the container; returns its pid. */
  exec(execId: ExecId, process: Uint8Array, streams: ProcessStreams): Promise<number>;
  /** False when there is no such process; throws for a signal that does not exist. */
  signal(pid: number, signalNumber: number): boolean;
  /** As `signal`, to init by the way that this runtime needs. Rejects a DaemonError when the runtime refused. */
  signalInit(pid: number, signalNumber: number): Promise<boolean>;
  signalAll(signalNumber: number): Promise<void>;
  pause(): Promise<void>;
  resume(): Promise<void>;
  update(resources: Uint8Array): Promise<void>;
  pids(): Promise<readonly number[]>;
  stats(): Promise<OpaqueAny>;
  checkpoint(request: CheckpointRequest): Promise<void>;
  /** Removes the container; one that is gone is fine. `force` ends its processes first. */
  delete(force: boolean): Promise<void>;
  /** Calls `onOom` for each time the kernel killed in the container's memory cgroup. */
  watchOom(pid: number, onOom: () => void): OomWatch;
}

export interface OomWatch {
  /** Reports a kill that has happened already but was not noticed yet, before this returns. */
  checkNow(): void;
  close(): void;
}

/** Tells the world of a task; see `task-events.ts`. */
export interface EventPublisher {
  publish(containerId: string, topic: string, event: OpaqueAny): void;
}
