/** The cgroups of a containerd namespace, in whatever hierarchies this machine mounts (v1, v2 or both). */
import { existsSync, readdirSync, readFileSync, rmdirSync } from "node:fs";
import { join } from "node:path";

const root = "/sys/fs/cgroup";

function hierarchies(): string[] {
  if (existsSync(join(root, "cgroup.controllers"))) return [root];
  return readdirSync(root, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(root, entry.name));
}

function treeOf(directory: string): string[] {
  if (!existsSync(directory)) return [];
  const below = readdirSync(directory, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .flatMap((entry) => treeOf(join(directory, entry.name)));
  return [...below, directory];
}

/**
 * Every cgroup below `/<namespace>` in every hierarchy, deepest first. The runtime leaves the parent
 * `/<namespace>` itself behind by design, so that one is not among them.
 */
export function cgroupDirectories(namespace: string): string[] {
  return hierarchies().flatMap((hierarchy) => {
    const top = join(hierarchy, namespace);
    return treeOf(top).filter((path) => path !== top);
  });
}

/** Pids in the cgroups of the namespace. */
export function cgroupPids(namespace: string): number[] {
  const pids = new Set<number>();
  for (const directory of cgroupDirectories(namespace)) {
    try {
      for (const line of readFileSync(join(directory, "cgroup.procs"), "utf8").split("\n")) {
        if (line !== "") pids.add(Number(line));
      }
    } catch {
      // Removed meanwhile.
    }
  }
  return [...pids];
}

export function removeCgroups(namespace: string): void {
  const parents = hierarchies().map((hierarchy) => join(hierarchy, namespace));
  for (const directory of [...cgroupDirectories(namespace), ...parents]) {
    try {
      rmdirSync(directory);
    } catch {
      // Gone, or a process is still leaving it: the leak check of the test says so.
    }
  }
}
