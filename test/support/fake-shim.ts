/** Shims in memory: they keep tasks, send the events a real shim sends, and fail or hang when a test says so. */
import {
  DaemonError,
  failedPrecondition,
  notFound,
  toDaemonError,
  unavailable,
  unknownError,
} from "../../src/core/errors.js";
import { type Exit, instantFromMs, zeroInstant } from "../../src/core/exit.js";
import { type ContainerId, type ShimId, type TaskKey, taskKeyString } from "../../src/core/ids.js";
import type { Envelope } from "../../src/ports/event-sink.js";
import type { ShimConnection, ShimLauncher, ShimRequest } from "../../src/ports/shim-launcher-port.js";
import type { ProcessState, Stdio } from "../../src/ports/shim-port.js";
import { packAny } from "../../src/wire/any.js";
import * as pb from "../../src/wire/gen/containerd/events/events.js";
import { toTimestamp } from "../../src/wire/timestamp.js";

interface FakeProcess {
  pid: number;
  status: ProcessState["status"];
  stdio: Stdio;
  exit: Exit | undefined;
}

export type Operation = "create" | "start" | "delete" | "kill" | "exec" | "pause" | "resume" | "open";

export class FakeShims {
  readonly running = new Map<ShimId, FakeShim>();
  readonly forgotten: ShimId[] = [];
  readonly cleaned: string[] = [];
  readonly calls: string[] = [];
  /** Called before each operation; may throw, or return a promise to hang on. */
  before: (operation: Operation, id: string) => void | Promise<void> = () => undefined;
  /** Called after each operation's effect, before its answer; may return a promise to hang on. */
  after: (operation: Operation, id: string) => void | Promise<void> = () => undefined;
  /** Called once a process runs, before its start is answered. */
  afterStart: (id: string) => void = () => undefined;
  /** Where events go; the world connects it to the directory. */
  deliver: (key: TaskKey, envelope: Envelope, shimId: ShimId) => void = () => undefined;
  /** Containers whose shim died and that nobody has cleaned up yet, by `<namespace>/<id>`. */
  readonly orphans = new Set<string>();
  /** What a dead shim had still to say. */
  undelivered: (shimId: ShimId, id: string) => readonly Envelope[] = () => [];
  left: ShimRequest[] = [];
  cleanUpFails = false;
  /** What init.pid in the bundle of a task without a shim says. */
  pidOf: (key: TaskKey) => number = () => 77;
  nextPid = 100;
  /** Shims that were started here and not forgotten. */
  readonly #directories = new Set<ShimId>();

  readonly launcher: ShimLauncher = {
    resolve: (runtime) => {
      if (runtime.includes("nosuch")) throw unknownError(`failed to start shim: ${runtime}`);
      return { builtIn: true };
    },
    open: async (request, signal) => {
      await this.before("open", request.shimId);
      signal.throwIfAborted();
      const existing = this.running.get(request.shimId);
      if (existing !== undefined) return existing.connection;
      const earlier =
        this.#directories.has(request.shimId) || this.left.some(({ shimId }) => shimId === request.shimId);
      if (earlier) throw unavailable(`shim ${request.shimId} is dead`);
      this.#directories.add(request.shimId);
      const shim = new FakeShim(this, request);
      this.running.set(request.shimId, shim);
      return shim.connection;
    },
    leftovers: () => {
      const known = new Set(this.left.map(({ shimId }) => shimId));
      const living = [...this.running.values()].map(({ request }) => request);
      return [...this.left, ...living.filter(({ shimId }) => !known.has(shimId))];
    },
    isAlive: (shimId) => this.running.has(shimId),
    undelivered: (shimId, id) => this.undelivered(shimId, id),
    forget: async (shimId) => {
      this.forgotten.push(shimId);
      this.#directories.delete(shimId);
    },
    cleanUpTask: async (key) => {
      if (this.cleanUpFails) throw unknownError("runtime delete failed");
      this.cleaned.push(taskKeyString(key));
      this.orphans.delete(taskKeyString(key));
      return { pid: this.pidOf(key) };
    },
  };
}

export class FakeShim {
  readonly tasks = new Map<string, Map<string, FakeProcess>>();
  readonly connection: ShimConnection;
  readonly #shims: FakeShims;
  readonly request: ShimRequest;
  #close!: () => void;
  connected = true;

  constructor(shims: FakeShims, request: ShimRequest) {
    this.#shims = shims;
    this.request = request;
    const self = this;
    const closed = new Promise<void>((resolve) => {
      this.#close = resolve;
    });
    const lanes = new Map<string, Promise<void>>();
    /** Operations of a task take turns, as in a real shim; signals do not wait. */
    const step = async (operation: Operation, id: string, execId = ""): Promise<void> => {
      shims.calls.push(`${operation} ${id}${execId}`);
      if (operation === "kill") await shims.before(operation, id);
      else {
        const turn = (lanes.get(id) ?? Promise.resolve()).then(() =>
          shims.before(operation, `${id}${execId}`),
        );
        lanes.set(
          id,
          turn.then(
            () => undefined,
            () => undefined,
          ),
        );
        await turn;
      }
      if (!self.connected) throw unavailable("ttrpc: closed");
    };
    const answer = async (operation: Operation, id: string): Promise<void> => {
      await shims.after(operation, id);
    };
    const find = (id: string, execId: string): FakeProcess => {
      const processes = self.tasks.get(id);
      if (processes === undefined) throw notFound("container not created");
      const process = processes.get(execId);
      if (process === undefined) throw notFound(`process does not exist ${execId}`);
      return process;
    };
    this.connection = overTheWire(closed, {
      shimId: request.shimId,
      namespace: request.namespace,
      pid: 1,
      closed,
      get connected() {
        return self.connected;
      },
      async create(task) {
        await step("create", task.id);
        if (self.tasks.has(task.id)) throw new DaemonError("already-exists", `task ${task.id}`);
        const pid = shims.nextPid++;
        self.tasks.set(
          task.id,
          new Map([["", { pid, status: "created", stdio: task.stdio, exit: undefined }]]),
        );
        self.#send(
          task.id,
          "/tasks/create",
          "TaskCreate",
          pb.TaskCreate.encode(pb.TaskCreate.fromPartial({ containerId: task.id, pid })).finish(),
        );
        await answer("create", task.id);
        return { pid };
      },
      async start(id, execId) {
        await step("start", id, execId);
        const process = find(id, execId);
        if (process.status !== "created") throw unknownError(`cannot start a ${process.status} process`);
        if (execId !== "" && find(id, "").exit !== undefined)
          throw failedPrecondition(`container ${id} init process is not running`);
        if (execId !== "") process.pid = shims.nextPid++;
        process.status = "running";
        const { pid } = process;
        if (execId === "")
          self.#send(id, "/tasks/start", "TaskStart", pb.TaskStart.encode({ containerId: id, pid }).finish());
        else
          self.#send(
            id,
            "/tasks/exec-started",
            "TaskExecStarted",
            pb.TaskExecStarted.encode({ containerId: id, execId, pid }).finish(),
          );
        shims.afterStart(id);
        await answer("start", `${id}${execId}`);
        return { pid };
      },
      async delete(id, execId) {
        await step("delete", id, execId);
        const process = find(id, execId);
        if (process.status === "running" || process.status === "paused")
          throw unknownError(`cannot delete a ${process.status} process`);
        const exit = process.exit ?? { pid: process.pid, exitStatus: 0, exitedAt: zeroInstant };
        if (execId !== "") {
          self.tasks.get(id)?.delete(execId);
          await answer("delete", `${id}${execId}`);
          return exit;
        }
        if (process.exit === undefined) self.exit(id, "", 137);
        self.tasks.delete(id);
        self.#send(
          id,
          "/tasks/delete",
          "TaskDelete",
          pb.TaskDelete.encode({
            containerId: id,
            id: "",
            ...exit,
            exitedAt: toTimestamp(exit.exitedAt),
          }).finish(),
        );
        await answer("delete", id);
        return exit;
      },
      state: async (id, execId) => self.#state(id, find(id, execId)),
      async kill(id, execId, signalNumber) {
        await step("kill", id);
        const process = find(id, execId);
        if (process.exit !== undefined) throw notFound("process already finished");
        if (execId !== "" && process.status === "created") throw failedPrecondition("process not created");
        self.exit(id, execId, 128 + signalNumber);
      },
      async exec(id, execId, stdio) {
        await step("exec", id, execId);
        if (find(id, "").exit !== undefined) throw unknownError("cannot exec in a stopped state");
        const processes = self.tasks.get(id);
        if (processes?.has(execId)) throw new DaemonError("already-exists", `id ${execId}`);
        processes?.set(execId, { pid: 0, status: "created", stdio, exit: undefined });
        self.#send(
          id,
          "/tasks/exec-added",
          "TaskExecAdded",
          pb.TaskExecAdded.encode({ containerId: id, execId }).finish(),
        );
        await answer("exec", `${id}${execId}`);
      },
      resizePty: async () => undefined,
      closeIo: async () => undefined,
      async pause(id) {
        await step("pause", id);
        const process = find(id, "");
        if (process.status !== "running") throw unknownError(`cannot pause a ${process.status} container`);
        process.status = "paused";
        self.#send(id, "/tasks/paused", "TaskPaused", pb.TaskPaused.encode({ containerId: id }).finish());
        await answer("pause", id);
      },
      async resume(id) {
        await step("resume", id);
        const process = find(id, "");
        if (process.status !== "paused") throw unknownError(`cannot resume a ${process.status} container`);
        process.status = "running";
        self.#send(id, "/tasks/resumed", "TaskResumed", pb.TaskResumed.encode({ containerId: id }).finish());
        await answer("resume", id);
      },
      pids: async (id) => [{ pid: find(id, "").pid, info: undefined }],
      update: async () => undefined,
      stats: async () => ({ typeUrl: "t", value: new Uint8Array() }),
      checkpoint: async () => undefined,
      tasks: async () =>
        [...self.tasks].map(([id, processes]) => ({
          id: id as ContainerId,
          bundle: `/b/${id}`,
          processes: [...processes].map(([execId, process]) => ({ execId, state: self.#state(id, process) })),
        })),
      task: async (id, signal) => (await self.connection.tasks(signal)).find((task) => task.id === id),
      ping: async () => undefined,
      async shutdown() {
        self.die();
      },
    });
  }

  /** A process ends: recorded and sent. */
  exit(id: string, execId: string, exitStatus: number): void {
    const processes = this.tasks.get(id);
    const process = processes?.get(execId);
    if (process === undefined || process.exit !== undefined) return;
    // The end of init ends every other process of its pid namespace, and is told after theirs.
    if (execId === "") {
      for (const [other, { status }] of processes ?? []) {
        if (other !== "" && status === "running") this.exit(id, other, 137);
      }
    }
    process.status = "stopped";
    process.exit = { pid: process.pid, exitStatus, exitedAt: instantFromMs(1_700_000_000_000) };
    const message = {
      containerId: id,
      id: execId === "" ? id : execId,
      pid: process.pid,
      exitStatus,
      exitedAt: toTimestamp(process.exit.exitedAt),
    };
    this.#send(id, "/tasks/exit", "TaskExit", pb.TaskExit.encode(message).finish());
  }

  /** kill -9 of the shim. */
  die(): void {
    if (!this.connected) return;
    this.connected = false;
    const { shimId, namespace } = this.request;
    this.#shims.running.delete(shimId);
    for (const id of this.tasks.keys()) this.#shims.orphans.add(`${namespace}/${id}`);
    this.#close();
  }

  #state(id: string, process: FakeProcess): ProcessState {
    return {
      id,
      bundle: `/b/${id}`,
      pid: process.pid,
      status: process.status,
      stdio: process.stdio,
      exitStatus: process.exit?.exitStatus ?? 0,
      exitedAt: process.exit?.exitedAt ?? zeroInstant,
    };
  }

  #send(id: string, topic: string, name: string, value: Uint8Array): void {
    const { namespace } = this.request;
    const event = packAny(
      `containerd.events.${name}`,
      { encode: () => ({ finish: () => value }) },
      undefined,
    );
    this.#shims.deliver(
      { namespace, id: id as ContainerId },
      { timestamp: instantFromMs(1_700_000_000_000), namespace, topic, event },
      this.request.shimId,
    );
  }
}

const wireCalls = [
  "create",
  "start",
  "delete",
  "state",
  "kill",
  "exec",
  "pause",
  "resume",
  "tasks",
  "task",
] as const;

/** As over a connection: a call ends with its signal and with the shim, whatever the shim goes on doing. */
function overTheWire(closed: Promise<void>, connection: ShimConnection): ShimConnection {
  let isClosed = false;
  const broken = new Set<() => void>();
  void closed.then(() => {
    isClosed = true;
    for (const fail of broken) fail();
  });
  const wrapped: Record<string, unknown> = {};
  for (const name of wireCalls) {
    const call = connection[name] as (...args: unknown[]) => Promise<unknown>;
    wrapped[name] = (...args: unknown[]) =>
      new Promise((resolve, reject) => {
        const signal = args.at(-1);
        const fail = (): void => reject(unavailable("ttrpc: closed", { bare: true }));
        if (isClosed) return fail();
        broken.add(fail);
        if (signal instanceof AbortSignal) {
          const onAbort = (): void => reject(toDaemonError(signal.reason));
          if (signal.aborted) onAbort();
          else signal.addEventListener("abort", onAbort, { once: true });
        }
        call(...args)
          .then(resolve, reject)
          .finally(() => broken.delete(fail));
      });
  }
  return Object.defineProperties(connection, Object.getOwnPropertyDescriptors(wrapped)) as ShimConnection;
}
