/** What is on disk for each shim: `<state>/shims/<id>/` with shim.json (ours), and pid and shim.sock (the shim's). */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Namespace, ShimId } from "../core/ids.js";
import { processStat } from "../native/process.js";
import type { ShimRequest } from "../ports/shim-launcher-port.js";

export interface ShimProcess {
  readonly pid: number;
  /** Start time in clock ticks since boot (proc(5), stat field 22): a pid alone may have been reused. */
  readonly startTicks: number;
}

export class ShimDirectory {
  readonly #root: string;

  constructor(state: string) {
    this.#root = join(state, "shims");
    mkdirSync(this.#root, { recursive: true, mode: 0o700 });
  }

  path = (shimId: ShimId): string => join(this.#root, shimId);
  socket = (shimId: ShimId): string => join(this.#root, shimId, "shim.sock");

  /** Written before the process starts, so that a daemon killed in between still finds it. */
  prepare({ shimId, namespace, runtime }: ShimRequest): void {
    const directory = this.path(shimId);
    mkdirSync(directory, { mode: 0o700, recursive: true });
    const file = join(directory, "shim.json");
    writeFileSync(`${file}.tmp`, JSON.stringify({ namespace, runtime }));
    renameSync(`${file}.tmp`, file);
  }

  list(): readonly ShimRequest[] {
    const found: ShimRequest[] = [];
    for (const name of readdirSync(this.#root)) {
      const shimId = name as ShimId;
      try {
        const { namespace, runtime } = JSON.parse(readFileSync(join(this.path(shimId), "shim.json"), "utf8"));
        found.push({ shimId, namespace: namespace as Namespace, runtime: String(runtime) });
      } catch {
        this.remove(shimId); // made by a daemon that died before it started anything
      }
    }
    return found;
  }

  /** The process that the shim said it is, if that very process still lives. */
  living(shimId: ShimId): ShimProcess | undefined {
    try {
      const { pid, startTicks } = JSON.parse(readFileSync(join(this.path(shimId), "pid"), "utf8"));
      return isLiving({ pid, startTicks }) ? { pid, startTicks } : undefined;
    } catch {
      return undefined;
    }
  }

  remove(shimId: ShimId): void {
    rmSync(this.path(shimId), { recursive: true, force: true });
  }
}

export function isLiving({ pid, startTicks }: ShimProcess): boolean {
  const stat = processStat(pid);
  return stat !== undefined && stat.startTicks === startTicks && stat.state !== "Z" && stat.state !== "X";
}
