/**
 * The effects of a container actor that take more than one step. Each cleans up after itself: when it rejects,
 * what it made is gone. They run on to their end when their actor crashes; its next life waits for them.
 */
import { DaemonError, toDaemonError } from "../../core/errors.js";
import type { Exit } from "../../core/exit.js";
import type { TaskKey } from "../../core/ids.js";
import type { Logger } from "../../core/logger.js";
import { ResourceScope } from "../../core/resource-scope.js";
import type { HostedTask, ShimConnection } from "../../ports/shim-launcher-port.js";
import type { ContainerRecord } from "../../ports/store-port.js";
import type { ContainerDependencies } from "./dependencies.js";
import type { CreateTask } from "./messages.js";

export interface CreatedTask {
  readonly shim: ShimConnection;
  readonly bundle: string;
  readonly pid: number;
}

const killSignal = 9;

/** Puts containerd's words before the shim's; the kind stays, and so does a suffix that the shim sent. */
export function prefixed(prefix: string, thrown: unknown): DaemonError {
  const error = toDaemonError(thrown);
  return new DaemonError(error.kind, `${prefix}: ${error.message}`, { cause: error, bare: error.bare });
}

const doubtfulKinds: ReadonlySet<string> = new Set(["deadline-exceeded", "cancelled", "unavailable"]);
/** The answer never came: what was asked for may yet happen, or have happened. */
export const isDoubtful = (error: DaemonError): boolean => doubtfulKinds.has(error.kind);

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
    const bundle = await makeBundle(deps, key, record.spec.value);
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
      if (isDoubtful(error)) await discardTask(deps, key, shim, bundle);
      throw error;
    } finally {
      permit.release();
    }
  } catch (thrown) {
    await scope.release();
    throw toDaemonError(thrown);
  }
}

/** A bundle that is there already belongs to a task that could not be cleaned up: that is tried once more. */
async function makeBundle(deps: ContainerDependencies, key: TaskKey, spec: Uint8Array): Promise<string> {
  try {
    return await deps.bundles.create(key, spec);
  } catch (thrown) {
    if (toDaemonError(thrown).kind !== "already-exists") throw thrown;
  }
  await deps.shims.cleanUpTask(key, deps.bundles.path(key), AbortSignal.timeout(deps.timeouts.deleteMs));
  await deps.bundles.remove(key);
  return deps.bundles.create(key, spec);
}

/** Kills and deletes a task that nobody has; refusals mean that it is not there. */
async function discardTask(
  deps: ContainerDependencies,
  key: TaskKey,
  shim: ShimConnection,
  bundle: string,
): Promise<void> {
  const signal = AbortSignal.timeout(deps.timeouts.deleteMs);
  try {
    await shim.kill(key.id, "", killSignal, true, signal).catch(() => undefined);
    await shim.delete(key.id, "", signal);
  } catch (thrown) {
    if (!isDoubtful(toDaemonError(thrown)) || shim.connected) return;
    // The shim is dead, and perhaps the container is not.
    const budget = AbortSignal.timeout(deps.timeouts.deleteMs);
    await deps.shims.cleanUpTask(key, bundle, budget).catch(() => undefined);
  }
}

/** Removes a created task again, with its bundle and place. */
export async function undoCreate(
  deps: ContainerDependencies,
  key: TaskKey,
  { shim, bundle }: CreatedTask,
): Promise<void> {
  try {
    await discardTask(deps, key, shim, bundle);
    await deps.bundles.remove(key);
  } finally {
    deps.shims.release(key);
  }
}

/** Deletes the task in the shim, then its bundle; gives the place back. Undefined when the shim did not have it. */
export async function deleteTask(
  deps: ContainerDependencies,
  key: TaskKey,
  shim: ShimConnection,
  log: Logger,
  signal: AbortSignal,
): Promise<Exit | undefined> {
  const permit = await deps.admit(key.namespace, signal);
  let exit: Exit | undefined;
  try {
    exit = await shim.delete(key.id, "", signal);
  } catch (thrown) {
    // The answer to an earlier delete was lost.
    if (toDaemonError(thrown).kind !== "not-found") throw thrown;
  } finally {
    permit.release();
  }
  deps.shims.release(key);
  // The task is gone whatever becomes of its directory; the next create of this id tries again.
  await deps.bundles
    .remove(key)
    .catch((error: unknown) => log.error({ err: error }, "bundle of a deleted task not removed"));
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

/** What the shim says of the task; undefined when it does not have it, and then nothing else is left of it either. */
export async function recoverTask(
  deps: ContainerDependencies,
  key: TaskKey,
  earlier: Iterable<Promise<unknown>>,
  signal: AbortSignal,
): Promise<{ readonly shim: ShimConnection; readonly hosted: HostedTask } | undefined> {
  await Promise.allSettled(earlier);
  const shim = deps.shims.hosting(key);
  if (shim === undefined) return undefined;
  const hosted = await shim.task(key.id, signal);
  if (hosted !== undefined) return { shim, hosted };
  try {
    await deps.bundles.remove(key);
  } finally {
    deps.shims.release(key);
  }
  return undefined;
}

/** After the shim's death: the container ends and its bundle goes. Resolves with the pid that init had, or 0. */
export async function cleanUpTask(
  deps: ContainerDependencies,
  key: TaskKey,
  bundle: string,
  signal: AbortSignal,
): Promise<{ readonly pid: number }> {
  const cleaned = await deps.shims.cleanUpTask(key, bundle, signal);
  await deps.bundles.remove(key);
  return cleaned;
}
