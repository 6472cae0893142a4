/** The command line of `berth-shim serve`. */
import { tmpdir } from "node:os";
import { parseArgs } from "node:util";
import { invalidArgument } from "../core/errors.js";
import { type Namespace, parseNamespace, type ShimId } from "../core/ids.js";
import { type LogLevel, logLevels } from "./shim-log.js";
import type { StdioMode } from "./stdio/process-io.js";

export interface ServeOptions {
  readonly shimId: ShimId;
  readonly namespace: Namespace;
  /** Holds shim.sock, pid, spool/. */
  readonly directory: string;
  /** The daemon's ttrpc socket, where events go. */
  readonly ttrpcAddress: string;
  readonly logLevel: LogLevel;
  /** A byte is written here once the shim serves; undefined when nobody waits for it. */
  readonly readyFd: number | undefined;
  readonly stdioMode: StdioMode;
  readonly criuPresent: boolean;
  readonly pumpWorkers: number;
  readonly pumpWorkerPath: string | undefined;
  readonly drainTimeoutMs: number;
  readonly deleteDrainTimeoutMs: number;
  readonly openTimeoutMs: number;
  readonly runtimeBinary: string;
  readonly runtimeRoot: string;
  readonly runtimeTimeoutMs: number;
  readonly orphanTimeoutMs: number;
  readonly oomScoreAdjustment: number | undefined;
  readonly temporaryDirectory: string;
}

export const usage = `berth-shim serve --id ID --namespace NS --directory DIR --ttrpc-address SOCKET [options]
berth-shim --version

  --log-level error|warn|info|debug   (info)
  --ready-fd N                write a line to this descriptor once serving
  --stdio-mode auto|direct|pump       (auto)
  --criu-present              a working criu is installed: mode auto pumps
  --pump-workers N            threads that move bytes, at most (1)
  --pump-worker-path FILE     the built pump thread
  --drain-timeout MS          how long an exit waits for its output (2000)
  --delete-drain-timeout MS   how long Delete waits for it (10000)
  --open-timeout MS           how long a client may take to open its FIFOs (30000)
  --runtime-binary NAME       OCI runtime of tasks that name none (runc)
  --runtime-root DIR          its state directory (/run/berth/runc)
  --runtime-timeout MS        the longest run of an OCI runtime (60000)
  --orphan-timeout MS         without tasks and daemon, exit after this (60000)
  --oom-score-adj N           from -1000 to 1000
  --temporary-directory DIR   for console sockets (DIR, or /tmp when DIR is long)
`;

/** A console socket's own part of its path must fit into what the kernel's 107 bytes leave. */
const longestSocketParent = 64;

/** Throws invalid-argument with a sentence for the operator. */
export function parseServeOptions(args: readonly string[]): ServeOptions {
  const text = { type: "string" } as const;
  let values: Record<string, string | boolean | undefined>;
  try {
    ({ values } = parseArgs({
      args: [...args],
      strict: true,
      allowPositionals: false,
      options: {
        id: text,
        namespace: text,
        directory: text,
        "ttrpc-address": text,
        "log-level": text,
        "ready-fd": text,
        "stdio-mode": text,
        "criu-present": { type: "boolean" },
        "pump-workers": text,
        "pump-worker-path": text,
        "drain-timeout": text,
        "delete-drain-timeout": text,
        "open-timeout": text,
        "runtime-binary": text,
        "runtime-root": text,
        "runtime-timeout": text,
        "orphan-timeout": text,
        "oom-score-adj": text,
        "temporary-directory": text,
      },
    }));
  } catch (error) {
    throw invalidArgument(error instanceof Error ? error.message : String(error), { cause: error });
  }
  const optional = (name: string): string | undefined => {
    const value = values[name];
    return typeof value === "string" && value !== "" ? value : undefined;
  };
  const required = (name: string): string => {
    const value = optional(name);
    if (value === undefined) throw invalidArgument(`--${name} is required`);
    return value;
  };
  const integer = (name: string, least: number, most: number): number | undefined => {
    const value = optional(name);
    if (value === undefined) return undefined;
    const number = Number(value);
    if (!Number.isInteger(number) || number < least || number > most)
      throw invalidArgument(`--${name} must be an integer from ${least} to ${most}, got ${value}`);
    return number;
  };
  const milliseconds = (name: string, otherwise: number): number =>
    integer(name, 0, 24 * 3600 * 1000) ?? otherwise;
  const choice = <T extends string>(name: string, known: readonly T[], otherwise: T): T => {
    const value = optional(name) ?? otherwise;
    const found = known.find((candidate) => candidate === value);
    if (found === undefined)
      throw invalidArgument(`--${name} must be one of ${known.join(", ")}, got ${value}`);
    return found;
  };
  const absolute = (name: string, path: string): string => {
    if (!path.startsWith("/")) throw invalidArgument(`--${name} must be an absolute path, got ${path}`);
    return path;
  };
  const directory = absolute("directory", required("directory"));
  return {
    shimId: required("id") as ShimId, // the daemon's own name for this process
    namespace: parseNamespace(required("namespace")),
    directory,
    ttrpcAddress: required("ttrpc-address"),
    logLevel: choice("log-level", logLevels, "info"),
    readyFd: integer("ready-fd", 3, 1023),
    stdioMode: choice("stdio-mode", ["auto", "direct", "pump"], "auto"),
    criuPresent: values["criu-present"] === true,
    pumpWorkers: integer("pump-workers", 1, 16) ?? 1,
    pumpWorkerPath: optional("pump-worker-path"),
    drainTimeoutMs: milliseconds("drain-timeout", 2000),
    deleteDrainTimeoutMs: milliseconds("delete-drain-timeout", 10_000),
    openTimeoutMs: milliseconds("open-timeout", 30_000),
    runtimeBinary: optional("runtime-binary") ?? "runc",
    runtimeRoot: absolute("runtime-root", optional("runtime-root") ?? "/run/berth/runc"),
    runtimeTimeoutMs: milliseconds("runtime-timeout", 60_000),
    orphanTimeoutMs: milliseconds("orphan-timeout", 60_000),
    oomScoreAdjustment: integer("oom-score-adj", -1000, 1000),
    temporaryDirectory: absolute(
      "temporary-directory",
      optional("temporary-directory") ?? (directory.length <= longestSocketParent ? directory : tmpdir()),
    ),
  };
}
