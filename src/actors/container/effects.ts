/**
 * The effects of a container actor that take more than one step. Each cleans up after itself: when it rejects,
 * what it made is gone. They run on to their end when their actor crashes; its next life waits for them.
 */
import { DaemonError, toDaemonError, unavailable } from "../../core/errors.js";
import type { Exit } from "../../core/exit.js";
import type { TaskKey } from "../../core/ids.js";
import type { Logger } from "../../core/logger.js";
import { ResourceScope } from "../../core/resource-scope.js";
import type { HostedTask, ShimConnection } from "../../ports/shim-launcher-port.js";
import type { ContainerRecord } from "../../ports/store-port.js";
import type { EffectLimits } from "./container-actor.js";
import type { ContainerDependencies } from "./dependencies.js";
import type { CreateTask } from "./messages.js";

export interface CreatedTask {
  readonly shim: ShimConnection;
  readonly bundle: string;
  readonly pid: number;
}

/** The shim does not say whether it has the task: place and bundle are kept until it does. */
export interface UncertainCreation {
  readonly uncertain: DaemonError;
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

/** How far a creation has come: its actor may crash meanwhile, and has to know all the same. */
export interface CreationProgress {
  placed(shim: ShimConnection): void;
  made(shim: ShimConnection, pid: number): void;
}

/** Place in a shim, bundle, runtime create: or nothing at all. */
export async function createTask(
  deps: ContainerDependencies,
  key: TaskKey,
  request: CreateTask,
  record: ContainerRecord,
  progress: CreationProgress,
  { signal, deadline }: EffectLimits,
): Promise<CreatedTask | UncertainCreation> {
  const runtime = request.runtimePath === "" ? record.runtime.name : request.runtimePath;
  const options =
    request.options !== undefined && request.options.value.length > 0
      ? request.options
      : record.runtime.options;
  const scope = new ResourceScope();
  try {
    const shim = await deps.shims.place({ key, runtime, spec: record.spec.value }, signal);
    scope.defer("place in shim", () => deps.shims.release(key));
    progress.placed(shim);
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
      // Not given up when nobody waits any more: a shim cannot delete what it is still creating.
      const { pid } = await shim.create(creation, deadline);
      progress.made(shim, pid);
      signal.throwIfAborted();
      scope.keep();
      return { shim, bundle, pid };
    } catch (thrown) {
      const error = prefixed("failed to create shim task", thrown);
      if (isDoubtful(error) && !(await discardTask(deps, key, shim, bundle))) {
        scope.keep();
        return { uncertain: error };
      }
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

/** Kills and deletes a task that nobody has; false when it may be there still. */
async function discardTask(
  deps: ContainerDependencies,
  key: TaskKey,
  shim: ShimConnection,
  bundle: string,
): Promise<boolean> {
  const signal = AbortSignal.timeout(deps.timeouts.deleteMs);
  try {
    await shim.kill(key.id, "", killSignal, true, signal).catch(() => undefined);
    await shim.delete(key.id, "", signal);
    return true;
  } catch (thrown) {
    if (toDaemonError(thrown).kind === "not-found") return true;
    if (shim.connected) return false;
  }
  // The shim is dead, and perhaps the container is not.
  const budget = AbortSignal.timeout(deps.timeouts.deleteMs);
  return deps.shims.cleanUpTask(key, bundle, budget).then(
    () => true,
    () => false,
  );
}

/** Removes a created task again, with its bundle and place. False when the task stays: then they stay too. */
export async function undoCreate(
  deps: ContainerDependencies,
  key: TaskKey,
  { shim, bundle }: CreatedTask,
): Promise<boolean> {
  if (!(await discardTask(deps, key, shim, bundle))) return false;
  deps.shims.release(key);
  await deps.bundles.remove(key);
  return true;
}

/** Deletes the task in the shim, then its bundle; gives the place back. Undefined when the shim did not have it. */
export async function deleteTask(
  deps: ContainerDependencies,
  key: TaskKey,
  shim: ShimConnection,
  log: Logger,
  { signal, deadline }: EffectLimits,
): Promise<Exit | undefined> {
  const permit = await deps.admit(key.namespace, signal);
  let exit: Exit | undefined;
  try {
    exit = await shim.delete(key.id, "", deadline);
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
  if (hosted?.processes.length === 0) throw unavailable(`task ${key.id} is still being created`);
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
