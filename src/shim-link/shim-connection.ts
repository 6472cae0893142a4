/** ShimPort over ttrpc: the daemon's types on one side, containerd's Task messages on the other. */
import type { Exit } from "../core/exit.js";
import type { ContainerId, Namespace, ShimId } from "../core/ids.js";
import type { HostedTask, ShimConnection } from "../ports/shim-launcher-port.js";
import type { ProcessState, ProcessStatus } from "../ports/shim-port.js";
import { fromAny, toAny, typeUrls } from "../wire/any.js";
import type { TaskEntry } from "../wire/gen/berth/shim/v1/shim.js";
import type { StateResponse } from "../wire/gen/containerd/task/v2/task.js";
import { Status } from "../wire/gen/containerd/v1/types/types.js";
import { shimMethods, taskMethods } from "../wire/task-methods.js";
import { fromTimestamp } from "../wire/timestamp.js";
import type { ShimLink } from "./shim-link.js";

export interface ShimConnectionOptions {
  readonly shimId: ShimId;
  readonly namespace: Namespace;
  readonly pid: number;
  readonly link: ShimLink;
  /** Waits for the process to end, and makes it, when it has not by then. */
  readonly awaitEnd: (signal: AbortSignal) => Promise<void>;
}

export function createShimConnection({
  shimId,
  namespace,
  pid,
  link,
  awaitEnd,
}: ShimConnectionOptions): ShimConnection {
  const tasks = async (signal: AbortSignal): Promise<readonly HostedTask[]> => {
    const response = await link.call(shimMethods.list, {}, signal);
    return response.tasks.map(hostedTask);
  };
  return {
    shimId,
    namespace,
    pid,
    get connected() {
      return link.connected;
    },
    closed: link.closed,
    create: (task, signal) =>
      link.call(
        taskMethods.create,
        {
          id: task.id,
          bundle: task.bundle,
          rootfs: task.rootfs.map((mount) => ({ ...mount, options: [...mount.options] })),
          ...task.stdio,
          checkpoint: task.checkpoint,
          parentCheckpoint: "",
          options: toAny(task.options),
        },
        signal,
      ),
    start: (id, execId, signal) => link.call(taskMethods.start, { id, execId }, signal),
    async delete(id, execId, signal): Promise<Exit> {
      const { pid, exitStatus, exitedAt } = await link.call(taskMethods.delete, { id, execId }, signal);
      return { pid, exitStatus, exitedAt: fromTimestamp(exitedAt) };
    },
    state: async (id, execId, signal) =>
      processState(await link.call(taskMethods.state, { id, execId }, signal)),
    async kill(id, execId, signalNumber, all, signal) {
      await link.call(taskMethods.kill, { id, execId, signal: signalNumber, all }, signal);
    },
    async exec(id, execId, stdio, spec, signal) {
      await link.call(taskMethods.exec, { id, execId, ...stdio, spec: toAny(spec) }, signal);
    },
    async resizePty(id, execId, width, height, signal) {
      await link.call(taskMethods.resizePty, { id, execId, width, height }, signal);
    },
    async closeIo(id, execId, signal) {
      await link.call(taskMethods.closeIo, { id, execId, stdin: true }, signal);
    },
    async pause(id, signal) {
      await link.call(taskMethods.pause, { id }, signal);
    },
    async resume(id, signal) {
      await link.call(taskMethods.resume, { id }, signal);
    },
    async pids(id, signal) {
      const { processes } = await link.call(taskMethods.pids, { id }, signal);
      return processes.map((process) => ({ pid: process.pid, info: fromAny(process.info) }));
    },
    async update(id, resources, annotations, signal) {
      await link.call(
        taskMethods.update,
        { id, resources: toAny(resources), annotations: { ...annotations } },
        signal,
      );
    },
    async stats(id, signal) {
      const { stats } = await link.call(taskMethods.stats, { id }, signal);
      return stats === undefined
        ? { typeUrl: typeUrls.cgroupsV1Metrics, value: new Uint8Array() }
        : fromAny(stats);
    },
    async checkpoint(id, path, options, signal) {
      await link.call(taskMethods.checkpoint, { id, path, options: toAny(options) }, signal);
    },
    tasks,
    task: async (id: ContainerId, signal) => (await tasks(signal)).find((task) => task.id === id),
    async ping(signal) {
      await link.call(shimMethods.ping, {}, signal);
    },
    async shutdown(signal) {
      await link.call(taskMethods.shutdown, { id: "", now: false }, signal);
      await awaitEnd(signal);
    },
  };
}

const hostedTask = ({ id, bundle, processes }: TaskEntry): HostedTask => ({
  id: id as ContainerId, // our own shim's word for an id that we gave it
  bundle,
  processes: processes.map((state) => ({ execId: state.execId, state: processState(state) })),
});

const statuses: ReadonlyMap<Status, ProcessStatus> = new Map([
  [Status.CREATED, "created"],
  [Status.RUNNING, "running"],
  [Status.STOPPED, "stopped"],
  [Status.PAUSED, "paused"],
  [Status.PAUSING, "pausing"],
]);

const processState = (state: StateResponse): ProcessState => ({
  id: state.execId === "" ? state.id : state.execId,
  bundle: state.bundle,
  pid: state.pid,
  status: statuses.get(state.status) ?? "unknown",
  stdio: { stdin: state.stdin, stdout: state.stdout, stderr: state.stderr, terminal: state.terminal },
  exitStatus: state.exitStatus,
  exitedAt: fromTimestamp(state.exitedAt),
});
