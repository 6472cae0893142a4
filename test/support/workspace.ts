/**
 * A private directory for one test file: a root file system, daemons' root and state directories, FIFOs. Its
 * name is in the command line or the root mount of everything that is started from it, which is how what was
 * left behind is found and ended: by path, never by process name.
 */
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cgroupDirectories, cgroupPids, removeCgroups } from "./cgroups.js";
import { isAlive, killAll, mountsUnder, processesUnder, withDescendants } from "./proc.js";
import { buildRootfs } from "./rootfs.js";
import { until } from "./until.js";

export interface Workspace {
  /** Short, because socket paths below it have 107 bytes. */
  readonly directory: string;
  /** A busybox root file system that containers may share. */
  readonly rootfs: string;
  /** A containerd namespace that nothing else on this machine uses. */
  newNamespace(): string;
  readonly namespaces: readonly string[];
  /** A fresh directory inside. */
  newDirectory(prefix: string): string;
  /** Live processes that were started from here, the daemons included. */
  processes(): number[];
  /** Ends every process, unmounts and removes everything. May be called twice. */
  dispose(): Promise<void>;
}

export function createWorkspace(): Workspace {
  const directory = mkdtempSync(join(tmpdir(), "bt-"));
  chmodSync(directory, 0o711);
  const rootfs = buildRootfs(join(directory, "rootfs"));
  const namespaces: string[] = [];
  let counter = 0;
  const processes = (): number[] => {
    const ours = withDescendants(processesUnder(directory));
    const contained = namespaces.flatMap((namespace) => cgroupPids(namespace));
    return [...new Set([...ours, ...contained])].filter((pid) => pid !== process.pid && isAlive(pid));
  };
  return {
    directory,
    rootfs,
    namespaces,
    newNamespace: () => {
      const namespace = `t${process.pid}x${Date.now().toString(36).slice(-5)}n${counter++}`;
      namespaces.push(namespace);
      return namespace;
    },
    newDirectory: (prefix) => {
      const path = join(directory, `${prefix}${counter++}`);
      mkdirSync(path, { mode: 0o711 });
      return path;
    },
    processes,
    dispose: async () => {
      if (!existsSync(directory)) return;
      const sockets = shimSockets(directory);
      await until("processes of the workspace to end", () => {
        const left = processes();
        killAll(left);
        return left.length === 0;
      });
      for (const mount of mountsUnder(directory)) spawnSync("umount", ["-l", mount]);
      for (const namespace of namespaces) {
        removeCgroups(namespace);
        rmSync(join("/run/containerd/runc", namespace), { recursive: true, force: true });
      }
      for (const socket of sockets) rmSync(socket, { force: true });
      rmSync(directory, { recursive: true, force: true, maxRetries: 3 });
    },
  };
}

/** Leftovers in the cgroup tree of a workspace's namespaces. */
export const cgroupsOf = (workspace: Workspace): string[] =>
  workspace.namespaces.flatMap((namespace) => cgroupDirectories(namespace));

/** Go shims put their sockets into one directory of the machine; each bundle says which one is its own. */
function shimSockets(directory: string): string[] {
  const found: string[] = [];
  for (const daemon of readdirSync(directory)) {
    const tasks = join(directory, daemon, "s/io.containerd.runtime.v2.task");
    if (!existsSync(tasks)) continue;
    for (const namespace of readdirSync(tasks)) {
      for (const id of readdirSync(join(tasks, namespace))) {
        try {
          const address = readFileSync(join(tasks, namespace, id, "address"), "utf8");
          found.push(address.replace(/^unix:\/\//, "").trim());
        } catch {
          // A bundle without a shim yet.
        }
      }
    }
  }
  return found;
}
