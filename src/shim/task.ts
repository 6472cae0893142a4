/**
 * One task: its init process, its execs, and which of them a request means. The order in which their lives are
 * told is kept by `task-init.ts` and `task-exec.ts`.
 */
import { alreadyExists, failedPrecondition, notFound } from "../core/errors.js";
import type { Exit } from "../core/exit.js";
import type { ExecId } from "../core/ids.js";
import type { ProcessState, ProcessStatus, Stdio } from "../ports/shim-port.js";
import type { OpaqueAny } from "../ports/store-port.js";
import type { Ended } from "./exit-waiters.js";
import type { CheckpointRequest, ProcessStreams } from "./ports.js";
import type { TaskContext } from "./task-context.js";
import { TaskExec } from "./task-exec.js";
import { TaskInit } from "./task-init.js";

/** Where a method takes an exec id, "" means init. */
export class Task {
  readonly #context: TaskContext;
  readonly #init: TaskInit;
  readonly #execs = new Map<string, TaskExec>();

  /** Takes over a container that was just made, or without `made` one to be restored; see TaskInit. */
  constructor(
    context: TaskContext,
    streams: ProcessStreams,
    made: { readonly pid: number; readonly since: number } | undefined,
  ) {
    this.#context = context;
    this.#init = new TaskInit(context, streams, made, {
      pending: () => this.execs.filter((exec) => exec.pending),
      dispose: async () => {
        await Promise.all(this.execs.map((exec) => exec.dispose()));
      },
    });
  }

  get id(): string {
    return this.#context.identity.id;
  }

  get bundle(): string {
    return this.#context.identity.bundle;
  }

  get pid(): number {
    return this.#init.pid;
  }

  get status(): ProcessStatus {
    return this.#init.status;
  }

  get execs(): readonly TaskExec[] {
    return [...this.#execs.values()];
  }

  /** Resolves with the process's pid once its start is told. */
  start(execId: string): Promise<number> {
    if (execId === "") return this.#init.start();
    return this.#exec(execId).start(() => this.#assertTakesProcesses());
  }

  /** Sends a signal. `all` reaches every process of the container and is ignored for an exec. */
  async kill(execId: string, signalNumber: number, all: boolean): Promise<void> {
    if (execId === "") await this.#init.kill(signalNumber, all);
    else this.#exec(execId).kill(signalNumber);
  }

  pause(): Promise<void> {
    return this.#init.pause();
  }

  resume(): Promise<void> {
    return this.#init.resume();
  }

  update(resources: Uint8Array): Promise<void> {
    return this.#init.update(resources);
  }

  checkpoint(request: CheckpointRequest): Promise<void> {
    return this.#init.checkpoint(request);
  }

  /** Registers an exec; its id is free again once it is deleted. `process` is the JSON of an OCI process. */
  exec(id: ExecId, process: Uint8Array, stdio: Stdio): void {
    if (this.#execs.has(id)) throw alreadyExists(`id ${id}`);
    this.#init.assertAllows("exec");
    this.#execs.set(id, new TaskExec(id, process, stdio, this.#context));
    this.#context.events.execAdded(id);
  }

  resize(execId: string, width: number, height: number): void {
    (execId === "" ? this.#init : this.#exec(execId)).resize(width, height);
  }

  closeStdin(execId: string): void {
    (execId === "" ? this.#init : this.#exec(execId)).closeStdin();
  }

  wait(execId: string, signal: AbortSignal): Promise<Ended> {
    return (execId === "" ? this.#init : this.#exec(execId)).wait(signal);
  }

  /** Pids of the container, each with the exec that it is, if it is one. */
  async pids(): Promise<readonly { readonly pid: number; readonly execId: string | undefined }[]> {
    if (!this.#init.alive) return [];
    const execIds = new Map(this.execs.map((exec) => [exec.pid, exec.id]));
    return (await this.#context.runtime.pids()).map((pid) => ({ pid, execId: execIds.get(pid) }));
  }

  stats(): Promise<OpaqueAny> {
    return this.#context.runtime.stats();
  }

  state(execId: string): ProcessState {
    const { bundle } = this;
    if (execId === "") {
      const { pid, status, exit } = this.#init;
      return { id: this.id, bundle, pid, status, stdio: this.#context.identity.stdio, ...exit };
    }
    const { pid, stdio, exit, status: own } = this.#exec(execId);
    // As containerd: while the container is paused, so is all that is in it.
    const status = this.status === "paused" || this.status === "pausing" ? this.status : own;
    return { id: execId, bundle, pid, status, stdio, ...exit };
  }

  /** Deletes an exec, or the whole task: then nothing of it is left but the bundle's directory. */
  async delete(execId: string): Promise<Exit> {
    if (execId === "") return this.#init.delete();
    const ended = await this.#exec(execId).delete();
    this.#execs.delete(execId);
    return ended;
  }

  #exec(execId: string): TaskExec {
    const exec = this.#execs.get(execId);
    if (exec === undefined) throw notFound(`process does not exist ${execId}`);
    return exec;
  }

  #assertTakesProcesses(): void {
    const { phase } = this.#init;
    if (phase === "ending" || phase === "stopped" || phase === "deleted" || phase === "restorable")
      throw failedPrecondition(`container ${this.id} init process is not running`);
  }
}
