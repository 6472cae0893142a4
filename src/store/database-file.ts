/**
 * A look at the database file before lmdb maps it: lmdb takes the whole process down when a file's first pages
 * are not its own, and the operator should read what is wrong instead.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { DaemonError } from "../core/errors.js";

// Two meta pages open the file; each carries the magic after its page header (lmdb's data format 2).
const pageBytes = 4096;
const magicOffset = 24;
const magic = 0xbeefc0de;

/** Throws data-loss for a file that is no lmdb database. A missing or empty one is fine: it will be made. */
export function checkDatabaseFile(path: string): void {
  const head = Buffer.alloc(2 * pageBytes);
  const length = readHead(path, head);
  if (length === 0) return;
  const intact =
    length === head.length && [0, pageBytes].every((page) => head.readUInt32LE(page + magicOffset) === magic);
  if (intact) return;
  throw new DaemonError(
    "data-loss",
    `${path} is damaged or no metadata database: restore it, or move it away to start with none`,
  );
}

function readHead(path: string, into: Buffer): number {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return 0;
    throw error;
  }
  try {
    return readSync(fd, into, 0, into.length, 0);
  } finally {
    closeSync(fd);
  }
}
