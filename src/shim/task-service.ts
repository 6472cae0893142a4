/** containerd.task.v2.Task over ttrpc: decodes, asks the task, encodes. No rules live here. */
import { invalidArgument } from "../core/errors.js";
import { type ContainerId, parseContainerId, parseExecId } from "../core/ids.js";
import type { ProcessState, ProcessStatus, TaskCreation } from "../ports/shim-port.js";
import { processDocument } from "../runtime/spec.js";
import { ProcessDetails } from "../wire/gen/containerd/runc/v1/runc.js";
import type * as pb from "../wire/gen/containerd/task/v2/task.js";
import { Status } from "../wire/gen/containerd/v1/types/types.js";
import type { Any } from "../wire/gen/google/protobuf/any.js";
import type { Empty } from "../wire/gen/google/protobuf/empty.js";
import { taskMethods } from "../wire/task-methods.js";
import type { TtrpcRegistration } from "../wire/ttrpc/method.js";
import type { Task } from "./task.js";
import type { TaskTable } from "./task-table.js";

export interface TaskServiceOptions {
  readonly tasks: TaskTable;
  readonly version: string;
  /** Makes the task of a decoded Create; see `task-creation.ts`. */
  readonly make: (creation: TaskCreation) => Promise<Task>;
  /** Shutdown was asked of a shim without tasks. */
  readonly onShutdown: () => void;
}

const statusNumbers: Readonly<Record<ProcessStatus, Status>> = {
  unknown: Status.UNKNOWN,
  created: Status.CREATED,
  running: Status.RUNNING,
  stopped: Status.STOPPED,
  paused: Status.PAUSED,
  pausing: Status.PAUSING,
};

/** As containerd's shim: an exec answers with its own id as `id`, and `exec_id` stays empty. */
export function stateResponse(state: ProcessState): pb.StateResponse {
  const { id, bundle, pid, status, stdio, exitStatus, exitedAt } = state;
  return { id, bundle, pid, status: statusNumbers[status], ...stdio, exitStatus, exitedAt, execId: "" };
}

export function taskService({ tasks, version, make, onShutdown }: TaskServiceOptions): TtrpcRegistration[] {
  const empty: Empty = {};

  return [
    taskMethods.create.handledBy(async (request) => {
      const creation = creationOf(request);
      const task = await tasks.create(creation.id, () => make(creation));
      return { pid: task.pid };
    }),
    taskMethods.start.handledBy(async ({ id, execId }) => ({
      pid: await tasks.get(id).start(execId),
    })),
    taskMethods.delete.handledBy(({ id, execId }) => tasks.delete(id, execId)),
    taskMethods.state.handledBy(async ({ id, execId }) => stateResponse(tasks.get(id).state(execId))),
    taskMethods.kill.handledBy(async ({ id, execId, signal, all }) => {
      await tasks.get(id).kill(execId, signal, all);
      return empty;
    }),
    taskMethods.exec.handledBy(async ({ id, execId, spec, terminal, stdin, stdout, stderr }) => {
      const task = tasks.get(id);
      const process = processDocument(anyValue(spec, "exec spec"), terminal);
      task.exec(parseExecId(execId), process, { stdin, stdout, stderr, terminal });
      return empty;
    }),
    taskMethods.resizePty.handledBy(async ({ id, execId, width, height }) => {
      // The kernel's winsize holds 16 bits; containerd cuts off the rest.
      tasks.get(id).resize(execId, width & 0xffff, height & 0xffff);
      return empty;
    }),
    taskMethods.closeIo.handledBy(async ({ id, execId, stdin }) => {
      const task = tasks.get(id);
      if (stdin) task.closeStdin(execId);
      return empty;
    }),
    taskMethods.pause.handledBy(async ({ id }) => {
      await tasks.get(id).pause();
      return empty;
    }),
    taskMethods.resume.handledBy(async ({ id }) => {
      await tasks.get(id).resume();
      return empty;
    }),
    taskMethods.pids.handledBy(async ({ id }) => ({
      processes: (await tasks.get(id).pids()).map(({ pid, execId }) => ({ pid, info: processInfo(execId) })),
    })),
    taskMethods.update.handledBy(async ({ id, resources }) => {
      await tasks.get(id).update(anyValue(resources, "resources"));
      return empty;
    }),
    taskMethods.stats.handledBy(async ({ id }) => {
      const { typeUrl, value } = await tasks.get(id).stats();
      return { stats: { typeUrl, value: Buffer.from(value) } };
    }),
    taskMethods.checkpoint.handledBy(async ({ id, path, options }) => {
      await tasks.get(id).checkpoint({ path, options });
      return empty;
    }),
    taskMethods.wait.handledBy(({ id, execId }, call) => tasks.get(id).wait(execId, call.signal)),
    // As containerd: also answered for an id that is unknown, which tells that the shim lives.
    taskMethods.connect.handledBy(async ({ id }) => ({
      shimPid: process.pid,
      taskPid: tasks.find(id)?.pid ?? 0,
      version,
    })),
    taskMethods.shutdown.handledBy(async () => {
      if (tasks.size === 0) onShutdown();
      return empty;
    }),
  ];
}

function creationOf(request: pb.CreateTaskRequest): TaskCreation {
  const { id, bundle, rootfs, terminal, stdin, stdout, stderr, checkpoint, options } = request;
  const containerId: ContainerId = parseContainerId(id);
  if (!bundle.startsWith("/")) throw invalidArgument(`bundle ${JSON.stringify(bundle)} is no absolute path`);
  const stdio = { stdin, stdout, stderr, terminal };
  return { id: containerId, bundle, rootfs, stdio, checkpoint, options };
}

function anyValue(any: Any | undefined, what: string): Uint8Array {
  if (any === undefined) throw invalidArgument(`${what} is required`);
  return any.value;
}

function processInfo(execId: string | undefined): Any | undefined {
  if (execId === undefined) return undefined;
  const value = Buffer.from(ProcessDetails.encode({ execId }).finish());
  return { typeUrl: "containerd.runc.v1.ProcessDetails", value };
}
