/** Containers and tasks by raw calls: what a client library would do, one call per step. */
import { join } from "node:path";
import type { Any } from "../../src/wire/gen/google/protobuf/any.js";
import { RpcError } from "./clients.js";
import type { Daemon } from "./daemon.js";
import { type FifoReader, makeFifo, readFifo } from "./fifo.js";
import { type SpecOptions, specAny } from "./spec.js";

export const runcRuntime = "io.containerd.runc.v2";

export interface TaskOptions extends Partial<SpecOptions> {
  readonly id: string;
  readonly args: readonly string[];
  /** FIFOs for stdout (and stderr unless a terminal) are made in this directory and read; no IO without it. */
  readonly fifos?: string;
  /** containerd.runc.v1.Options of the container. */
  readonly runtimeOptions?: Any;
  readonly spec?: Any;
  readonly timeoutMs?: number;
}

export interface Task {
  readonly id: string;
  readonly namespace: string;
  /** Host pid of init. */
  readonly pid: number;
  readonly stdout: FifoReader | undefined;
  readonly stderr: FifoReader | undefined;
  start(): Promise<number>;
  /** The exit status; may be called before `start`. */
  wait(timeoutMs?: number): Promise<number>;
  kill(signal: number): Promise<void>;
  /** Deletes task and container; a running task is killed first. */
  remove(): Promise<void>;
}

/** The stored container for these options; resolves when the daemon has it. */
export async function createContainer(
  daemon: Daemon,
  namespace: string,
  options: TaskOptions,
): Promise<void> {
  const spec =
    options.spec ??
    specAny({
      rootfs: daemon.workspace.rootfs,
      cgroupsPath: `/${namespace}/${options.id}`,
      ...options,
    });
  await daemon.clients.containers.create(
    {
      container: {
        id: options.id,
        spec,
        runtime: { name: runcRuntime, options: options.runtimeOptions },
      },
    },
    { namespace },
  );
}

/** Creates the container, its FIFOs and its task; `start` is left to the caller. */
export async function createTask(daemon: Daemon, namespace: string, options: TaskOptions): Promise<Task> {
  const { id } = options;
  const { tasks, containers } = daemon.clients;
  await createContainer(daemon, namespace, options);
  const fifo = (name: string): FifoReader | undefined =>
    options.fifos === undefined ? undefined : readFifo(makeFifo(join(options.fifos, `${id}-${name}`)));
  const stdout = fifo("out");
  const stderr = options.terminal === true ? undefined : fifo("err");
  const close = (): void => {
    stdout?.close();
    stderr?.close();
  };
  const path = (reader: FifoReader | undefined, name: string): string =>
    reader === undefined ? "" : join(options.fifos ?? "", `${id}-${name}`);
  const call = { namespace, timeoutMs: options.timeoutMs ?? 60_000 };
  let pid = 0;
  try {
    const created = await tasks.create(
      {
        containerId: id,
        stdout: path(stdout, "out"),
        stderr: path(stderr, "err"),
        terminal: options.terminal ?? false,
      },
      call,
    );
    pid = created.pid;
  } catch (error) {
    close();
    await containers.delete({ id }, { namespace });
    throw error;
  }
  return {
    id,
    namespace,
    pid,
    stdout,
    stderr,
    start: async () => (await tasks.start({ containerId: id }, call)).pid,
    wait: async (timeoutMs = 60_000) =>
      (await tasks.wait({ containerId: id }, { namespace, timeoutMs })).exitStatus,
    kill: async (signal) => {
      await tasks.kill({ containerId: id, signal }, call);
    },
    remove: async () => {
      await endTask(daemon, namespace, id);
      await containers.delete({ id }, { namespace });
      close();
    },
  };
}

const notFound = 5;

/** Kills, waits and deletes the task when there is one. */
export async function endTask(daemon: Daemon, namespace: string, id: string): Promise<void> {
  const { tasks } = daemon.clients;
  try {
    await tasks.kill({ containerId: id, signal: 9 }, { namespace });
    await tasks.wait({ containerId: id }, { namespace });
  } catch (error) {
    if (!(error instanceof RpcError && error.statusCode === notFound)) throw error;
  }
  try {
    await tasks.delete({ containerId: id }, { namespace });
  } catch (error) {
    if (!(error instanceof RpcError && error.statusCode === notFound)) throw error;
  }
}
