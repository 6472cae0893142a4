/**
 * Disk blocks set aside for the database before lmdb writes to them. lmdb's Node binding corrupts its heap when
 * a write fails for lack of space, and its memory maps raise SIGBUS, so it must never meet a full disk: what it
 * may need is allocated first, and a change that cannot be covered is refused before lmdb sees it.
 */
import { closeSync, constants, openSync, statfsSync } from "node:fs";
import { dirname } from "node:path";
import { resourceExhausted } from "../core/errors.js";
import { bind, checked, hasCode } from "../native/libc.js";
import type { WriteOperation } from "./commit-thread.js";

const fallocate = bind("int fallocate(int fd, int mode, int64_t offset, int64_t length)");
/** Blocks beyond the end of the file are allocated while its size stays: lmdb sees no difference. */
const keepSize = 1;

/** Allocated ahead at a time, so that few commits have to ask. */
const stepBytes = 1 << 20;
/** Only removals may use the last of what is allocated: they are the way out of a full disk. */
const removalReserveBytes = 512 << 10;
/** Pages of one commit besides values and the paths to them: lmdb's list of free pages, splits, roots. */
const overheadPages = 16;
/** lmdb's lock file with its table of readers has 8 KiB and a bit. */
const lockFileBytes = 64 << 10;

export interface DatabaseSize {
  readonly pageBytes: number;
  readonly treeDepth: number;
  /** Pages of the file that lmdb has ever used. */
  readonly usedPages: number;
  /** Those of them that hold nothing now and may be used again. */
  readonly freePages: number;
}

/** Allocates what lmdb maps when it opens. Throws resource-exhausted on a full disk. */
export function reserveLockFile(databasePath: string): void {
  const path = `${databasePath}-lock`;
  if (!allocate(path, lockFileBytes)) throw full(path);
}

export class DiskReserve {
  readonly #path: string;
  readonly #size: () => DatabaseSize;
  #allocatedBytes = 0;

  constructor(path: string, size: () => DatabaseSize) {
    this.#path = path;
    this.#size = size;
  }

  /** Returns when the disk holds room for these operations; throws resource-exhausted when it cannot. */
  cover(operations: readonly WriteOperation[]): void {
    const { pageBytes, treeDepth, usedPages, freePages } = this.#size();
    let pages = overheadPages;
    for (const { value } of operations) {
      pages += treeDepth + 3 + Math.ceil((value?.length ?? 0) / pageBytes);
    }
    const need = pages * pageBytes;
    const used = usedPages * pageBytes;
    const removesOnly = operations.every(({ value }) => value === undefined);
    const wanted = used + need + (removesOnly ? 0 : removalReserveBytes);
    if (this.#allocatedBytes >= wanted) return;
    if (this.#extend(wanted + stepBytes) || this.#extend(wanted)) return;
    // The disk is full. Pages that were freed may be used again, as long as what is allocated would do without
    // them: they can be scattered, and then lmdb takes new ones after all.
    const covered = this.#allocatedBytes - used >= need;
    if (covered && (removesOnly || freePages * pageBytes >= 2 * need)) return;
    throw full(this.#path);
  }

  #extend(toBytes: number): boolean {
    if (!allocate(this.#path, toBytes)) return false;
    this.#allocatedBytes = toBytes;
    return true;
  }
}

const full = (path: string) => resourceExhausted(`metadata store: no space left on the disk of ${path}`);

/** False on a full disk. From the start of the file, because lmdb leaves holes in it. */
function allocate(path: string, bytes: number): boolean {
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  try {
    checked(fallocate(fd, keepSize, 0, bytes), "fallocate", path);
    return true;
  } catch (error) {
    if (hasCode(error, "ENOSPC", "EDQUOT", "EFBIG")) return false;
    if (!hasCode(error, "EOPNOTSUPP", "ENOSYS")) throw error;
    // A file system without preallocation: what is free now is the best that can be known.
    const { bavail, bsize } = statfsSync(dirname(path));
    return bavail * bsize >= stepBytes + bytes / 8;
  } finally {
    closeSync(fd);
  }
}
