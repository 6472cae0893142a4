/** Reads containerd's TOML layout into the daemon's settings: defaults, then the file, then the command line. */
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { isAbsolute, join } from "node:path";
import { parse, TomlError } from "smol-toml";
import { type DaemonError, invalidArgument } from "../core/errors.js";
import { parseDuration } from "./duration.js";
import { type RawConfig, type Setting, type SettingName, settings } from "./schema.js";

/** Settings with every derived default filled in. Durations are milliseconds. */
export type Config = RawConfig;

export interface LoadedConfig {
  readonly config: Config;
  /** Keys of the file that mean nothing here, as dotted paths. */
  readonly unknownKeys: readonly string[];
}

/** Longest name of a unix socket, bytes (unix(7): sun_path is 108 with its NUL). */
const socketPathLimit = 107;
/** What is appended to the gRPC socket's name, longest first in mind. */
const longestSuffix = ".ttrpc";
/** `<state>/shims/<12 hex>/shim.sock` has to fit too. */
const shimSocketLength = "/shims/0123456789ab/shim.sock".length;

const names = Object.keys(settings) as SettingName[];

/** Defaults and what the file changes. A file that does not exist is an error only when it was named. */
export function loadConfig(
  file: { readonly path: string; readonly required: boolean } | undefined,
  overrides: Partial<RawConfig> = {},
): LoadedConfig {
  const document = file === undefined ? {} : readDocument(file.path, file.required);
  const values: Record<string, unknown> = {};
  for (const name of names) {
    const setting: Setting = settings[name];
    const found = valueAt(document, setting.path);
    values[name] = overrides[name] ?? (found === undefined ? setting.value : checked(setting, found));
  }
  return { config: complete(values as unknown as RawConfig), unknownKeys: unknownKeys(document) };
}

function readDocument(path: string, required: boolean): Record<string, unknown> {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    if (!required && (cause as NodeJS.ErrnoException).code === "ENOENT") return {};
    throw invalidArgument(`cannot read the configuration ${path}: ${(cause as Error).message}`, { cause });
  }
  try {
    return parse(text);
  } catch (cause) {
    const where = cause instanceof TomlError ? ` line ${cause.line}, column ${cause.column}` : "";
    const [why = ""] = (cause as Error).message.split("\n");
    throw invalidArgument(`${path}${where}: ${why}`, { cause });
  }
}

function valueAt(document: unknown, path: readonly string[]): unknown {
  let at: unknown = document;
  for (const key of path) {
    if (typeof at !== "object" || at === null) return undefined;
    at = (at as Record<string, unknown>)[key];
  }
  return at;
}

/** The value in the daemon's units; throws invalid-argument with the key, what it is and what it may be. */
function checked(setting: Setting, found: unknown): unknown {
  const { kind } = setting;
  const refuse = (expected: string): DaemonError =>
    invalidArgument(
      `configuration key ${dotted(setting.path)} is ${JSON.stringify(found)}, expected ${expected}`,
    );
  if (typeof kind !== "string") {
    if (typeof found === "string" && kind.includes(found)) return found;
    throw refuse(`one of ${kind.map((choice) => JSON.stringify(choice)).join(", ")}`);
  }
  switch (kind) {
    case "string":
      if (typeof found !== "string") throw refuse("a string");
      return found;
    case "path":
      if (typeof found !== "string" || !isAbsolute(found)) throw refuse("an absolute path");
      return found;
    case "boolean":
      if (typeof found !== "boolean") throw refuse("true or false");
      return found;
    case "integer": {
      const { min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER } = setting;
      const range = setting.max === undefined ? `of at least ${min}` : `from ${min} to ${max}`;
      if (typeof found !== "number" || !Number.isInteger(found) || found < min || found > max) {
        throw refuse(`an integer ${range}`);
      }
      return found;
    }
    case "duration": {
      const milliseconds = typeof found === "string" ? parseDuration(found) : undefined;
      if (milliseconds === undefined) throw refuse('a duration such as "5s" or "1m30s"');
      return milliseconds;
    }
    case "string-map": {
      const entries = typeof found === "object" && found !== null ? Object.entries(found) : undefined;
      if (entries === undefined || entries.some(([, value]) => typeof value !== "string")) {
        throw refuse("a table of strings");
      }
      return Object.fromEntries(entries);
    }
  }
}

function complete(raw: RawConfig): Config {
  const grpcAddress = socketPath(
    "grpc.address",
    raw.grpcAddress || join(raw.state, "berth.sock"),
    longestSuffix.length,
  );
  const config: Config = {
    ...raw,
    grpcAddress,
    ttrpcAddress: socketPath("ttrpc.address", raw.ttrpcAddress || `${grpcAddress}.ttrpc`, 0),
    debugAddress: socketPath("debug.address", raw.debugAddress || `${grpcAddress}.debug`, 0),
    runtimeRoot: raw.runtimeRoot || join(raw.state, "runtime"),
    runtimeConcurrency: raw.runtimeConcurrency || availableParallelism() + 1,
  };
  if (Buffer.byteLength(config.state) + shimSocketLength > socketPathLimit) {
    const room = socketPathLimit - shimSocketLength;
    throw invalidArgument(
      `state ${config.state} is too long: sockets under it need it to be at most ${room} bytes`,
    );
  }
  if (config.root === config.state)
    throw invalidArgument(`root and state are both ${config.root}, expected two directories`);
  return config;
}

function socketPath(key: string, address: string, reserve: number): string {
  const path = address.startsWith("unix://") ? address.slice("unix://".length) : address;
  if (!isAbsolute(path))
    throw invalidArgument(
      `${key} is ${JSON.stringify(address)}, expected the absolute path of a unix socket`,
    );
  if (Buffer.byteLength(path) + reserve > socketPathLimit) {
    throw invalidArgument(
      `${key} ${path} is too long: the name of a unix socket has at most ${socketPathLimit - reserve} bytes here`,
    );
  }
  return path;
}

const dotted = (path: readonly string[]): string =>
  path.map((key) => (/^[A-Za-z0-9_-]+$/.test(key) ? key : JSON.stringify(key))).join(".");

const isTable = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);

/** Throws invalid-argument where a table has to be and something else is. */
function unknownKeys(document: Record<string, unknown>): string[] {
  const unknown: string[] = [];
  const visit = (table: Record<string, unknown>, path: readonly string[]): void => {
    for (const [key, value] of Object.entries(table)) {
      const here = [...path, key];
      const matching = names
        .map((name): Setting => settings[name])
        .filter(({ path: known }) => here.every((part, index) => known[index] === part));
      if (matching.length === 0) unknown.push(dotted(here));
      else if (matching.some(({ path: known }) => known.length === here.length)) continue;
      else if (isTable(value)) visit(value, here);
      else
        throw invalidArgument(
          `configuration key ${dotted(here)} is ${JSON.stringify(value)}, expected a table`,
        );
    }
  };
  visit(document, []);
  return unknown;
}
