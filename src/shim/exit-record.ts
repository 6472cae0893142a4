/**
 * What is left beside the bundle when a process ends, so that its true exit status survives the shim: written
 * at the reap, before anybody is told, and removed with the process (an exec) or with the bundle (init).
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Exit } from "../core/exit.js";

/** Where the record of init (exec id "") or of an exec lies. */
export const exitRecordPath = (bundle: string, execId: string): string =>
  join(bundle, execId === "" ? "exit.json" : `exec-${execId}.exit.json`);

/** Appears whole or not at all. Throws the errno, such as ENOENT for a bundle that is gone. */
export function writeExitRecord(bundle: string, execId: string, exit: Exit): void {
  const path = exitRecordPath(bundle, execId);
  const text = JSON.stringify({
    pid: exit.pid,
    exitStatus: exit.exitStatus,
    exitedAt: { seconds: String(exit.exitedAt.seconds), nanos: exit.exitedAt.nanos },
  });
  writeFileSync(`${path}.tmp`, text, { mode: 0o600 });
  renameSync(`${path}.tmp`, path);
}

/** Undefined when the process has left no record, or one that cannot be read. */
export function readExitRecord(bundle: string, execId: string): Exit | undefined {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(exitRecordPath(bundle, execId), "utf8"));
  } catch {
    return undefined;
  }
  const { pid, exitStatus, exitedAt } = (value ?? {}) as Record<string, unknown>;
  const { seconds, nanos } = (exitedAt ?? {}) as Record<string, unknown>;
  if (typeof pid !== "number" || typeof exitStatus !== "number") return undefined;
  if (typeof seconds !== "string" || typeof nanos !== "number" || !/^-?\d+$/.test(seconds)) return undefined;
  return { pid, exitStatus, exitedAt: { seconds: BigInt(seconds), nanos } };
}

/** Where the runtime writes an exec's pid. Not `<id>.pid`: an exec may be called init. */
export const execPidPath = (bundle: string, execId: string): string => join(bundle, `exec-${execId}.pid`);

/** Removes what an exec left in the bundle; fine when there is nothing. */
export function removeExecFiles(bundle: string, execId: string): void {
  rmSync(exitRecordPath(bundle, execId), { force: true });
  rmSync(execPidPath(bundle, execId), { force: true });
}
