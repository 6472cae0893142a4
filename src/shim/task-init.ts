/**
 * Init, the first process of a task: created or restored, started, signalled, frozen, reaped, told, deleted.
 * Its rules are in `init-process.ts`; this is what they do to the world. Operations run one at a time; signals,
 * queries and the exit never wait behind them.
 */
import { DaemonError, notFound, unknownError } from "../core/errors.js";
import { type Exit, zeroInstant } from "../core/exit.js";
import type { ProcessStatus } from "../ports/shim-port.js";
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

const SIGKILL = 9;

/** What runc 1.1 and containerd make of a signal that does not exist. */
const invalidSignalText =
  "unknown error after kill: runc did not terminate successfully: exit status 1: unable to signal init: invalid argument\n";

/** The task's execs, as far as init's end concerns them. */
export interface OtherProcesses {
  /** Those whose end has still to be told. */
  pending(): readonly { settled(): Promise<void> }[];
  /** Frees what they hold: the task is being deleted. */
  dispose(): Promise<void>;
}

export class TaskInit {
  readonly #context: TaskContext;
  readonly #streams: ProcessStreams;
  readonly #others: OtherProcesses;
  readonly #waiters = new ExitWaiters();
  readonly #lane = new OperationLane();
  #state: InitState;
  #oomWatch: OomWatch | undefined;
  #stopWatching: () => void = () => undefined;

  /**
   * Takes over a container that the runtime has just made (or, without `made`, one to be restored): its streams,
   * its exit. Tells that it was created. `since` is the mark from before its creation.
   */
  constructor(
    context: TaskContext,
    streams: ProcessStreams,
    made: { readonly pid: number; readonly since: number } | undefined,
    others: OtherProcesses,
  ) {
    this.#context = context;
    this.#streams = streams;
    this.#others = others;
    this.#state = made === undefined ? { phase: "restorable" } : { phase: "created", pid: made.pid };
    context.events.created({ ...context.identity, pid: made?.pid ?? 0 });
    if (made !== undefined) this.#adopt(made.pid, made.since);
  }

  get phase(): InitState["phase"] {
    return this.#state.phase;
  }

  get pid(): number {
    return initPid(this.#state);
  }

  get status(): ProcessStatus {
    return initStatus(this.#state);
  }

  get exit(): Ended {
    return visibleExit(this.#state);
  }

  get alive(): boolean {
    return isInitAlive(this.#state);
  }

  /** Resolves when its exit is told. */
  wait(signal: AbortSignal): Promise<Ended> {
    return this.#waiters.wait(signal);
  }

  /** Throws, in containerd's words, when the container's state does not allow the operation. */
  assertAllows(operation: InitOperation): void {
    const refusal = initRefusal(this.#state, operation);
    if (refusal !== undefined) throw refusal;
  }

  start(): Promise<number> {
    return this.#lane.run(async () => {
      this.assertAllows("start");
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
      writeExitRecord(this.#context.identity.bundle, "", exit);
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
        this.#context.events.exited(this.#context.identity.id, exit);
        this.#state = { phase: "stopped", pid: exit.pid, exit };
        this.#waiters.settle(exit);
      });
  }

  /** What comes before the exit may be told: other processes end, output drains, OOM is noticed. */
  async #finish(wasPaused: boolean): Promise<void> {
    const { runtime, clock, limits, log } = this.#context;
    const attempt = (what: string, work: () => Promise<void>): Promise<void> =>
      work().catch((error: unknown) => log.debug({ err: error, what }, "step after init's exit failed"));
    if (wasPaused) await attempt("thaw", () => runtime.resume());
    if (runtime.sharesPidNamespace) await attempt("kill the rest", () => runtime.signalAll(SIGKILL));
    const pending = this.#others.pending();
    if (pending.length > 0) {
      const all = Promise.all(pending.map((exec) => exec.settled()));
      if (!(await settledWithin(clock, all, limits.exitHoldMs)))
        log.warn({ execs: pending.length }, "init's exit is told before that of its execs");
    }
    await this.#streams.exited(limits.drainMs);
    this.#oomWatch?.checkNow();
    this.#closeOomWatch();
  }

  async kill(signalNumber: number, all: boolean): Promise<void> {
    const { runtime } = this.#context;
    if (all) {
      // What outlived init can only live in a pid namespace that is not the container's own.
      if (this.alive || runtime.sharesPidNamespace)
        await runtime.signalAll(signalNumber).catch((error: unknown) => {
          if (this.alive || !(error instanceof DaemonError) || error.kind !== "not-found") throw error;
        });
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
    if (signalNumber === SIGKILL) await this.#thawForDeath();
  }

  /** A frozen process dies only when it is thawed; runc does this for SIGKILL, and for SIGKILL alone. */
  async #thawForDeath(): Promise<void> {
    // While the freezer is at work a thaw would be undone at once: whoever freezes does it after that.
    if (this.#state.phase === "pausing") this.#state = { ...this.#state, killed: true };
    if (this.#state.phase !== "paused") return;
    const { runtime, log } = this.#context;
    await runtime.resume().catch((error: unknown) => log.debug({ err: error }, "thaw after SIGKILL failed"));
  }

  pause(): Promise<void> {
    return this.#lane.run(async () => {
      this.assertAllows("pause");
      const pid = this.pid;
      this.#state = { phase: "pausing", pid };
      try {
        await this.#context.runtime.pause();
      } catch (error) {
        if (this.phase === "pausing") this.#state = { phase: "running", pid };
        throw error;
      }
      // It may have died meanwhile, or be about to.
      if (this.#state.phase !== "pausing") return;
      const { killed } = this.#state;
      this.#state = { phase: "paused", pid };
      this.#context.events.paused();
      if (killed === true) await this.#thawForDeath();
    });
  }

  resume(): Promise<void> {
    return this.#lane.run(async () => {
      this.assertAllows("resume");
      const pid = this.pid;
      await this.#context.runtime.resume();
      if (this.#state.phase !== "paused") return;
      this.#state = { phase: "running", pid };
      this.#context.events.resumed();
    });
  }

  update(resources: Uint8Array): Promise<void> {
    return this.#lane.run(async () => {
      this.assertAllows("update");
      await this.#context.runtime.update(resources);
    });
  }

  checkpoint(request: CheckpointRequest): Promise<void> {
    return this.#lane.run(async () => {
      this.assertAllows("checkpoint");
      await this.#context.runtime.checkpoint(request);
    });
  }

  resize(width: number, height: number): void {
    // In any state: a terminal that is gone has no size to change.
    if (this.#context.identity.stdio.terminal) this.#streams.resize(width, height);
  }

  closeStdin(): void {
    this.#streams.closeStdin();
  }

  /** Deletes the container: then nothing of it is left but the bundle's directory. */
  delete(): Promise<Exit> {
    return this.#lane.run(async () => {
      await this.#endingTold();
      this.assertAllows("delete");
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
    await this.#others.dispose();
    await this.#streams.close();
  }

  #closeOomWatch(): void {
    this.#oomWatch?.close();
    this.#oomWatch = undefined;
  }
}
