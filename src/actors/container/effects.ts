/**
 * The effects of a container actor that take more than one step. Each cleans up after itself: when it rejects,
 * what it made is gone.
 */
import { DaemonError, toDaemonError } from "../../core/errors.js";
import type { Exit } from "../../core/exit.js";
import type { TaskKey } from "../../core/ids.js";
import { ResourceScope } from "../../core/resource-scope.js";
import type { ShimConnection } from "../../ports/shim-launcher-port.js";
import type { ContainerRecord } from "../../ports/store-port.js";
import type { CreatedTask } from "./container-actor.js";
import type { ContainerDependencies } from "./dependencies.js";
import type { CreateTask } from "./messages.js";

const killSignal = 9;

/** Puts containerd's words before the shim's; the kind stays, and so does a suffix that the shim sent. */
export function prefixed(prefix: string, thrown: unknown): DaemonError {
  const error = toDaemonError(thrown);
  return new DaemonError(error.kind, `${prefix}: ${error.message}`, { cause: error, bare: error.bare });
}

/** Place in a shim, bundle, runtime create: or nothing at all. */
export async function createTask(
  deps: ContainerDependencies,
  key: TaskKey,
  request: CreateTask,
  record: ContainerRecord,
  signal: AbortSignal,
): Promise<CreatedTask> {
  const runtime = request.runtimePath === "" ? record.runtime.name : request.runtimePath;
  const options =
    request.options !== undefined && request.options.value.length > 0
      ? request.options
      : record.runtime.options;
  const scope = new ResourceScope();
  try {
    const shim = await deps.shims.place({ key, runtime, spec: record.spec.value }, signal);
    scope.defer("place in shim", () => deps.shims.release(key));
    const bundle = await deps.bundles.create(key, record.spec.value);
    scope.defer("bundle", () => deps.bundles.remove(key));
    const creation = {
      id: key.id,
      bundle,
      rootfs: request.rootfs,
      stdio: request.stdio,
      checkpoint: "",
      options,
    };
    const permit = await deps.admit(key.namespace, signal);
    try {
      const { pid } = await shim.create(creation, signal);
      scope.keep();
      return { shim, bundle, pid };
    } catch (thrown) {
      const error = prefixed("failed to create shim task", thrown);
      // An answer that never came leaves the shim's side unknown: it may yet finish what nobody waits for.
      if (error.kind === "deadline-exceeded" || error.kind === "cancelled")
        await discardTask(deps, key, shim);
      throw error;
    } finally {
      permit.release();
    }
  } catch (thrown) {
    await scope.release();
    throw toDaemonError(thrown);
  }
}

/** Kills and deletes a task that nobody has; failures mean that it is not there. */
async function discardTask(deps: ContainerDependencies, key: TaskKey, shim: ShimConnection): Promise<void> {
  const signal = AbortSignal.timeout(deps.timeouts.deleteMs);
  await shim.kill(key.id, "", killSignal, true, signal).catch(() => undefined);
  await shim.delete(key.id, "", signal).catch(() => undefined);
}

/** Removes a created task again, with its bundle and place. */
export async function undoCreate(
  deps: ContainerDependencies,
  key: TaskKey,
  shim: ShimConnection,
): Promise<void> {
  await discardTask(deps, key, shim);
  await deps.bundles.remove(key);
  deps.shims.release(key);
}

/** Deletes the task in the shim, then its bundle; gives the place back. */
export async function deleteTask(
  deps: ContainerDependencies,
  key: TaskKey,
  shim: ShimConnection,
  signal: AbortSignal,
): Promise<Exit> {
  const permit = await deps.admit(key.namespace, signal);
  let exit: Exit;
  try {
    exit = await shim.delete(key.id, "", signal);
  } finally {
    permit.release();
  }
  deps.shims.release(key);
  await deps.bundles.remove(key);
  return exit;
}

export async function startExec(
  deps: ContainerDependencies,
  key: TaskKey,
  shim: ShimConnection,
  execId: string,
  signal: AbortSignal,
): Promise<{ pid: number }> {
  const permit = await deps.admit(key.namespace, signal);
  try {
    return await shim.start(key.id, execId, signal);
  } finally {
    permit.release();
  }
}
