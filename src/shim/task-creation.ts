/** Makes a task: mounts, streams, `runc create`, in this order, and everything undone when a step fails. */
import { unknownError } from "../core/errors.js";
import { ResourceScope } from "../core/resource-scope.js";
import { Task } from "./task.js";
import { settledWithin, type TaskContext } from "./task-context.js";

const SIGKILL = 9;

/** Resolves with a created task, its creation told; rejects with the failing step's error, nothing left behind. */
export async function createTask(context: TaskContext): Promise<Task> {
  const { identity, rootfs, stdio, runtime, exits, limits, log, clock } = context;
  const undo = new ResourceScope();
  try {
    undo.defer("rootfs", () => rootfs.unmount());
    await rootfs.mount();
    const who = { ...identity, containerId: identity.id, execId: "" };
    const streams = await stdio.open(who, identity.stdio, AbortSignal.timeout(limits.stdioMs));
    undo.defer("streams", () => streams.close());
    if (identity.checkpoint !== "") {
      undo.keep();
      return new Task(context, streams, undefined);
    }
    // Registered before the attempt: a create that fails late leaves a container behind.
    undo.defer("container", () => runtime.delete(true));
    const since = exits.mark();
    const pid = await runtime.create(streams);
    undo.defer("init", async () => {
      let stop = (): void => undefined;
      const reaped = new Promise<void>((resolve) => {
        stop = exits.watch(pid, since, () => resolve());
      });
      runtime.signal(pid, SIGKILL);
      const gone = await settledWithin(clock, reaped, limits.killMs);
      stop();
      if (!gone) throw unknownError(`process ${pid} was not reaped after SIGKILL`);
    });
    await streams.childReady(AbortSignal.timeout(limits.stdioMs));
    const task = new Task(context, streams, { pid, since });
    undo.keep();
    return task;
  } catch (error) {
    for (const { what, error: err } of await undo.release()) {
      log.warn({ what, err }, "failed creation is not fully undone");
    }
    throw error;
  }
}
