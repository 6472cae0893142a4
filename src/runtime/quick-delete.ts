/**
 * Deletes a stopped runc container without running `runc delete`: its cgroups and its state directory are all
 * that runc keeps. Whatever is not exactly the plain case goes to the runtime instead: poststop hooks, systemd
 * cgroups, a shared pid namespace (other processes may live), resctrl, rootless, or an init that is alive.
 */
import { existsSync, readdirSync, readFileSync, rmdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { hasCode } from "../native/libc.js";
import { processStat } from "../native/process.js";
import type { OciRuntime, RuntimeCall } from "./oci-runtime.js";
import type { RuntimeProbe } from "./runtime-probe.js";
import type { SpecFacts } from "./spec.js";

export interface DeleteRequest extends RuntimeCall {
  readonly spec: Pick<SpecFacts, "hooks" | "privatePidNamespace">;
}

/** How a container was deleted. */
export type DeletedBy = "quick" | "runtime";

/** Deletes a stopped container the cheapest way that is sure; errors are those of `runtime.delete` with force. */
export async function deleteStopped(
  runtime: OciRuntime,
  probe: RuntimeProbe,
  request: DeleteRequest,
): Promise<DeletedBy> {
  const { spec } = request;
  const plain = !runtime.systemdCgroup && !spec.hooks.has("poststop") && spec.privatePidNamespace;
  if (plain && (await probe(runtime.binary)).kind === "runc" && (await quickDelete(runtime.root, request.id)))
    return "quick";
  await runtime.delete({ ...request, force: true });
  return "runtime";
}

/** The part of runc's state.json that decides and that is deleted. */
interface StateDocument {
  readonly id?: unknown;
  readonly init_process_pid?: unknown;
  readonly init_process_start?: unknown;
  readonly cgroup_paths?: Readonly<Record<string, unknown>> | null;
  readonly rootless?: unknown;
  readonly intel_rdt_path?: unknown;
}

/**
 * True when the container's cgroups and state are gone. False when it is not the plain case or a cgroup stayed
 * busy; what was removed by then, the runtime does not miss.
 */
export async function quickDelete(root: string, id: string): Promise<boolean> {
  const directory = join(root, id);
  const cgroups = deletableCgroups(join(directory, "state.json"), id);
  if (cgroups === undefined) return false;
  for (const path of cgroups) if (!(await removeCgroup(path))) return false;
  // After the cgroups: while state.json is there, a second attempt, ours or the runtime's, simply finishes.
  rmSync(directory, { recursive: true, force: true });
  return true;
}

function deletableCgroups(stateFile: string, id: string): readonly string[] | undefined {
  let state: StateDocument;
  try {
    state = JSON.parse(readFileSync(stateFile, "utf8")) as StateDocument;
  } catch {
    return undefined;
  }
  if (state.id !== id || state.rootless === true || state.intel_rdt_path) return undefined;
  const pid = Number(state.init_process_pid);
  const stat = processStat(pid);
  const alive =
    stat !== undefined && stat.state !== "Z" && stat.startTicks === Number(state.init_process_start);
  if (!Number.isSafeInteger(pid) || alive) return undefined;
  const paths = [...new Set(Object.values(state.cgroup_paths ?? {}))];
  return paths.every((path) => typeof path === "string" && path.startsWith("/sys/fs/cgroup/"))
    ? (paths as string[])
    : undefined;
}

const busyPausesMs = [1, 2, 5, 10, 20, 50, 100];

/** Removes a cgroup and those below it. False when it stayed busy: the dying processes took too long, or others live in it. */
async function removeCgroup(path: string): Promise<boolean> {
  for (const pauseMs of [...busyPausesMs, undefined]) {
    try {
      removeNested(path);
      return true;
    } catch (error) {
      if (hasCode(error, "ENOENT")) return true;
      if (!hasCode(error, "EBUSY") || pauseMs === undefined) return false;
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  }
  return false;
}

function removeNested(path: string): void {
  try {
    rmdirSync(path);
    return;
  } catch (error) {
    // A cgroup with children says busy, as does one with processes.
    if (!hasCode(error, "EBUSY", "ENOTEMPTY") || !existsSync(path)) throw error;
  }
  for (const entry of readdirSync(path, { withFileTypes: true }))
    if (entry.isDirectory()) removeNested(join(path, entry.name));
  rmdirSync(path);
}
