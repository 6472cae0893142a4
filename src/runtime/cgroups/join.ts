/** Moves this process into an existing cgroup: containerd's option `shim_cgroup`. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { unknownError } from "../../core/errors.js";
import { type MountPoint, readMountInfo } from "../../native/mount.js";
import { writeCgroupFile } from "./files.js";

/**
 * Joins `path`, from the root of each hierarchy that has it. Throws when none has it, because a limit that
 * somebody set up there would silently not apply.
 */
export function joinCgroup(path: string, mounts: readonly MountPoint[] = readMountInfo()): void {
  const directories = mounts
    .filter(({ type }) => type === "cgroup" || type === "cgroup2")
    .map(({ target }) => join(target, join("/", path)))
    .filter((directory) => existsSync(join(directory, "cgroup.procs")));
  if (directories.length === 0) throw unknownError(`failed to join shim_cgroup ${path}: no such cgroup`);
  for (const directory of new Set(directories))
    writeCgroupFile(directory, "cgroup.procs", String(process.pid));
}
