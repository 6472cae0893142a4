/** Refusals of stdio in the words that containerd's clients see. */
import { cancelled, type DaemonError, deadlineExceeded, unknownError } from "../../core/errors.js";
import { errnoText } from "../../native/libc.js";

/** What Go prints for a failed call on a path: `open /x: no such file or directory`. */
export function goPathError(operation: string, path: string, thrown: unknown): string {
  if (thrown instanceof Error && "code" in thrown)
    return `${operation} ${path}: ${errnoText(String(thrown.code))}`;
  return `${operation} ${path}: ${thrown instanceof Error ? thrown.message : String(thrown)}`;
}

/** Wraps a failure to open an output, as the step that containerd fails in would. */
export function outputFailure(terminal: boolean, detail: string, cause?: unknown): DaemonError {
  return unknownError(`${outputPrefix(terminal)}${detail}`, { cause });
}

export const inputFailure = (path: string, detail: string, cause?: unknown): DaemonError =>
  unknownError(`failed to open stdin fifo ${path}: ${detail}`, { cause });

/** Nobody opened the FIFO for reading in time, or the caller stopped waiting. */
export function readerMissing(terminal: boolean, path: string, why: "timeout" | "aborted"): DaemonError {
  const words = why === "timeout" ? "context deadline exceeded" : "context canceled";
  const text = terminal
    ? `${outputPrefix(true)}${words}`
    : `${outputPrefix(false)}containerd-shim: opening w/o fifo ${JSON.stringify(path)} failed: ${words}`;
  const make = why === "timeout" ? deadlineExceeded : cancelled;
  return make(text, { bare: true });
}

const outputPrefix = (terminal: boolean): string =>
  terminal ? "failed to start console copy: " : "failed to start io pipe copy: unable to copy pipes: ";
