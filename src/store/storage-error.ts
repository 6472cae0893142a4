/** lmdb's and the disk's failures as DaemonErrors, translated once. */
import { statfsSync } from "node:fs";
import { dirname } from "node:path";
import { type DaemonError, internal, resourceExhausted } from "../core/errors.js";

const mapFull = -30792;
const enospc = 28;
const edquot = 122;
const eio = 5;
/** A commit needs a few pages; below this a short write, which lmdb reports as EIO, means a full disk. */
const fullBelowBytes = 256 * 1024;

/** resource-exhausted when the disk (or lmdb's map) is full, else internal. */
export function storageError(
  path: string,
  error: { readonly message: string; readonly code?: unknown },
): DaemonError {
  const { code } = error;
  const noSpace = code === enospc || code === "ENOSPC" || code === edquot || code === "EDQUOT";
  if (noSpace || (code === eio && freeBytes(path) < fullBelowBytes)) {
    return resourceExhausted(`metadata store: no space left on the disk of ${path}`, { cause: error });
  }
  if (code === mapFull) {
    return resourceExhausted(`metadata store: ${path} has reached its size limit`, { cause: error });
  }
  return internal(`metadata store ${path}: ${error.message}`, { cause: error });
}

function freeBytes(path: string): number {
  try {
    const { bavail, bsize } = statfsSync(dirname(path));
    return bavail * bsize;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}
