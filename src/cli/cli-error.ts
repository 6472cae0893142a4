/** Failures that the user sees as one line, and the exit status that goes with each. */
import { DaemonError } from "../core/errors.js";

export class CliError extends Error {
  override readonly name = "CliError";

  constructor(
    message: string,
    /** What the process exits with; 1 unless the command's contract says otherwise. */
    readonly exitStatus: number = 1,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** What `thrown` says to a person, on one line and without the prefix. */
export function messageOf(thrown: unknown): string {
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  const line = text.trim().replace(/\s*\n\s*/g, " ");
  // containerd marks errors without a class so; to a person it says nothing.
  return thrown instanceof DaemonError ? line.replace(/(: unknown)+$/, "") : line;
}

/**
 * The status of `run` when nothing ran: 127 when the program is not there, 126 when it cannot be executed, 125
 * for everything else. Decided by the OCI runtime's words, the only place that tells them apart.
 */
export function startFailureStatus(thrown: unknown): number {
  if (!(thrown instanceof DaemonError)) return 125;
  const text = thrown.message.toLowerCase();
  // The runtime itself is missing, not the container's program.
  if (
    text.includes("unable to retrieve oci runtime error") ||
    text.includes("failed to resolve runtime path")
  )
    return 125;
  if (!/oci runtime (create|start|exec) failed|exec failed/.test(text)) return 125;
  if (/executable file .*not found in \$path|no such file or directory/.test(text)) return 127;
  if (/permission denied|is a directory|exec format error/.test(text)) return 126;
  return 125;
}
