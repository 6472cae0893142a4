/**
 * Bundles on disk: `<state>/tasks/<ns>/<id>/` with the client's `config.json` and the mount point `rootfs/`.
 * A bundle appears and disappears by rename, so that a crash at any point leaves it whole, absent, or as a
 * dot-named remnant that `sweepBundles` removes. Ids cannot begin with a dot.
 */
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { alreadyExists, unknownError } from "../core/errors.js";
import { errnoText, hasCode } from "../native/libc.js";
import { unmountUnder } from "../native/mount.js";

/** Where a task's bundle lives. */
export const bundlePath = (stateDirectory: string, namespace: string, id: string): string =>
  join(stateDirectory, "tasks", namespace, id);

export interface BundleRequest {
  readonly path: string;
  /** Written unchanged. */
  readonly config: Uint8Array;
  /** Host gid of the container's root when it has a user namespace: lets it pass through the bundle. */
  readonly mappedGid?: number | undefined;
}

let attempts = 0;

/**
 * Makes the bundle. Rejects already-exists when there is one; on any failure (a full disk too) nothing stays.
 * Synchronous: five calls into a file system that is normally in memory.
 */
export function createBundle({ path, config, mappedGid }: BundleRequest): void {
  const parent = dirname(path);
  makeDirectory(parent, 0o711);
  if (existsSync(path)) throw alreadyExists(`bundle ${path}`);
  // The pid keeps apart daemons that overlap during an upgrade.
  const draft = join(parent, `.${basename(path)}.new-${process.pid}-${attempts++}`);
  try {
    mkdirSync(draft, { mode: 0o700 });
    mkdirSync(join(draft, "rootfs"), { mode: 0o711 });
    // mkdir's mode went through the umask.
    chmodSync(join(draft, "rootfs"), 0o711);
    if (mappedGid !== undefined) {
      chownSync(draft, -1, mappedGid);
      chmodSync(draft, 0o710);
    } else {
      chmodSync(draft, 0o700);
    }
    writeFileSync(join(draft, "config.json"), config);
    renameSync(draft, path);
  } catch (error) {
    rmSync(draft, { recursive: true, force: true });
    if (hasCode(error, "ENOTEMPTY", "EEXIST")) throw alreadyExists(`bundle ${path}`, { cause: error });
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    if (code === "") throw error;
    throw unknownError(`failed to create bundle ${path}: ${errnoText(code)}`, { cause: error });
  }
}

function makeDirectory(path: string, mode: number): void {
  if (mkdirSync(path, { recursive: true, mode }) !== undefined) chmodSync(path, mode);
}

/**
 * Removes the bundle with everything mounted in it. Idempotent. Refuses to delete what is inside `rootfs` once
 * the mounts are off: that is somebody's data.
 */
export async function removeBundle(path: string): Promise<void> {
  const remnant = join(dirname(path), `.${basename(path)}`);
  if (existsSync(remnant)) await removeTree(remnant);
  if (!existsSync(path)) return;
  unmountTree(path);
  try {
    rmdirSync(join(path, "rootfs"));
  } catch (error) {
    if (!hasCode(error, "ENOENT")) {
      const code = error instanceof Error && "code" in error ? String(error.code) : "";
      throw unknownError(
        `failed to remove bundle rootfs: remove ${join(path, "rootfs")}: ${errnoText(code)}`,
        { cause: error },
      );
    }
  }
  renameSync(path, remnant);
  await removeTree(remnant);
}

/** Ids of the bundles of a namespace. Dot names are remnants, not bundles. */
export function listBundles(stateDirectory: string, namespace: string): string[] {
  try {
    return readdirSync(join(stateDirectory, "tasks", namespace)).filter((name) => !name.startsWith("."));
  } catch (error) {
    if (hasCode(error, "ENOENT")) return [];
    throw error;
  }
}

/** Removes what crashes left in a namespace's directory; returns the names. Only when nobody creates bundles. */
export async function sweepBundles(stateDirectory: string, namespace: string): Promise<string[]> {
  const directory = join(stateDirectory, "tasks", namespace);
  if (!existsSync(directory)) return [];
  const remnants = readdirSync(directory).filter((name) => name.startsWith("."));
  for (const name of remnants) await removeTree(join(directory, name));
  return remnants;
}

async function removeTree(path: string): Promise<void> {
  // A recursive delete walks into mounts and would empty whatever is mounted there.
  unmountTree(path);
  await rm(path, { recursive: true, force: true });
}

/** Takes off everything mounted in `path`; one that is gone is fine. */
export function unmountTree(path: string): void {
  if (!existsSync(path)) return;
  // The mount table knows real paths only; a state directory may be reached through a link.
  unmountUnder(realpathSync.native(path));
}
