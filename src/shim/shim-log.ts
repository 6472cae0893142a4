/**
 * The shim's log: one JSON line per entry on its standard error, which the daemon points at a file. Small on
 * purpose: a logging package would cost every shim more memory than a hundred tasks.
 */
import { writeSync } from "node:fs";
import type { Logger } from "../core/logger.js";

export const logLevels = ["error", "warn", "info", "debug"] as const;
export type LogLevel = (typeof logLevels)[number];

/** `write` takes one line; the default goes to descriptor 2 and gives up on a line that cannot be written. */
export function createShimLog(
  level: LogLevel,
  bindings: Record<string, unknown>,
  write: (line: string) => void = writeToStderr,
): Logger {
  const enabled = logLevels.indexOf(level);
  const entry =
    (own: LogLevel) =>
    (fields: Record<string, unknown>, msg: string): void => {
      if (logLevels.indexOf(own) > enabled) return;
      const time = new Date().toISOString();
      write(`${JSON.stringify({ level: own, time, ...bindings, ...fields, msg }, replacer)}\n`);
    };
  return {
    child: (more) => createShimLog(level, { ...bindings, ...more }, write),
    error: entry("error"),
    warn: entry("warn"),
    info: entry("info"),
    debug: entry("debug"),
  };
}

function replacer(_key: string, value: unknown): unknown {
  if (typeof value === "bigint") return value.toString();
  if (!(value instanceof Error)) return value;
  const { message, stack, cause } = value;
  const kind = "kind" in value ? value.kind : undefined;
  return { type: value.name, message, kind, stack, cause: cause instanceof Error ? cause.message : cause };
}

function writeToStderr(line: string): void {
  try {
    writeSync(2, line);
  } catch {
    // A full disk or a closed pipe must not end the parent of containers.
  }
}
