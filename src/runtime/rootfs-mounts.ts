/**
 * containerd's Mount list, applied to a bundle's rootfs with mount(2), in order, all or nothing.
 */
import { closeSync, constants, openSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import { invalidArgument, unimplemented, unknownError } from "../core/errors.js";
import { errnoText } from "../native/libc.js";
import * as native from "../native/mount.js";

export interface RootfsMount {
  readonly type: string;
  readonly source: string;
  /** A directory below the rootfs; "" is the rootfs itself. */
  readonly target: string;
  readonly options: readonly string[];
}

/** Option words: [does it clear, flag]. */
const flagWords: Readonly<Record<string, readonly [clear: boolean, flag: number]>> = {
  async: [true, native.MS_SYNCHRONOUS],
  atime: [true, native.MS_NOATIME],
  bind: [false, native.MS_BIND],
  defaults: [false, 0],
  dev: [true, native.MS_NODEV],
  diratime: [true, native.MS_NODIRATIME],
  dirsync: [false, native.MS_DIRSYNC],
  exec: [true, native.MS_NOEXEC],
  mand: [false, native.MS_MANDLOCK],
  noatime: [false, native.MS_NOATIME],
  nodev: [false, native.MS_NODEV],
  nodiratime: [false, native.MS_NODIRATIME],
  noexec: [false, native.MS_NOEXEC],
  nomand: [true, native.MS_MANDLOCK],
  norelatime: [true, native.MS_RELATIME],
  nostrictatime: [true, native.MS_STRICTATIME],
  nosuid: [false, native.MS_NOSUID],
  private: [false, native.MS_PRIVATE],
  rbind: [false, native.MS_BIND | native.MS_REC],
  relatime: [false, native.MS_RELATIME],
  remount: [false, native.MS_REMOUNT],
  ro: [false, native.MS_RDONLY],
  rprivate: [false, native.MS_PRIVATE | native.MS_REC],
  rshared: [false, native.MS_SHARED | native.MS_REC],
  rslave: [false, native.MS_SLAVE | native.MS_REC],
  runbindable: [false, native.MS_UNBINDABLE | native.MS_REC],
  rw: [true, native.MS_RDONLY],
  shared: [false, native.MS_SHARED],
  slave: [false, native.MS_SLAVE],
  strictatime: [false, native.MS_STRICTATIME],
  suid: [true, native.MS_NOSUID],
  sync: [false, native.MS_SYNCHRONOUS],
  unbindable: [false, native.MS_UNBINDABLE],
};

const propagationFlags = native.MS_SHARED | native.MS_PRIVATE | native.MS_SLAVE | native.MS_UNBINDABLE;

export interface ParsedMountOptions {
  readonly flags: number;
  /** What the file system itself gets, joined by commas. */
  readonly data: readonly string[];
}

/** Splits option words into mount(2) flags and the file system's own data. */
export function parseMountOptions(options: readonly string[]): ParsedMountOptions {
  let flags = 0;
  const data: string[] = [];
  for (const option of options) {
    const known = Object.hasOwn(flagWords, option) ? flagWords[option] : undefined;
    if (known === undefined) data.push(option);
    else flags = known[0] ? flags & ~known[1] : flags | known[1];
  }
  return { flags, data };
}

/**
 * Mounts the list onto `rootfs`. On failure everything under it is unmounted and the error carries
 * containerd's words.
 */
export function mountRootfs(mounts: readonly RootfsMount[], rootfs: string): void {
  if (mounts.length === 0) return;
  const real = realpathSync.native(rootfs);
  for (const mount of mounts) {
    try {
      mountOne(mount, targetBelow(real, mount.target));
    } catch (error) {
      native.unmountUnder(real);
      const code = error instanceof Error && "code" in error ? String(error.code) : "";
      const reason = code === "" ? String(error instanceof Error ? error.message : error) : errnoText(code);
      throw unknownError(`failed to mount rootfs component ${inGoWords(mount)}: ${reason}`, { cause: error });
    }
  }
}

/** Takes off everything mounted at or below `rootfs`. Idempotent; a missing directory has no mounts. */
export function unmountRootfs(rootfs: string): void {
  let real: string;
  try {
    real = realpathSync.native(rootfs);
  } catch {
    return;
  }
  native.unmountUnder(real);
}

function mountOne({ type, source, options }: RootfsMount, target: string): void {
  if (options.includes("loop")) throw unimplemented("loop mounts");
  const { flags, data } = parseMountOptions(options);
  const plain = flags & ~propagationFlags;
  const held: number[] = [];
  try {
    const text = fitData(type, data, held);
    // The kernel changes propagation, and makes a bind read-only, in calls of their own.
    if ((flags & native.MS_REMOUNT) === 0 || text !== "") native.mount(source, target, type, plain, text);
  } finally {
    for (const fd of held) closeSync(fd);
  }
  const propagation = flags & propagationFlags;
  if (propagation !== 0) native.mount("", target, "", propagation | (flags & native.MS_REC));
  const readOnlyBind = native.MS_BIND | native.MS_RDONLY;
  if ((plain & readOnlyBind) === readOnlyBind) native.mount("", target, "", plain | native.MS_REMOUNT);
}

/** The kernel reads one page of data, its last byte a NUL. */
const maxDataBytes = 4095;

/**
 * Joins the data. An overlay of many layers may not fit: then the directory that its lower ones share is
 * opened and named through /proc, which is short and resolved only while mounting. The descriptor goes to `held`.
 */
function fitData(type: string, data: readonly string[], held: number[]): string {
  const text = data.join(",");
  if (type !== "overlay" || Buffer.byteLength(text) <= maxDataBytes) return text;
  const lower = data.find((option) => option.startsWith("lowerdir="));
  const layers = lower?.slice("lowerdir=".length).split(":") ?? [];
  const shared = commonDirectory(layers);
  if (shared === "/") return text;
  const fd = openSync(shared, constants.O_RDONLY | constants.O_DIRECTORY);
  held.push(fd);
  const short = layers.map((layer) => `/proc/self/fd/${fd}${layer.slice(shared.length)}`).join(":");
  return data.map((option) => (option === lower ? `lowerdir=${short}` : option)).join(",");
}

/** The deepest directory above all of them; "/" when there is none. */
export function commonDirectory(paths: readonly string[]): string {
  let shared = dirname(paths[0] ?? "/");
  for (const path of paths) while (shared !== "/" && !path.startsWith(`${shared}/`)) shared = dirname(shared);
  return shared;
}

/** A target inside the rootfs must not lead out of it through a link in the image. */
function targetBelow(rootfs: string, target: string): string {
  if (target === "" || target === "/") return rootfs;
  const real = realpathSync.native(join(rootfs, target));
  if (real !== rootfs && !real.startsWith(`${rootfs}/`))
    throw invalidArgument(`mount target ${target} leads out of the rootfs`);
  return real;
}

const inGoWords = ({ type, source, options }: RootfsMount): string =>
  `&{${type} ${source} [${options.join(" ")}]}`;
