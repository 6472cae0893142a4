/** An error as a gRPC status: containerd's code, and its text with the class words that clients strip again. */
import type { ErrorKind } from "../core/errors.js";
import { toDaemonError } from "../core/errors.js";
import { messageWithClass, statusCodes } from "../wire/status-code.js";

export interface CallStatus {
  /** gRPC status number. */
  readonly code: number;
  /** What travels as grpc-message. */
  readonly details: string;
}

/** The one table from error kinds to gRPC codes; wire/status-code.ts keeps the numbers that ttrpc shares. */
export const grpcCodes: Readonly<Record<ErrorKind, number>> = statusCodes;

// A runtime may print a megabyte. It would travel in an HTTP/2 header, threefold when percent-encoded, and peers
// refuse header lists past 64 KiB. The end is kept as well: clients look for the class words there.
const maxDetailsLength = 8192;
const keptTail = 1024;

const shortened = (text: string): string =>
  text.length <= maxDetailsLength
    ? text
    : `${text.slice(0, maxDetailsLength - keptTail)} [shortened] ${text.slice(-keptTail)}`;

/** Half of a surrogate pair cannot be percent-encoded: grpc-js would throw where nobody catches. */
const wellFormed = (text: string): string => Buffer.from(text, "utf8").toString("utf8");

/** The status for anything thrown. Never throws. */
export function statusOf(thrown: unknown): CallStatus {
  const error = toDaemonError(thrown);
  return { code: grpcCodes[error.kind], details: wellFormed(shortened(messageWithClass(error))) };
}
