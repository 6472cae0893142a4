/**
 * The one error type that crosses rooms. `kind` is containerd's errdefs list in kebab-case; `api/status.ts`
 * maps it to gRPC codes. There is deliberately no numeric `code` property: grpc-js would send it as the
 * status of the call.
 */
export const errorKinds = [
  "cancelled",
  "unknown",
  "invalid-argument",
  "deadline-exceeded",
  "not-found",
  "already-exists",
  "permission-denied",
  "resource-exhausted",
  "failed-precondition",
  "aborted",
  "out-of-range",
  "unimplemented",
  "internal",
  "unavailable",
  "data-loss",
  "unauthenticated",
] as const;

export type ErrorKind = (typeof errorKinds)[number];

export interface DaemonErrorOptions {
  readonly cause?: unknown;
  /** Send `message` as it stands, without containerd's `: <class>` suffix. */
  readonly bare?: boolean;
}

export class DaemonError extends Error {
  override readonly name = "DaemonError";
  readonly kind: ErrorKind;
  /** True where containerd sends the message without its `: <class>` suffix. */
  readonly bare: boolean;

  constructor(kind: ErrorKind, message: string, options: DaemonErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.kind = kind;
    this.bare = options.bare ?? false;
  }
}

type Factory = (message: string, options?: DaemonErrorOptions) => DaemonError;
const factory =
  (kind: ErrorKind): Factory =>
  (message, options) =>
    new DaemonError(kind, message, options);

export const cancelled = factory("cancelled");
export const unknownError = factory("unknown");
export const invalidArgument = factory("invalid-argument");
export const deadlineExceeded = factory("deadline-exceeded");
export const notFound = factory("not-found");
export const alreadyExists = factory("already-exists");
export const resourceExhausted = factory("resource-exhausted");
export const failedPrecondition = factory("failed-precondition");
export const aborted = factory("aborted");
export const outOfRange = factory("out-of-range");
export const unimplemented = factory("unimplemented");
export const internal = factory("internal");
export const unavailable = factory("unavailable");

/** Any thrown value as a DaemonError: ours pass unchanged, aborts keep their meaning, the rest is `unknown`. */
export function toDaemonError(thrown: unknown): DaemonError {
  if (thrown instanceof DaemonError) return thrown;
  if (thrown instanceof Error) {
    if (thrown.name === "AbortError") return cancelled("context canceled", { cause: thrown, bare: true });
    if (thrown.name === "TimeoutError")
      return deadlineExceeded("context deadline exceeded", { cause: thrown, bare: true });
    return unknownError(thrown.message, { cause: thrown });
  }
  return unknownError(String(thrown));
}
