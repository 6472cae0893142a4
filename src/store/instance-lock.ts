/**
 * One daemon for one state directory, by flock(2) on a file in it: the kernel drops the lock with the process,
 * so `kill -9` never leaves it held. The file stays; only its lock means something.
 */
import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { failedPrecondition } from "../core/errors.js";
import { tryLockFile } from "../native/flock.js";

export interface InstanceLock {
  release(): void;
}

/** Throws failed-precondition, naming the holder's pid, when a living daemon has the directory. */
export function acquireInstanceLock(state: string): InstanceLock {
  const path = join(state, "lock");
  const fd = openSync(path, "a+", 0o600);
  if (!tryLockFile(fd)) {
    closeSync(fd);
    throw failedPrecondition(
      `another berthd (pid ${readFileSync(path, "utf8").trim() || "unknown"}) serves ${state}`,
    );
  }
  ftruncateSync(fd);
  writeSync(fd, String(process.pid));
  return { release: () => closeSync(fd) };
}
