/** Turns what grpc-js reports into DaemonErrors: the kind from the status code, the words from the daemon. */
import type { ServiceError } from "@grpc/grpc-js";
import { DaemonError, toDaemonError } from "../core/errors.js";
import { kindOfStatusCode } from "../wire/status-code.js";

const isServiceError = (thrown: unknown): thrown is ServiceError =>
  thrown instanceof Error && "code" in thrown && "details" in thrown && typeof thrown.code === "number";

/**
 * One sentence for a socket that cannot be reached, whether the errno came from a probe or inside grpc-js'
 * text; undefined when `text` names none of the known causes.
 */
export function connectionProblem(address: string, text: string): DaemonError | undefined {
  if (text.includes("ENOENT"))
    return new DaemonError("unavailable", `no daemon at ${address}: the socket does not exist`);
  if (text.includes("EACCES") || text.includes("EPERM"))
    return new DaemonError("permission-denied", `permission denied on the daemon's socket ${address}`);
  if (text.includes("ECONNREFUSED"))
    return new DaemonError("unavailable", `no daemon at ${address}: the socket exists but nobody listens`);
  return undefined;
}

/** Any failure of a call made to the daemon at `address`. */
export function callError(address: string, thrown: unknown): DaemonError {
  if (!isServiceError(thrown)) return toDaemonError(thrown);
  const kind = kindOfStatusCode(thrown.code);
  // grpc-js' words for a stream that the peer reset without a status: how a daemon that stops drops its calls.
  if (kind === "cancelled" && thrown.details === "Call cancelled")
    return new DaemonError("unavailable", `the daemon at ${address} dropped the call`, { cause: thrown });
  if (kind === "unavailable") {
    const problem = connectionProblem(address, thrown.details);
    if (problem !== undefined) return problem;
    if (/connection (dropped|closed)|no connection established|read ECONNRESET|goaway/i.test(thrown.details))
      return new DaemonError("unavailable", `lost the connection to the daemon at ${address}`, {
        cause: thrown,
      });
  }
  // Bare: the words are containerd's already, class included where it sends one.
  return new DaemonError(kind, thrown.details, { cause: thrown, bare: true });
}
