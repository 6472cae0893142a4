/**
 * What a failed OCI runtime call says, in containerd's words: clients such as dockerd search these texts, so
 * the runtime's own message passes through unchanged.
 */
import { closeSync, constants, fstatSync, openSync, readSync, statSync } from "node:fs";
import { type DaemonError, notFound, unknownError } from "../core/errors.js";
import { errnoText } from "../native/libc.js";

/** More of log.json than this is never read; the newest part counts. */
const maxLogBytes = 256 * 1024;

/** How many bytes log.json has now; calls append to it, so what a call wrote begins here. */
export function logSize(path: string): number {
  try {
    return statSync(path).size;
  } catch {
    return 0;
  }
}

/** What log.json tells about one call. `unreadable` is Go's sentence for why it could not be read. */
export interface RuntimeLog {
  /** Trimmed message of the last entry of level error. */
  readonly lastError: string | undefined;
  /** Message of the last entry of any level. */
  readonly lastLine: string | undefined;
  readonly unreadable: string | undefined;
}

/** Reads what was appended to log.json since it had `from` bytes. */
export function readRuntimeLog(path: string, from: number): RuntimeLog {
  let text: string;
  try {
    text = readTail(path, from);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    const reason = `open ${path}: ${errnoText(code)}`;
    return { lastError: undefined, lastLine: undefined, unreadable: reason };
  }
  let lastError: string | undefined;
  let lastLine: string | undefined;
  for (const line of text.split("\n")) {
    const entry = parseEntry(line);
    if (entry === undefined) continue;
    lastLine = entry.msg;
    if (entry.level === "error") lastError = entry.msg;
  }
  return { lastError, lastLine, unreadable: undefined };
}

function readTail(path: string, from: number): string {
  const fd = openSync(path, constants.O_RDONLY);
  try {
    const { size } = fstatSync(fd);
    // A shorter file was replaced meanwhile: all of it is new.
    const start = Math.max(size < from ? 0 : from, size - maxLogBytes);
    const buffer = Buffer.alloc(size - start);
    return buffer.toString("utf8", 0, readSync(fd, buffer, 0, buffer.length, start));
  } finally {
    closeSync(fd);
  }
}

function parseEntry(line: string): { readonly level: string; readonly msg: string } | undefined {
  if (!line.startsWith("{")) return undefined;
  try {
    const { level, msg } = JSON.parse(line) as { readonly level?: unknown; readonly msg?: unknown };
    return { level: String(level ?? ""), msg: String(msg ?? "").trim() };
  } catch {
    // The last line of a runtime that was killed may be cut.
    return undefined;
  }
}

/** A runtime call's own failure, before containerd's prefix: `runc did not terminate …`, `fork/exec …`. */
export class RuntimeFailure extends Error {
  override readonly name = "RuntimeFailure";
  /** The runtime's exit status, undefined when it never ran. */
  readonly exitStatus: number | undefined;

  constructor(message: string, exitStatus: number | undefined, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.exitStatus = exitStatus;
  }
}

/** `OCI runtime create failed: …` and its siblings: the log's words, else why there are none. */
export function runtimeError(prefix: string, failure: RuntimeFailure, log: RuntimeLog): DaemonError {
  const cause = { cause: failure };
  if (log.unreadable !== undefined)
    return unknownError(
      `${prefix}: unable to retrieve OCI runtime error (${log.unreadable}): ${failure.message}`,
      cause,
    );
  return unknownError(`${prefix}: ${log.lastError || failure.message}`, cause);
}

/** A failed `kill` as containerd classes it. */
export function killError(failure: RuntimeFailure): DaemonError {
  const text = failure.message;
  const gone =
    text.includes("os: process already finished") ||
    text.includes("container not running") ||
    text.toLowerCase().includes("no such process");
  if (gone) return notFound("process already finished", { cause: failure });
  if (text.includes("does not exist")) return notFound("no such container", { cause: failure });
  return unknownError(`unknown error after kill: ${text}`, { cause: failure });
}
