/** A task's world without a kernel: every port records what it was asked, and tests decide what it answers. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock } from "../../../src/core/clock.js";
import type { Exit } from "../../../src/core/exit.js";
import { parseContainerId } from "../../../src/core/ids.js";
import { silentLogger } from "../../../src/core/logger.js";
import type {
  ContainerRuntime,
  EventPublisher,
  ExitSource,
  ProcessStreams,
  StdioOpener,
} from "../../../src/shim/ports.js";
import type { Task } from "../../../src/shim/task.js";
import { defaultTaskLimits, type TaskContext } from "../../../src/shim/task-context.js";
import { createTask } from "../../../src/shim/task-creation.js";
import { TaskEvents } from "../../../src/shim/task-events.js";
import {
  TaskDelete,
  TaskExecStarted,
  TaskExit,
  TaskOOM,
  TaskStart,
} from "../../../src/wire/gen/containerd/events/events.js";

export const initPid = 100;

/** A clock whose timers fire when the test says so. */
export class ManualClock implements Clock {
  #now = 1_700_000_000_000;
  #timers = new Set<{ readonly at: number; readonly fire: () => void }>();
  now = (): number => this.#now;
  monotonicMs = (): number => this.#now;
  setTimer = (delayMs: number, fire: () => void): { cancel: () => void } => {
    const timer = { at: this.#now + delayMs, fire };
    this.#timers.add(timer);
    return { cancel: () => this.#timers.delete(timer) };
  };
  advance(ms: number): void {
    this.#now += ms;
    for (const timer of [...this.#timers].sort((a, b) => a.at - b.at)) {
      if (timer.at <= this.#now && this.#timers.delete(timer)) timer.fire();
    }
  }
  get timers(): number {
    return this.#timers.size;
  }
}

/** Lets everything that is ready run: promise chains of any length that wait for no event. */
export const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
};

export class FakeStreams implements ProcessStreams {
  readonly childStdio = ["null", "null", "null"] as const;
  readonly consoleSocketPath = undefined;
  closed = 0;
  stdinClosed = 0;
  sizes: string[] = [];
  drained = Promise.resolve();
  ready: () => Promise<void> = async () => {};
  childReady = (): Promise<void> => this.ready();
  closeStdin = (): void => void this.stdinClosed++;
  resize = (width: number, height: number): void => void this.sizes.push(`${width}x${height}`);
  exited = (): Promise<void> => this.drained;
  close = async (): Promise<void> => void this.closed++;
}

export interface FakeWorld {
  readonly bundle: string;
  readonly clock: ManualClock;
  readonly context: TaskContext;
  readonly calls: string[];
  /** Events as short words: `exit e1 100 137`. */
  readonly events: string[];
  readonly streams: FakeStreams[];
  /** What the next calls of a runtime operation do, by its name; the default succeeds. */
  readonly answers: Map<string, () => Promise<unknown>>;
  /** Processes that exist and were not reaped. */
  readonly alive: Set<number>;
  reap(pid: number, exitStatus?: number): void;
  createTask(): Promise<Task>;
  cleanUp(): void;
}

export function fakeWorld(
  overrides: { sharesPidNamespace?: boolean; checkpoint?: string; terminal?: boolean } = {},
): FakeWorld {
  const bundle = mkdtempSync(join(tmpdir(), "berth-shim-unit-"));
  const clock = new ManualClock();
  const calls: string[] = [];
  const events: string[] = [];
  const streams: FakeStreams[] = [];
  const alive = new Set<number>();
  const answers = new Map<string, () => Promise<unknown>>();
  const watchers = new Map<number, (exit: Exit) => void>();
  const parked = new Map<number, Exit>();
  let nextExecPid = 200;

  const call = async <T>(name: string, value: T, detail = ""): Promise<T> => {
    calls.push(detail === "" ? name : `${name} ${detail}`);
    const answer = answers.get(name);
    return answer === undefined ? value : (((await answer()) ?? value) as T);
  };
  const born = (pid: number): number => {
    alive.add(pid);
    return pid;
  };
  const runtime: ContainerRuntime = {
    sharesPidNamespace: overrides.sharesPidNamespace ?? false,
    create: async () => {
      await call("create", undefined);
      return born(initPid);
    },
    start: () => call("start", undefined),
    restore: async () => {
      await call("restore", undefined);
      return born(initPid);
    },
    exec: async (execId) => {
      await call("exec", undefined, execId);
      return born(nextExecPid++);
    },
    signal(pid, signalNumber) {
      calls.push(`signal ${pid} ${signalNumber}`);
      if (signalNumber > 64) throw Object.assign(new Error("EINVAL"), { code: "EINVAL" });
      if (!alive.has(pid)) return false;
      if (signalNumber === 9) queueMicrotask(() => world.reap(pid, 137));
      return true;
    },
    signalInit: async (pid, signalNumber) => runtime.signal(pid, signalNumber),
    signalAll: async (signalNumber) => {
      await call("signalAll", undefined, String(signalNumber));
      if (signalNumber === 9) for (const pid of [...alive]) queueMicrotask(() => world.reap(pid, 137));
    },
    pause: () => call("pause", undefined),
    resume: () => call("resume", undefined),
    update: () => call("update", undefined),
    pids: () => call("pids", [...alive]),
    stats: () => call("stats", { typeUrl: "metrics", value: new Uint8Array() }),
    checkpoint: () => call("checkpoint", undefined),
    delete: (force) => call("delete", undefined, String(force)),
    watchOom: () => ({
      checkNow: () => void calls.push("checkOom"),
      close: () => void calls.push("closeOom"),
    }),
  };
  const exits: ExitSource = {
    mark: () => 0,
    watch(pid, _since, onExit) {
      const early = parked.get(pid);
      parked.delete(pid);
      if (early !== undefined) queueMicrotask(() => onExit(early));
      else watchers.set(pid, onExit);
      return () => void watchers.delete(pid);
    },
  };
  const stdio: StdioOpener = {
    open: async () => {
      await call("open", undefined);
      const opened = new FakeStreams();
      streams.push(opened);
      return opened;
    },
  };
  const publisher: EventPublisher = {
    publish: (containerId, topic, { value }) => void events.push(describeEvent(containerId, topic, value)),
  };
  const id = parseContainerId("c1");
  const context: TaskContext = {
    identity: {
      id,
      bundle,
      stdio: { stdin: "", stdout: "/o", stderr: "", terminal: overrides.terminal ?? false },
      rootfs: [],
      checkpoint: overrides.checkpoint ?? "",
      ioUid: 0,
      ioGid: 0,
      stdioMode: undefined,
    },
    log: silentLogger,
    clock,
    events: new TaskEvents(publisher, id),
    exits,
    stdio,
    runtime,
    rootfs: { mount: () => call("mount", undefined), unmount: () => call("unmount", undefined) },
    limits: defaultTaskLimits,
  };
  const world: FakeWorld = {
    bundle,
    clock,
    context,
    calls,
    events,
    streams,
    answers,
    alive,
    reap(pid, exitStatus = 0) {
      if (!alive.delete(pid)) return;
      const exit = { pid, exitStatus, exitedAt: { seconds: 1n, nanos: pid } };
      const watcher = watchers.get(pid);
      watchers.delete(pid);
      if (watcher === undefined) parked.set(pid, exit);
      else watcher(exit);
    },
    createTask: () => createTask(context),
    cleanUp: () => rmSync(bundle, { recursive: true, force: true }),
  };
  return world;
}

function describeEvent(containerId: string, topic: string, value: Uint8Array): string {
  const word = topic.replace("/tasks/", "");
  const own = (id: string): string => (id === containerId ? "init" : id);
  switch (word) {
    case "start":
      return `start ${TaskStart.decode(value).pid}`;
    case "exec-started": {
      const { execId, pid } = TaskExecStarted.decode(value);
      return `exec-started ${execId} ${pid}`;
    }
    case "exit": {
      const { id, pid, exitStatus } = TaskExit.decode(value);
      return `exit ${own(id)} ${pid} ${exitStatus}`;
    }
    case "delete": {
      const { pid, exitStatus } = TaskDelete.decode(value);
      return `delete ${pid} ${exitStatus}`;
    }
    case "oom":
      return `oom ${own(TaskOOM.decode(value).containerId)}`;
    default:
      return word;
  }
}

/** A promise and how to settle it. */
export function gate(): { readonly promise: Promise<void>; open(): void; fail(error: unknown): void } {
  let open = (): void => {};
  let fail = (_error: unknown): void => {};
  const promise = new Promise<void>((resolve, reject) => {
    open = resolve;
    fail = reject;
  });
  return { promise, open, fail };
}
