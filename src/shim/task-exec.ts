/**
 * One exec of a task: registered, started through the runtime, signalled, reaped, told, deleted. Its rules are
 * in `exec-process.ts`; this is what they do to the world. Execs of one task start side by side.
 */
import { notFound, unknownError } from "../core/errors.js";
import { type Exit, zeroInstant } from "../core/exit.js";
import type { ExecId } from "../core/ids.js";
import { ResourceScope } from "../core/resource-scope.js";
import type { ProcessStatus, Stdio } from "../ports/shim-port.js";
import {
  type ExecState,
  execPid,
  execReaped,
  execRefusal,
  execStatus,
  isExecPending,
  signallableExec,
} from "./exec-process.js";
import { removeExecFiles, writeExitRecord } from "./exit-record.js";
import { type Ended, ExitWaiters } from "./exit-waiters.js";
import { visibleExit } from "./init-process.js";
import { OperationLane } from "./operation-lane.js";
import type { ProcessStreams } from "./ports.js";
import { settledWithin, type TaskContext } from "./task-context.js";

const SIGKILL = 9;

export class TaskExec {
  readonly id: ExecId;
  readonly stdio: Stdio;
  #waiters = new ExitWaiters();
  readonly #process: Uint8Array;
  readonly #context: TaskContext;
  readonly #lane = new OperationLane(16);
  #state: ExecState = { phase: "created" };
  #streams: ProcessStreams | undefined;
  /** CloseIO may overtake Start: dockerd sends them side by side. */
  #stdinClosed = false;
  #startFailed = false;
  #onSettled: (() => void)[] = [];
  #onReaped: (() => void)[] = [];

  /** `process` is the JSON of the OCI process to run. */
  constructor(id: ExecId, process: Uint8Array, stdio: Stdio, context: TaskContext) {
    this.id = id;
    this.stdio = stdio;
    this.#process = process;
    this.#context = context;
  }

  get phase(): ExecState["phase"] {
    return this.#state.phase;
  }

  get pid(): number {
    return execPid(this.#state);
  }

  get status(): ProcessStatus {
    return execStatus(this.#state);
  }

  get exit(): Omit<Exit, "pid"> {
    return visibleExit(this.#state);
  }

  /** Resolves when its exit is told, or with zeros when its start has failed. */
  wait(signal: AbortSignal): Promise<Ended> {
    return this.#waiters.wait(signal);
  }

  /** Its exit, or the failure of its start, has still to be told. */
  get pending(): boolean {
    return isExecPending(this.#state);
  }

  /** Resolves when it is no longer pending. */
  settled(): Promise<void> {
    if (!this.pending) return Promise.resolve();
    return new Promise((resolve) => this.#onSettled.push(resolve));
  }

  /** `assertAccepted` throws when the container takes no more processes; it is asked when the start begins. */
  start(assertAccepted: () => void): Promise<number> {
    return this.#lane.run(async () => {
      const refusal = execRefusal(this.#state, "start");
      if (refusal !== undefined) throw refusal;
      assertAccepted();
      this.#enter({ phase: "starting" });
      if (this.#startFailed) this.#waiters = new ExitWaiters();
      try {
        return await this.#run();
      } catch (error) {
        this.#enter({ phase: "created" });
        // As containerd: whoever waits learns that there is nothing to wait for.
        this.#waiters.settle({ exitStatus: 0, exitedAt: zeroInstant });
        // A further attempt is waited for anew.
        this.#startFailed = true;
        throw error;
      }
    });
  }

  async #run(): Promise<number> {
    const { identity, exits, runtime, limits, stdio, log } = this.#context;
    const undo = new ResourceScope();
    try {
      const who = { ...identity, containerId: identity.id, execId: this.id };
      const streams = await stdio.open(who, this.stdio, AbortSignal.timeout(limits.stdioMs));
      undo.defer("streams", () => streams.close());
      const since = exits.mark();
      const pid = await runtime.exec(this.id, this.#process, streams);
      this.#enter({ phase: "starting", pid });
      undo.defer("process", () => this.#killUnstarted(pid));
      exits.watch(pid, since, (exit) => this.#reaped(exit));
      await streams.childReady(AbortSignal.timeout(limits.stdioMs));
      undo.keep();
      this.#streams = streams;
      if (this.#stdinClosed) streams.closeStdin();
      this.#started(pid);
      return pid;
    } catch (error) {
      for (const { what, error: err } of await undo.release()) {
        log.warn({ what, err, execId: this.id }, "failed exec is not fully undone");
      }
      removeExecFiles(identity.bundle, this.id);
      throw error;
    }
  }

  #started(pid: number): void {
    const state = this.#state;
    this.#enter({ phase: "running", pid });
    this.#context.events.execStarted(this.id, pid);
    // The process was faster than its client; now that its start is told, so may its end be.
    if (state.phase === "starting" && state.earlyExit !== undefined) this.#end(state.earlyExit);
  }

  #reaped(exit: Exit): void {
    const { identity, log } = this.#context;
    // One whose start has failed meanwhile has no exit that anybody should find.
    if (this.pending) {
      try {
        writeExitRecord(identity.bundle, this.id, exit);
      } catch (error) {
        log.warn({ err: error, execId: this.id }, "exit record not written");
      }
    }
    for (const resolve of this.#onReaped.splice(0)) resolve();
    if (this.#state.phase === "running") this.#end(exit);
    else this.#enter(execReaped(this.#state, exit));
  }

  #end(exit: Exit): void {
    this.#enter(execReaped(this.#state, exit));
    const drained = this.#streams?.exited(this.#context.limits.drainMs) ?? Promise.resolve();
    void drained.then(() => {
      this.#context.events.exited(this.id, exit);
      this.#enter({ phase: "stopped", pid: exit.pid, exit });
      this.#waiters.settle(exit);
    });
  }

  async #killUnstarted(pid: number): Promise<void> {
    const reaped = new Promise<void>((resolve) => this.#onReaped.push(resolve));
    if (this.#state.phase === "starting" && this.#state.earlyExit !== undefined) return;
    this.#context.runtime.signal(pid, SIGKILL);
    if (!(await settledWithin(this.#context.clock, reaped, this.#context.limits.killMs)))
      throw unknownError(`process ${pid} was not reaped after SIGKILL`);
  }

  kill(signalNumber: number): void {
    const pid = signallableExec(this.#state);
    let delivered: boolean;
    try {
      delivered = this.#context.runtime.signal(pid, signalNumber);
    } catch (error) {
      throw unknownError("exec kill error: unknown error after kill: invalid argument", {
        cause: error,
      });
    }
    if (!delivered) throw notFound("process already finished");
  }

  resize(width: number, height: number): void {
    const refusal = execRefusal(this.#state, "resize");
    if (refusal !== undefined) throw refusal;
    if (this.stdio.terminal) this.#streams?.resize(width, height);
  }

  closeStdin(): void {
    this.#stdinClosed = true;
    this.#streams?.closeStdin();
  }

  /** Ends its record: waits for its output, frees its streams, returns how it ended (zeros if it never ran). */
  delete(): Promise<Exit> {
    return this.#lane.run(async () => {
      const { clock, limits } = this.#context;
      // Reaped but not told yet is as good as stopped.
      if (this.#state.phase === "ending") await settledWithin(clock, this.settled(), limits.drainMs);
      const refusal = execRefusal(this.#state, "delete");
      if (refusal !== undefined) throw refusal;
      const ended = { pid: this.pid, ...this.exit };
      await this.#streams?.exited(limits.deleteDrainMs);
      await this.dispose();
      this.#enter({ phase: "deleted" });
      return ended;
    });
  }

  /** Frees what it holds, in whatever state it is; its task is going away. */
  async dispose(): Promise<void> {
    await this.#streams?.close();
    this.#streams = undefined;
    removeExecFiles(this.#context.identity.bundle, this.id);
  }

  #enter(state: ExecState): void {
    this.#state = state;
    if (!this.pending) for (const resolve of this.#onSettled.splice(0)) resolve();
  }
}
