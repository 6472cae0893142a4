/** mount(2), umount2(2), and what /proc/self/mountinfo says is mounted where. */
import { readFileSync } from "node:fs";
import { bind, checked, errno, lastErrno, SystemError } from "./libc.js";

const cMount = bind(
  "int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)",
);
const cUmount2 = bind("int umount2(const char *target, int flags)");

export const MS_RDONLY = 1;
export const MS_NOSUID = 2;
export const MS_NODEV = 4;
export const MS_NOEXEC = 8;
export const MS_SYNCHRONOUS = 16;
export const MS_REMOUNT = 32;
export const MS_MANDLOCK = 64;
export const MS_DIRSYNC = 128;
export const MS_NOATIME = 1024;
export const MS_NODIRATIME = 2048;
export const MS_BIND = 4096;
export const MS_REC = 16384;
export const MS_UNBINDABLE = 1 << 17;
export const MS_PRIVATE = 1 << 18;
export const MS_SLAVE = 1 << 19;
export const MS_SHARED = 1 << 20;
export const MS_RELATIME = 1 << 21;
export const MS_STRICTATIME = 1 << 24;

export const MNT_FORCE = 1;
export const MNT_DETACH = 2;
export const UMOUNT_NOFOLLOW = 8;

/** mount(2); `data` of "" is none. Throws a SystemError. */
export function mount(source: string, target: string, type: string, flags: number, data = ""): void {
  const result = cMount(source, target, type === "" ? null : type, flags, data === "" ? null : data);
  checked(result, "mount", `${source} on ${target}`);
}

/** Takes one mount off `target`; false when nothing is mounted there (or the path is gone). */
export function unmount(target: string, flags = MNT_DETACH | UMOUNT_NOFOLLOW): boolean {
  if (cUmount2(target, flags) === 0) return true;
  const failure = lastErrno();
  if (failure === errno.EINVAL || failure === errno.ENOENT) return false;
  throw new SystemError(failure, "umount2", target);
}

export interface MountPoint {
  readonly mountId: number;
  readonly parentId: number;
  /** Path inside the file system that is mounted; a cgroup namespace's or bind mount's root. */
  readonly root: string;
  readonly target: string;
  readonly options: readonly string[];
  /** Propagation tags such as `shared:5`; empty means private. */
  readonly tags: readonly string[];
  readonly type: string;
  readonly source: string;
  readonly superOptions: readonly string[];
}

/** The kernel writes space, tab, newline and backslash as octal. */
const unescapePath = (text: string): string =>
  text.includes("\\")
    ? text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
    : text;

/** As the kernel writes it. */
const escapePath = (path: string): string =>
  path.replace(/[ \t\n\\]/g, (char) => `\\${char.charCodeAt(0).toString(8).padStart(3, "0")}`);

/** Parses a mountinfo file; lines that do not fit are left out. */
export function parseMountInfo(text: string): MountPoint[] {
  const mounts: MountPoint[] = [];
  for (const line of text.split("\n")) {
    const separator = line.indexOf(" - ");
    if (separator < 0) continue;
    const [mountId, parentId, , root, target, options, ...tags] = line.slice(0, separator).split(" ");
    const [type, source, superOptions] = line.slice(separator + 3).split(" ");
    if (root === undefined || target === undefined || type === undefined) continue;
    mounts.push({
      mountId: Number(mountId),
      parentId: Number(parentId),
      root: unescapePath(root),
      target: unescapePath(target),
      options: (options ?? "").split(","),
      tags: tags.filter((tag) => tag !== ""),
      type,
      source: unescapePath(source ?? ""),
      superOptions: (superOptions ?? "").split(","),
    });
  }
  return mounts;
}

/** What is mounted in this process's mount namespace, in the kernel's order. */
export const readMountInfo = (path = "/proc/self/mountinfo"): MountPoint[] =>
  parseMountInfo(readFileSync(path, "utf8"));

/** Mount points at or below `path`, parents before what is mounted on them. */
export function mountsUnder(path: string, mounts: readonly MountPoint[] = readMountInfo()): MountPoint[] {
  const prefix = path.endsWith("/") ? path : `${path}/`;
  return mounts.filter(({ target }) => target === path || target.startsWith(prefix));
}

/**
 * Takes off everything mounted at or below `path`, lazily and without following links, the last mounted
 * first. Mounts stacked on one target all go. Returns how many went. Idempotent.
 */
export function unmountUnder(path: string): number {
  let removed = 0;
  // New mounts may appear meanwhile, and a detach may already have taken its children: look again, a bounded
  // number of times, until nothing is left.
  for (let round = 0; round < 8; round++) {
    const table = readFileSync("/proc/self/mountinfo", "utf8");
    // Mostly there is nothing, and parsing a table of hundreds of mounts to learn that takes milliseconds.
    if (!table.includes(escapePath(path))) return removed;
    const found = mountsUnder(path, parseMountInfo(table));
    if (found.length === 0) return removed;
    for (const { target } of found.reverse()) if (unmount(target)) removed++;
  }
  const left = mountsUnder(path);
  if (left.length > 0) throw new SystemError(errno.EBUSY, "umount2", left[0]?.target);
  return removed;
}
