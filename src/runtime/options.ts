/**
 * containerd.runc.v1.Options: decoding what clients send, and `options.json` beside the bundle, from which a
 * cleanup learns where the runtime kept its state.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { internal, invalidArgument } from "../core/errors.js";
import { hasCode } from "../native/libc.js";
import { isTypeUrl, typeUrls } from "../wire/any.js";
import { CheckpointOptions, Options } from "../wire/gen/containerd/runc/v1/runc.js";

/** A typed value as it comes over the wire. */
export interface TypedValue {
  readonly typeUrl: string;
  readonly value: Uint8Array;
}

/** Options of a task; absent or empty ones are the defaults. Rejects another type as invalid-argument. */
export function decodeOptions(any: TypedValue | undefined): Options {
  if (any === undefined || any.value.byteLength === 0) return Options.fromPartial({});
  if (!isTypeUrl(any.typeUrl, typeUrls.runcOptions))
    throw invalidArgument(`runtime options of type ${JSON.stringify(any.typeUrl)} are not supported`);
  return decode(Options.decode, any);
}

/** Options of a checkpoint; absent or empty ones are the defaults. Rejects another type as invalid-argument. */
export function decodeCheckpointOptions(any: TypedValue | undefined): CheckpointOptions {
  if (any === undefined || any.value.byteLength === 0) return CheckpointOptions.fromPartial({});
  if (!isTypeUrl(any.typeUrl, typeUrls.checkpointOptions))
    throw invalidArgument(`checkpoint options of type ${JSON.stringify(any.typeUrl)} are not supported`);
  return decode(CheckpointOptions.decode, any);
}

function decode<T>(decoder: (bytes: Uint8Array) => T, any: TypedValue): T {
  try {
    return decoder(any.value);
  } catch (cause) {
    throw invalidArgument(`malformed ${any.typeUrl}`, { cause });
  }
}

/** What the driver needs of them. */
export interface DriverOptions {
  readonly binary: string;
  /** The runtime's state directory for the namespace. */
  readonly root: string;
  readonly systemdCgroup: boolean;
  readonly noPivot: boolean;
  readonly noNewKeyring: boolean;
  readonly ioUid: number;
  readonly ioGid: number;
  readonly shimCgroup: string;
}

export interface DriverDefaults {
  /** Used when the options name no binary, such as `runc`. */
  readonly binary: string;
  /** Used when the options name no root. */
  readonly root: string;
}

export const driverOptions = (
  options: Options,
  namespace: string,
  defaults: DriverDefaults,
): DriverOptions => ({
  binary: options.binaryName || defaults.binary,
  root: join(options.root || defaults.root, namespace),
  systemdCgroup: options.systemdCgroup,
  noPivot: options.noPivotRoot,
  noNewKeyring: options.noNewKeyring,
  ioUid: options.ioUid,
  ioGid: options.ioGid,
  shimCgroup: options.shimCgroup,
});

const jsonNames = [
  ["noPivotRoot", "no_pivot_root"],
  ["noNewKeyring", "no_new_keyring"],
  ["shimCgroup", "shim_cgroup"],
  ["ioUid", "io_uid"],
  ["ioGid", "io_gid"],
  ["binaryName", "binary_name"],
  ["root", "root"],
  ["systemdCgroup", "systemd_cgroup"],
  ["criuImagePath", "criu_image_path"],
  ["criuWorkPath", "criu_work_path"],
  ["taskApiAddress", "task_api_address"],
  ["taskApiVersion", "task_api_version"],
] as const satisfies ReadonlyArray<readonly [keyof Options, string]>;

/** The JSON that containerd's shim writes: snake_case names, defaults left out. */
export function optionsToJson(options: Options): string {
  const fields: Record<string, unknown> = {};
  for (const [field, name] of jsonNames) if (options[field]) fields[name] = options[field];
  return JSON.stringify(fields);
}

/** Writes `options.json` and `runtime` (the binary's name, perhaps empty) into a bundle, mode 0600. */
export function writeOptions(bundle: string, options: Options): void {
  writeFileSync(join(bundle, "options.json"), optionsToJson(options), { mode: 0o600 });
  writeFileSync(join(bundle, "runtime"), options.binaryName, { mode: 0o600 });
}

/** The options a bundle was made with; undefined when none were written. Throws on a damaged file. */
export function readOptions(bundle: string): Options | undefined {
  const path = join(bundle, "options.json");
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR")) return undefined;
    throw error;
  }
  try {
    const fields = JSON.parse(text) as Record<string, unknown>;
    const known = jsonNames.filter(([, name]) => fields[name] !== undefined);
    const entries = known.map(([field, name]) => [field, fields[name]]);
    return Options.fromPartial(Object.fromEntries(entries) as Partial<Options>);
  } catch (cause) {
    throw internal(`damaged ${path}`, { cause });
  }
}
