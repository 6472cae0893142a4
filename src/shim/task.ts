/**
 * One task: its init process, its execs, and the order in which their lives are told. Operations on init run
 * one at a time; signals, queries and exits never wait behind them. The rules are in `init-process.ts`.
 */
import { alreadyExists, DaemonError, failedPrecondition, notFound, unknownError } from "../core/errors.js";
import { type Exit, zeroInstant } from "../core/exit.js";
import type { ExecId } from "../core/ids.js";
import type { ProcessState, ProcessStatus, Stdio } from "../ports/shim-port.js";
import type { OpaqueAny } from "../ports/store-port.js";
import { writeExitRecord } from "./exit-record.js";
import { type Ended, ExitWaiters } from "./exit-waiters.js";
import {
  type InitOperation,
  type InitState,
  initPid,
  initReaped,
  initRefusal,
  initStatus,
  isInitAlive,
  signallableInit,
  visibleExit,
} from "./init-process.js";
import { OperationLane } from "./operation-lane.js";
import type { CheckpointRequest, OomWatch, ProcessStreams } from "./ports.js";
import { settledWithin, type TaskContext } from "./task-context.js";
import { TaskExec } from "./task-exec.js";

const SIGKILL = 9;

/** What runc 1.1 and containerd make of a signal that does not exist. */
const invalidSignalText =
  "unknown error after kill: runc did not terminate successfully: exit status 1: unable to signal init: invalid argument\n";

export class Task {
  readonly #context: TaskContext;
  readonly #streams: ProcessStreams;
  readonly #waiters = new ExitWaiters();
  readonly #lane = new OperationLane();
  readonly #execs = new Map<string, TaskExec>();
  #state: InitState;
  #oomWatch: OomWatch | undefined;
  #stopWatching: () => void = () => undefined;

  /**
   * Takes over a container that the runtime has just made (or a restorable one): its streams, its exit. Tells
   * that it was created. `since` is the mark from before its creation.
   */
  constructor(
    context: TaskContext,
    streams: ProcessStreams,
    made: { readonly pid: number; readonly since: number } | undefined,
  ) {
    this.#context = context;
    this.#streams = streams;
    this.#state = made === undefined ? { phase: "restorable" } : { phase: "created", pid: made.pid };
    context.events.created({ ...context.identity, pid: made?.pid ?? 0 });
    if (made !== undefined) this.#adopt(made.pid, made.since);
  }

  get id(): string {
    return this.#context.identity.id;
  }

  get bundle(): string {
    return this.#context.identity.bundle;
  }

  get pid(): number {
    return initPid(this.#state);
  }

  get status(): ProcessStatus {
    return initStatus(this.#state);
  }

  get execs(): readonly TaskExec[] {
    return [...this.#execs.values()];
  }

  /** Starts init (execId "") or an exec; resolves with its pid once its start is told. */
  start(execId: string): Promise<number> {
    if (execId !== "") {
      const exec = this.#exec(execId);
      return exec.start(() => this.#assertTakesProcesses());
    }
    return this.#lane.run(async () => {
      this.#assertInit("start");
      if (this.#state.phase === "restorable") return this.#restore();
      const pid = this.pid;
      this.#state = { phase: "starting", pid };
      try {
        await this.#context.runtime.start(pid);
      } catch (error) {
        this.#settleStart({ phase: "created", pid });
        throw error;
      }
      this.#context.events.started(pid);
      this.#settleStart({ phase: "running", pid });
      return pid;
    });
  }

  /** After the start's outcome is told, an exit that came meanwhile may be. */
  #settleStart(next: InitState): void {
    const earlyExit = this.#state.phase === "starting" ? this.#state.earlyExit : undefined;
    this.#state = next;
    if (earlyExit !== undefined) this.#end(earlyExit);
  }

  async #restore(): Promise<number> {
    const { runtime, exits, limits, events, identity } = this.#context;
    const since = exits.mark();
    const pid = await runtime.restore(this.#streams, identity.checkpoint);
    this.#state = { phase: "starting", pid };
    this.#adopt(pid, since);
    try {
      await this.#streams.childReady(AbortSignal.timeout(limits.stdioMs));
    } catch (error) {
      runtime.signal(pid, SIGKILL);
      this.#settleStart({ phase: "created", pid });
      throw error;
    }
    events.started(pid);
    this.#settleStart({ phase: "running", pid });
    return pid;
  }

  #adopt(pid: number, since: number): void {
    const { exits, runtime, events, log } = this.#context;
    this.#stopWatching = exits.watch(pid, since, (exit) => this.#reaped(exit));
    try {
      this.#oomWatch = runtime.watchOom(pid, () => events.outOfMemory());
    } catch (error) {
      log.warn({ err: error }, "container is not watched for OOM");
    }
  }

  #reaped(exit: Exit): void {
    try {
      writeExitRecord(this.bundle, "", exit);
    } catch (error) {
      this.#context.log.warn({ err: error }, "exit record not written");
    }
    this.#end(exit);
  }

  #end(exit: Exit): void {
    const wasPaused = this.#state.phase === "paused" || this.#state.phase === "pausing";
    this.#state = initReaped(this.#state, exit);
    // While Start is under way it is only kept: the start is told first.
    if (this.#state.phase !== "ending") return;
    void this.#finish(wasPaused)
      .catch((error: unknown) => this.#context.log.warn({ err: error }, "exit is told in spite of a failure"))
      .then(() => {
        this.#context.events.exited(this.id, exit);
        this.#state = { phase: "stopped", pid: exit.pid, exit };
        this.#waiters.settle(exit);
      });
  }

  /** What comes before init's exit may be told: its other processes end, output drains, OOM is noticed. */
  async #finish(wasPaused: boolean): Promise<void> {
    const { runtime, clock, limits, log } = this.#context;
    const attempt = (what: string, work: () => Promise<void>): Promise<void> =>
      work().catch((error: unknown) => log.debug({ err: error, what }, "step after init's exit failed"));
    if (wasPaused) await attempt("thaw", () => runtime.resume());
    if (runtime.sharesPidNamespace) await attempt("kill the rest", () => runtime.signalAll(SIGKILL));
    const pending = this.execs.filter((exec) => exec.pending);
    if (pending.length > 0) {
      const all = Promise.all(pending.map((exec) => exec.settled()));
      if (!(await settledWithin(clock, all, limits.exitHoldMs)))
        log.warn({ execs: pending.length }, "init's exit is told before that of its execs");
    }
    await this.#streams.exited(limits.drainMs);
    this.#oomWatch?.checkNow();
    this.#closeOomWatch();
  }

  /** Sends a signal. `all` reaches every process of the container and is ignored for an exec. */
  async kill(execId: string, signalNumber: number, all: boolean): Promise<void> {
    if (execId !== "") {
      this.#exec(execId).kill(signalNumber);
      return;
    }
    const { runtime, log } = this.#context;
    if (all) {
      if (isInitAlive(this.#state)) await runtime.signalAll(signalNumber);
      return;
    }
    const pid = signallableInit(this.#state);
    let delivered: boolean;
    try {
      delivered = await runtime.signalInit(pid, signalNumber);
    } catch (error) {
      throw error instanceof DaemonError ? error : unknownError(invalidSignalText, { cause: error });
    }
    if (!delivered) throw notFound("process already finished");
    // A frozen process dies only when it is thawed; runc does this for SIGKILL, and for SIGKILL alone.
    if (signalNumber === SIGKILL && (this.#state.phase === "paused" || this.#state.phase === "pausing"))
      await runtime
        .resume()
        .catch((error: unknown) => log.debug({ err: error }, "thaw after SIGKILL failed"));
  }

  pause(): Promise<void> {
    return this.#lane.run(async () => {
      this.#assertInit("pause");
      const pid = this.pid;
      this.#state = { phase: "pausing", pid };
      const settle = (phase: "running" | "paused"): boolean => {
        // It may have died meanwhile.
        const paused = this.#state.phase === "pausing";
        if (paused) this.#state = { phase, pid };
        return paused;
      };
      try {
        await this.#context.runtime.pause();
      } catch (error) {
        settle("running");
        throw error;
      }
      if (settle("paused")) this.#context.events.paused();
    });
  }

  resume(): Promise<void> {
    return this.#lane.run(async () => {
      this.#assertInit("resume");
      const pid = this.pid;
      await this.#context.runtime.resume();
      if (this.#state.phase !== "paused") return;
      this.#state = { phase: "running", pid };
      this.#context.events.resumed();
    });
  }

  update(resources: Uint8Array): Promise<void> {
    return this.#lane.run(async () => {
      this.#assertInit("update");
      await this.#context.runtime.update(resources);
    });
  }

  checkpoint(request: CheckpointRequest): Promise<void> {
    return this.#lane.run(async () => {
      this.#assertInit("checkpoint");
      await this.#context.runtime.checkpoint(request);
    });
  }

  /** Registers an exec; its id is free again once it is deleted. `process` is the JSON of an OCI process. */
  exec(id: ExecId, process: Uint8Array, stdio: Stdio): void {
    if (this.#execs.has(id)) throw alreadyExists(`id ${id}`);
    this.#assertInit("exec");
    this.#execs.set(id, new TaskExec(id, process, stdio, this.#context));
    this.#context.events.execAdded(id);
  }

  resize(execId: string, width: number, height: number): void {
    if (execId !== "") {
      this.#exec(execId).resize(width, height);
      return;
    }
    // In any state: a terminal that is gone has no size to change.
    if (this.#context.identity.stdio.terminal) this.#streams.resize(width, height);
  }

  closeStdin(execId: string): void {
    if (execId === "") this.#streams.closeStdin();
    else this.#exec(execId).closeStdin();
  }

  wait(execId: string, signal: AbortSignal): Promise<Ended> {
    return (execId === "" ? this.#waiters : this.#exec(execId)).wait(signal);
  }

  /** Pids of the container, each with the exec that it is, if it is one. */
  async pids(): Promise<readonly { readonly pid: number; readonly execId: string | undefined }[]> {
    if (!isInitAlive(this.#state)) return [];
    const execIds = new Map(this.execs.map((exec) => [exec.pid, exec.id]));
    return (await this.#context.runtime.pids()).map((pid) => ({ pid, execId: execIds.get(pid) }));
  }

  stats(): Promise<OpaqueAny> {
    return this.#context.runtime.stats();
  }

  state(execId: string): ProcessState {
    if (execId === "") {
      const { stdio } = this.#context.identity;
      const { pid, status, bundle, id } = this;
      return { id, bundle, pid, status, stdio, ...visibleExit(this.#state) };
    }
    const exec = this.#exec(execId);
    // As containerd: while the container is paused, so is all that is in it.
    const status = this.status === "paused" || this.status === "pausing" ? this.status : exec.status;
    return { id: execId, bundle: this.bundle, pid: exec.pid, status, stdio: exec.stdio, ...exec.exit };
  }

  /** Deletes an exec, or (execId "") the whole task: then nothing of it is left but the bundle's directory. */
  async delete(execId: string): Promise<Exit> {
    if (execId !== "") {
      const ended = await this.#exec(execId).delete();
      this.#execs.delete(execId);
      return ended;
    }
    return this.#lane.run(async () => {
      await this.#endingTold();
      this.#assertInit("delete");
      const { runtime, rootfs, events, limits } = this.#context;
      const neverStarted = this.#state.phase === "created" || this.#state.phase === "restorable";
      if (this.#state.phase === "created") await this.#killCreated(this.#state.pid);
      await this.#streams.exited(limits.deleteDrainMs);
      await runtime.delete(false);
      await this.#free();
      await rootfs.unmount();
      // containerd answers zeros for a task that was never started.
      const ended = neverStarted ? { exitStatus: 0, exitedAt: zeroInstant } : visibleExit(this.#state);
      const exit = { pid: this.pid, ...ended };
      this.#state = { phase: "deleted", pid: exit.pid };
      this.#waiters.settle(ended);
      events.deleted(exit);
      return exit;
    });
  }

  /** A process that is reaped but not told yet is as good as stopped: its Delete waits that little. */
  async #endingTold(): Promise<void> {
    if (this.#state.phase !== "ending") return;
    const { clock, limits } = this.#context;
    await settledWithin(clock, this.#exitTold(), limits.exitHoldMs + limits.drainMs);
  }

  #exitTold(): Promise<unknown> {
    return this.#waiters.wait(new AbortController().signal);
  }

  async #killCreated(pid: number): Promise<void> {
    const { runtime, limits, clock } = this.#context;
    runtime.signal(pid, SIGKILL);
    if (!(await settledWithin(clock, this.#exitTold(), limits.killMs + limits.drainMs)))
      throw unknownError(`failed to delete task: process ${pid} was not reaped after SIGKILL`);
  }

  async #free(): Promise<void> {
    this.#stopWatching();
    this.#closeOomWatch();
    await Promise.all(this.execs.map((exec) => exec.dispose()));
    await this.#streams.close();
  }

  #closeOomWatch(): void {
    this.#oomWatch?.close();
    this.#oomWatch = undefined;
  }

  #exec(execId: string): TaskExec {
    const exec = this.#execs.get(execId);
    if (exec === undefined) throw notFound(`process does not exist ${execId}`);
    return exec;
  }

  #assertInit(operation: InitOperation): void {
    const refusal = initRefusal(this.#state, operation);
    if (refusal !== undefined) throw refusal;
  }

  #assertTakesProcesses(): void {
    const { phase } = this.#state;
    if (phase === "ending" || phase === "stopped" || phase === "deleted" || phase === "restorable")
      throw failedPrecondition(`container ${this.id} init process is not running`);
  }
}
