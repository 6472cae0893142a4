/** Where a runtime name leads, by containerd's rules (runtime v2: names, binaries, search order). */
import { accessSync, constants } from "node:fs";
import { dirname, isAbsolute, join } from "node:path";
import { type DaemonError, unknownError } from "../core/errors.js";

/** Names that the built-in shim serves unless the configuration points them elsewhere. */
const builtInNames: ReadonlySet<string> = new Set(["io.containerd.runc.v2", "io.berth.v1"]);

export type RuntimeTarget = { readonly builtIn: true } | { readonly builtIn: false; readonly binary: string };

/**
 * Throws DaemonError unknown, in containerd's words, when nothing serves the name.
 * `configured` maps names to shim binaries.
 */
export function resolveRuntimeName(name: string, configured: ReadonlyMap<string, string>): RuntimeTarget {
  const chosen = configured.get(name);
  if (chosen !== undefined) return { builtIn: false, binary: executable(chosen) };
  if (builtInNames.has(name)) return { builtIn: true };
  if (isAbsolute(name)) return { builtIn: false, binary: executable(name) };
  const parts = name.split(".");
  if (name.includes("/") || parts.length < 2 || parts.some((part) => part === "")) {
    throw unresolved(
      `invalid runtime name ${name}, correct runtime name should be either format like \`io.containerd.runc.v1\` or a full path to the binary`,
    );
  }
  const binary = `containerd-shim-${parts.at(-2)}-${parts.at(-1)}`;
  const directories = [
    process.cwd(),
    ...(process.env.PATH ?? "").split(":"),
    dirname(process.argv[1] ?? "/"),
  ];
  const found = directories.map((directory) => join(directory, binary)).find(isExecutable);
  if (found === undefined)
    throw unresolved(`runtime "${name}" binary not installed "${binary}": file does not exist`);
  return { builtIn: false, binary: found };
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function executable(path: string): string {
  if (isExecutable(path)) return path;
  throw unresolved(`invalid custom binary path: stat ${path}: no such file or directory`);
}

const unresolved = (why: string): DaemonError =>
  unknownError(`failed to start shim: failed to resolve runtime path: ${why}`);
