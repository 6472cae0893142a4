/**
 * Which program a runtime binary is. Shortcuts that rely on runc's inner workings are taken only for real
 * runc; the answer is kept per file (path, inode, time of change), so an upgrade is noticed.
 */
import { realpathSync, statSync } from "node:fs";
import { type RuntimeHost, resolveBinary, runCommand } from "./runtime-command.js";

export interface RuntimeIdentity {
  readonly kind: "runc" | "crun" | "other";
  /** As printed; "" when unknown. */
  readonly version: string;
}

export type RuntimeProbe = (binary: string) => Promise<RuntimeIdentity>;

const unknownRuntime: RuntimeIdentity = { kind: "other", version: "" };
const probeDeadlineMs = 5000;
const maxRemembered = 64;

/** A probe with its own memory. It never rejects: what cannot be asked is `other`. */
export function createRuntimeProbe(host: RuntimeHost): RuntimeProbe {
  const remembered = new Map<string, Promise<RuntimeIdentity>>();
  return async (binary) => {
    let path: string;
    let key: string;
    try {
      path = realpathSync(resolveBinary(binary));
      const { ino, dev, mtimeMs, size } = statSync(path);
      key = `${path} ${dev} ${ino} ${mtimeMs} ${size}`;
    } catch {
      return unknownRuntime;
    }
    const known = remembered.get(key);
    if (known !== undefined) return known;
    if (remembered.size >= maxRemembered) remembered.clear();
    const asked = ask(host, path);
    remembered.set(key, asked);
    const identity = await asked;
    // A failure may be passing (memory, a busy file): ask again next time.
    if (identity === unknownRuntime) remembered.delete(key);
    return identity;
  };
}

async function ask(host: RuntimeHost, path: string): Promise<RuntimeIdentity> {
  try {
    const request = { binary: path, args: ["--version"], cwd: "/", deadlineMs: probeDeadlineMs };
    const { status, stdout } = await runCommand(host, request);
    return status.exitStatus === 0 ? parseVersion(stdout) : unknownRuntime;
  } catch {
    return unknownRuntime;
  }
}

/** Reads the first line of `--version`, such as `runc version 1.1.5+ds1`. */
export function parseVersion(output: string): RuntimeIdentity {
  const match = /^(runc|crun) version (\S+)/.exec(output);
  if (match === null) return { kind: "other", version: output.split("\n", 1)[0]?.trim() ?? "" };
  return { kind: match[1] === "runc" ? "runc" : "crun", version: match[2] ?? "" };
}
