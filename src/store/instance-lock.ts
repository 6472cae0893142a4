/**
 * One daemon for one state directory, by flock(2) on a file in it: the kernel drops the lock with the process,
 * so `kill -9` never leaves it held. The file stays, because two starters could otherwise each lock a different
 * file of the same name; only its lock means something.
 */
import { closeSync, fstatSync, ftruncateSync, openSync, readFileSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import { failedPrecondition, internal } from "../core/errors.js";
import { tryLockFile } from "../native/flock.js";

export interface InstanceLock {
  /** Harmless when called twice. */
  release(): void;
}

/** Throws failed-precondition, naming the holder's pid, when a living daemon has the directory. */
export function acquireInstanceLock(state: string): InstanceLock {
  const path = join(state, "lock");
  for (let attempt = 0; attempt < 10; attempt++) {
    // Node opens with O_CLOEXEC: no shim inherits the descriptor and keeps the lock alive.
    const fd = openSync(path, "a+", 0o600);
    try {
      if (!tryLockFile(fd)) {
        const holder = readFileSync(path, "utf8").trim() || "unknown";
        throw failedPrecondition(`another berthd (pid ${holder}) serves ${state}`);
      }
      if (isStillAt(path, fd)) {
        ftruncateSync(fd);
        writeSync(fd, String(process.pid));
        return held(fd);
      }
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    // Somebody replaced the file between open and lock: what is locked here guards nothing.
    closeSync(fd);
  }
  throw internal(`cannot lock ${path}: the file keeps being replaced`);
}

function held(fd: number): InstanceLock {
  let open = true;
  return {
    release() {
      if (!open) return;
      open = false;
      closeSync(fd);
    },
  };
}

function isStillAt(path: string, fd: number): boolean {
  try {
    const [locked, named] = [fstatSync(fd), statSync(path)];
    return locked.ino === named.ino && locked.dev === named.dev;
  } catch {
    return false;
  }
}
