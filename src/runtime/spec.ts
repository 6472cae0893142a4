/**
 * The few facts of an OCI `config.json` that the shim and the daemon act on. The document itself is never
 * rewritten: its bytes reach the runtime as the client sent them.
 */
import { invalidArgument } from "../core/errors.js";

interface Mapping {
  readonly containerID?: number;
  readonly hostID?: number;
  readonly size?: number;
}

interface SpecDocument {
  readonly process?: {
    readonly args?: readonly string[] | null;
    readonly terminal?: boolean;
    readonly cwd?: string;
    readonly consoleSize?: { readonly width?: number; readonly height?: number };
  } | null;
  readonly root?: { readonly path?: string; readonly readonly?: boolean } | null;
  readonly hooks?: Readonly<Record<string, readonly unknown[] | null>> | null;
  readonly annotations?: Readonly<Record<string, string>> | null;
  readonly linux?: {
    readonly namespaces?: ReadonlyArray<{ readonly type?: string; readonly path?: string }> | null;
    readonly cgroupsPath?: string;
    readonly uidMappings?: readonly Mapping[] | null;
    readonly gidMappings?: readonly Mapping[] | null;
  } | null;
}

export interface SpecFacts {
  readonly args: readonly string[];
  /** Undefined when the spec has no root; relative paths are relative to the bundle. */
  readonly rootPath: string | undefined;
  readonly terminal: boolean;
  readonly consoleSize: { readonly columns: number; readonly rows: number } | undefined;
  /** Kinds of hooks that have at least one entry, such as `poststart`. */
  readonly hooks: ReadonlySet<string>;
  /** True when init's exit makes the kernel kill the container's other processes. */
  readonly privatePidNamespace: boolean;
  /** Host ids of the container's root when it has a user namespace. */
  readonly mappedRoot: { readonly uid: number; readonly gid: number } | undefined;
  readonly cgroupsPath: string;
  readonly annotations: Readonly<Record<string, string>>;
}

/** Reads the facts. Rejects with invalid-argument what is not a JSON object of the right shape. */
export function parseSpec(bytes: Uint8Array): SpecFacts {
  let document: SpecDocument;
  try {
    document = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8"));
  } catch (cause) {
    throw invalidArgument("the spec is not valid JSON", { cause });
  }
  if (typeof document !== "object" || document === null || Array.isArray(document))
    throw invalidArgument("the spec is not a JSON object");
  try {
    return factsOf(document);
  } catch (cause) {
    throw invalidArgument("the spec has a field of the wrong type", { cause });
  }
}

function factsOf({ process: initial, root, hooks, annotations, linux }: SpecDocument): SpecFacts {
  const namespaces = linux?.namespaces ?? [];
  const pidNamespace = namespaces.find(({ type }) => type === "pid");
  const hasUserNamespace = namespaces.some(({ type }) => type === "user");
  const size = initial?.consoleSize;
  const path = root?.path;
  if (path !== undefined && typeof path !== "string") throw new TypeError("root.path");
  return {
    args: [...(initial?.args ?? [])],
    rootPath: path === undefined || path === "" ? undefined : path,
    terminal: initial?.terminal === true,
    consoleSize: size?.width && size.height ? { columns: size.width, rows: size.height } : undefined,
    hooks: new Set(
      Object.entries(hooks ?? {})
        .filter(([, list]) => (list?.length ?? 0) > 0)
        .map(([kind]) => kind),
    ),
    privatePidNamespace: pidNamespace !== undefined && !pidNamespace.path,
    mappedRoot: hasUserNamespace
      ? { uid: hostIdOfRoot(linux?.uidMappings ?? []), gid: hostIdOfRoot(linux?.gidMappings ?? []) }
      : undefined,
    cgroupsPath: linux?.cgroupsPath ?? "",
    annotations: { ...annotations },
  };
}

/** The host's id for id 0 inside; 0 when nothing maps it, as containerd has it. */
function hostIdOfRoot(mappings: readonly Mapping[]): number {
  return mappings.find(({ containerID = 0, size = 0 }) => containerID === 0 && size > 0)?.hostID ?? 0;
}

/** The sentence that says why these facts cannot make a container, or undefined when nothing does. */
export function specProblem({ args, rootPath }: SpecFacts): string | undefined {
  if (rootPath === undefined) return "the spec has no root.path";
  if (args.length === 0) return "the spec has no process.args";
  if (args[0] === "") return "the spec's process.args begins with an empty string";
  return undefined;
}

/** An exec's Process document with `terminal` set to what its request says; everything else stays as sent. */
export function processDocument(bytes: Uint8Array, terminal: boolean): Buffer {
  let document: Record<string, unknown>;
  try {
    document = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8"));
  } catch (cause) {
    throw invalidArgument("the process spec is not valid JSON", { cause });
  }
  if (typeof document !== "object" || document === null || Array.isArray(document))
    throw invalidArgument("the process spec is not a JSON object");
  return Buffer.from(JSON.stringify({ ...document, terminal }));
}
