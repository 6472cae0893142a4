/**
 * The one table between error kinds and the status numbers that gRPC and ttrpc share, and containerd's habit of
 * ending a message with the words of its class (`…: not found`), which clients strip again.
 */
import { DaemonError, type ErrorKind } from "../core/errors.js";

export const statusCodes: Readonly<Record<ErrorKind, number>> = {
  cancelled: 1,
  unknown: 2,
  "invalid-argument": 3,
  "deadline-exceeded": 4,
  "not-found": 5,
  "already-exists": 6,
  "permission-denied": 7,
  "resource-exhausted": 8,
  "failed-precondition": 9,
  aborted: 10,
  "out-of-range": 11,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  "data-loss": 15,
  unauthenticated: 16,
};

/** containerd's words for each class, as they end a message. */
export const classTexts: Readonly<Record<ErrorKind, string>> = {
  cancelled: "context canceled",
  unknown: "unknown",
  "invalid-argument": "invalid argument",
  "deadline-exceeded": "context deadline exceeded",
  "not-found": "not found",
  "already-exists": "already exists",
  "permission-denied": "permission denied",
  "resource-exhausted": "resource exhausted",
  "failed-precondition": "failed precondition",
  aborted: "aborted",
  "out-of-range": "out of range",
  unimplemented: "not implemented",
  internal: "internal",
  unavailable: "unavailable",
  "data-loss": "data loss",
  unauthenticated: "unauthenticated",
};

const kindsByCode = new Map<number, ErrorKind>(
  Object.entries(statusCodes).map(([kind, code]) => [code, kind as ErrorKind]),
);

/** The kind of a status number; a number that nobody defined is `unknown`. Zero (success) has no kind. */
export const kindOfStatusCode = (code: number): ErrorKind => kindsByCode.get(code) ?? "unknown";

/** `message` with its class words at the end, exactly once; a bare error keeps its message as it stands. */
export function messageWithClass(error: DaemonError): string {
  const text = classTexts[error.kind];
  if (error.bare || error.message === text || error.message.endsWith(`: ${text}`)) return error.message;
  return error.message === "" ? text : `${error.message}: ${text}`;
}

/** `message` without one trailing `: <class words>` of `kind`. */
export function withoutClass(kind: ErrorKind, message: string): string {
  const suffix = `: ${classTexts[kind]}`;
  return message.endsWith(suffix) ? message.slice(0, -suffix.length) : message;
}

/** A received status as a DaemonError, its class words taken off: whoever sends it on adds them again. */
export function errorOfStatus(code: number, message: string): DaemonError {
  const kind = kindOfStatusCode(code);
  return new DaemonError(kind, withoutClass(kind, message));
}
