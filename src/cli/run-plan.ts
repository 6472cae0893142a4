/**
 * What `run` was asked for, checked completely before any call is made: directories exist, the bundle parses,
 * the program is named, flags fit together.
 */
import { readFileSync, statSync } from "node:fs";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { ociAny, runcOptions } from "../client/payload.js";
import { type Container, newContainer } from "../client/records.js";
import { applyWishes, defaultSpec, type OciMount, type OciSpec } from "../client/spec.js";
import { resolveUser } from "../client/user-lookup.js";
import { CliError, messageOf } from "./cli-error.js";
import type { WindowSize } from "./terminal.js";

export interface RunOptions {
  readonly rm?: boolean;
  readonly detach?: boolean;
  readonly tty?: boolean;
  readonly interactive?: boolean;
  readonly rootfs?: string;
  readonly bundle?: string;
  readonly runtime?: string;
  readonly runtimeRoot?: string;
  readonly env?: readonly string[];
  readonly label?: Readonly<Record<string, string>>;
  readonly volume?: readonly OciMount[];
  readonly memory?: number;
  readonly cpus?: number;
  readonly pidsLimit?: number;
  readonly cwd?: string;
  readonly user?: string;
  readonly hostname?: string;
  readonly readOnly?: boolean;
  readonly log?: string;
}

/** Where `logs` looks: the task's stdout names the file too, but only while there is a task. */
export const logLabel = "berth.log-path";
const defaultRuntime = "io.containerd.runc.v2";

function directory(path: string, what: string): string {
  const absolute = resolve(path);
  const found = statSync(absolute, { throwIfNoEntry: false });
  if (found === undefined) throw new CliError(`${what} ${path} does not exist`);
  if (!found.isDirectory()) throw new CliError(`${what} ${path} is not a directory`);
  return absolute;
}

function readBundle(path: string): OciSpec {
  const bundle = directory(path, "bundle");
  const file = join(bundle, "config.json");
  let spec: Partial<OciSpec>;
  try {
    spec = JSON.parse(readFileSync(file, "utf8")) as Partial<OciSpec>;
  } catch (error) {
    throw new CliError(`bundle ${path}: cannot read config.json: ${messageOf(error)}`);
  }
  if (typeof spec !== "object" || spec === null || typeof spec.root?.path !== "string")
    throw new CliError(`bundle ${path}: config.json has no root.path`);
  if (typeof spec.process !== "object" || !Array.isArray(spec.process?.args))
    throw new CliError(`bundle ${path}: config.json has no process.args`);
  const root = isAbsolute(spec.root.path) ? spec.root.path : join(bundle, spec.root.path);
  directory(root, "the bundle's rootfs");
  return { ...(spec as OciSpec), root: { ...spec.root, path: root } };
}

/** The spec for `options`; `size` is the window of a terminal that will be attached. */
export function specFor(
  namespace: string,
  id: string,
  options: RunOptions,
  args: readonly string[],
  size: WindowSize | undefined,
): OciSpec {
  if ((options.rootfs === undefined) === (options.bundle === undefined))
    throw new CliError("say where the container's files are: either --rootfs DIR or --bundle DIR");
  const base =
    options.bundle === undefined
      ? defaultSpec(namespace, id, directory(options.rootfs ?? "", "rootfs"))
      : readBundle(options.bundle);
  if (args.length === 0 && base.process.args.length === 0)
    throw new CliError("say what to run: berth run … ID -- COMMAND [ARG…]");
  if (options.cwd !== undefined && !isAbsolute(options.cwd))
    throw new CliError(`--cwd ${options.cwd} is not an absolute path in the container`);
  for (const { source = "" } of options.volume ?? [])
    if (statSync(source, { throwIfNoEntry: false }) === undefined)
      throw new CliError(`volume source ${source} does not exist`);
  return applyWishes(base, {
    args,
    terminal: options.tty ?? false,
    ...(size === undefined ? {} : { consoleSize: size }),
    ...(options.env === undefined ? {} : { env: options.env }),
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.user === undefined ? {} : { user: resolveUser(options.user, base.root.path) }),
    ...(options.hostname === undefined ? {} : { hostname: options.hostname }),
    ...(options.readOnly === undefined ? {} : { readonlyRootfs: options.readOnly }),
    ...(options.volume === undefined ? {} : { mounts: options.volume }),
    ...(options.memory === undefined ? {} : { memoryBytes: options.memory }),
    ...(options.cpus === undefined ? {} : { cpus: options.cpus }),
    ...(options.pidsLimit === undefined ? {} : { pidsLimit: options.pidsLimit }),
  });
}

/** Refuses flags that contradict each other. */
export function checkRunFlags(options: RunOptions): void {
  if (options.detach && (options.tty || options.interactive))
    throw new CliError("-d leaves the container alone: it cannot be combined with -t or -i");
  if (options.tty && options.log !== undefined)
    throw new CliError("-t shows the output here: it cannot be combined with --log");
  if (options.detach && options.rm)
    throw new CliError("--rm needs somebody who waits: it cannot be combined with -d");
  if (options.log !== undefined) directory(dirname(resolve(options.log)), "the log's directory");
}

/**
 * A runtime as containerd names it: `io.containerd.runc.v2` and its like pass, anything else (`crun`,
 * `/usr/bin/crun`) is a binary for the default runtime to call.
 */
export function runtimeFor(
  name: string | undefined,
  root: string | undefined,
): { readonly name: string; readonly options: ReturnType<typeof runcOptions> | undefined } {
  const isRuntimeName = name !== undefined && /^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){3,}$/.test(name);
  const binaryName = name === undefined || isRuntimeName ? undefined : name;
  if (binaryName?.startsWith("/") && statSync(binaryName, { throwIfNoEntry: false }) === undefined)
    throw new CliError(`runtime ${binaryName} does not exist`);
  if (root !== undefined && !isAbsolute(root))
    throw new CliError(`--runtime-root ${root} is not an absolute path`);
  return {
    name: isRuntimeName ? name : defaultRuntime,
    options:
      binaryName === undefined && root === undefined
        ? undefined
        : runcOptions({
            ...(binaryName === undefined ? {} : { binaryName }),
            ...(root === undefined ? {} : { root }),
          }),
  };
}

/** The record to store for a run. */
export function containerFor(
  namespace: string,
  id: string,
  options: RunOptions,
  args: readonly string[],
  size: WindowSize | undefined,
): Container {
  checkRunFlags(options);
  const spec = specFor(namespace, id, options, args, size);
  return newContainer({
    id,
    labels: {
      ...options.label,
      ...(options.log === undefined ? {} : { [logLabel]: resolve(options.log) }),
    },
    runtime: runtimeFor(options.runtime, options.runtimeRoot),
    spec: ociAny("Spec", spec),
  });
}
