/**
 * What a daemon leaves behind: a snapshot of everything that is findable by its private paths and namespaces,
 * and the difference between two of them. Empty differences are the pass mark of every heavy test.
 */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { Daemon } from "./daemon.js";
import { commandLine, countFds, mountsUnder } from "./proc.js";
import { until } from "./until.js";
import { cgroupsOf } from "./workspace.js";

export interface LeakSnapshot {
  /** `pid command line` of each process but the daemon itself. */
  readonly processes: readonly string[];
  readonly mounts: readonly string[];
  readonly cgroups: readonly string[];
  /** Below state, and tasks' directories below root. */
  readonly files: readonly string[];
  readonly runtimeStates: readonly string[];
  readonly daemonFds: number;
}

/** Files that a daemon keeps for itself: databases, logs, its uuid. They say nothing about containers. */
const ownFiles = /\.(db|lmdb|mdb|log)(-lock)?$|-lock$|\/(uuid|daemon\.pid|lock)$|content\/ingest|snapshotter/;

function filesBelow(directory: string, prefix = ""): string[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const name = `${prefix}/${entry.name}`;
    if (ownFiles.test(name)) return [];
    // Directories count by what is in them, except the ones of a container: those shall be gone.
    if (entry.isDirectory() && entry.name !== "rootfs") return filesBelow(join(directory, entry.name), name);
    return [name];
  });
}

function runtimeStates(daemon: Daemon): string[] {
  return daemon.workspace.namespaces.flatMap((namespace) => {
    const directory = join("/run/containerd/runc", namespace);
    return existsSync(directory) ? readdirSync(directory).map((id) => join(directory, id)) : [];
  });
}

export function takeLeakSnapshot(daemon: Daemon): LeakSnapshot {
  return {
    processes: daemon.workspace
      .processes()
      .filter((pid) => pid !== daemon.pid)
      .map((pid) => `${pid} ${commandLine(pid)}`),
    mounts: mountsUnder(daemon.workspace.directory),
    cgroups: cgroupsOf(daemon.workspace),
    files: [...filesBelow(daemon.state, "state"), ...filesBelow(daemon.root, "root")],
    runtimeStates: runtimeStates(daemon),
    daemonFds: countFds(daemon.pid),
  };
}

export interface LeakRules {
  /** Processes whose command line matches may have been added: an idle shim that is kept for the next task. */
  readonly allowProcesses?: RegExp;
  /** Files that may have been added, such as an idle shim's socket. */
  readonly allowFiles?: RegExp;
  /** How many descriptors more the daemon may hold; 0 when not given. */
  readonly allowFds?: number;
}

/** A berth-shim may stay for a while after its last task, with its directory. */
export const keptShim: LeakRules = {
  allowProcesses: /berth-shim|shim\.js|shim\.mjs/,
  allowFiles: /^state\/shims\//,
  allowFds: 8,
};

const added = (before: readonly string[], after: readonly string[]): string[] => {
  const known = new Set(before);
  return after.filter((item) => !known.has(item));
};

/** One line for each thing that `after` has and `before` had not. */
export function leaksBetween(before: LeakSnapshot, after: LeakSnapshot, rules: LeakRules = {}): string[] {
  const fds = after.daemonFds - before.daemonFds - (rules.allowFds ?? 0);
  return [
    ...added(before.processes, after.processes)
      .filter((line) => rules.allowProcesses?.test(line) !== true)
      .map((line) => `process ${line}`),
    ...added(before.mounts, after.mounts).map((line) => `mount ${line}`),
    ...added(before.cgroups, after.cgroups).map((line) => `cgroup ${line}`),
    ...added(before.files, after.files)
      .filter((line) => rules.allowFiles?.test(line) !== true)
      .map((line) => `file ${line}`),
    ...added(before.runtimeStates, after.runtimeStates).map((line) => `runtime state ${line}`),
    ...(fds > 0 ? [`descriptors of the daemon: ${before.daemonFds} before, ${after.daemonFds} after`] : []),
  ];
}

/** Rejects with the list when something is still there after `timeoutMs`: cleanup may trail the last answer. */
export async function expectNoLeaks(
  daemon: Daemon,
  before: LeakSnapshot,
  rules: LeakRules = {},
  timeoutMs = 10_000,
): Promise<void> {
  let last: string[] = [];
  try {
    await until(
      "leftovers to go",
      () => {
        last = leaksBetween(before, takeLeakSnapshot(daemon), rules);
        return last.length === 0;
      },
      { timeoutMs, intervalMs: 100 },
    );
  } catch {
    throw new Error(`left behind by ${daemon.kind}:\n${last.join("\n")}`);
  }
}
