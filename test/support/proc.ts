/**
 * What /proc says about processes and mounts: who belongs to a directory tree of ours, how many descriptors
 * they hold, what memory and CPU time they use. Reads only; a process may vanish between any two reads.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

const read = (path: string): string | undefined => {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return undefined; // Gone, or not ours to read.
  }
};

export function allPids(): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

export interface ProcessFacts {
  readonly pid: number;
  readonly parent: number;
  readonly state: string;
  /** Clock ticks since boot at which it started: with the pid, names a process for good. */
  readonly startTicks: string;
  /** Clock ticks (100 per second) of user and system time, children that were waited for not included. */
  readonly cpuTicks: number;
}

/** Undefined when there is no such process any more. */
export function processFacts(pid: number): ProcessFacts | undefined {
  const text = read(`/proc/${pid}/stat`);
  if (text === undefined) return undefined;
  const rest = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return {
    pid,
    parent: Number(rest[1]),
    state: rest[0] ?? "?",
    startTicks: rest[19] ?? "",
    cpuTicks: Number(rest[11]) + Number(rest[12]),
  };
}

/** True while the process runs; a zombie counts as gone. */
export function isAlive(pid: number): boolean {
  const facts = processFacts(pid);
  return facts !== undefined && facts.state !== "Z" && facts.state !== "X";
}

export const commandLine = (pid: number): string =>
  (read(`/proc/${pid}/cmdline`) ?? "").replaceAll("\0", " ").trim();

/** How many descriptors the process has open; 0 when it is gone. */
export function countFds(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    return 0;
  }
}

/** Where each descriptor of the process points, sorted: what to print when a count grew. */
export function listFds(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`)
      .map((fd) => {
        try {
          return readlinkSync(`/proc/${pid}/fd/${fd}`);
        } catch {
          return "(closed)";
        }
      })
      .sort();
  } catch {
    return [];
  }
}

/** Proportional set size in bytes; 0 when the process is gone. */
export function pssBytes(pid: number): number {
  const match = /^Pss:\s+(\d+) kB/m.exec(read(`/proc/${pid}/smaps_rollup`) ?? "");
  return match === null ? 0 : Number(match[1]) * 1024;
}

/** The process itself and everything below it, parents before children. */
export function withDescendants(roots: readonly number[]): number[] {
  const childrenOf = new Map<number, number[]>();
  for (const pid of allPids()) {
    const facts = processFacts(pid);
    if (facts === undefined) continue;
    const siblings = childrenOf.get(facts.parent);
    if (siblings === undefined) childrenOf.set(facts.parent, [pid]);
    else siblings.push(pid);
  }
  const found = new Set<number>();
  const queue = [...roots];
  for (let pid = queue.shift(); pid !== undefined; pid = queue.shift()) {
    if (found.has(pid)) continue;
    found.add(pid);
    queue.push(...(childrenOf.get(pid) ?? []));
  }
  return [...found];
}

/** Processes of ours: their command line, or the mount that is their root directory, lies under `directory`. */
export function processesUnder(directory: string): number[] {
  return allPids().filter((pid) => {
    if (pid === process.pid) return false;
    if ((read(`/proc/${pid}/cmdline`) ?? "").includes(directory)) return true;
    return rootMountSource(pid).includes(directory);
  });
}

/** The line of mountinfo that is the process's `/`: a container's names the rootfs it was made from. */
function rootMountSource(pid: number): string {
  for (const line of (read(`/proc/${pid}/mountinfo`) ?? "").split("\n")) {
    if (line.split(" ")[4] === "/") return line;
  }
  return "";
}

/** Mount points at or under `directory` in this mount namespace, deepest first. */
export function mountsUnder(directory: string): string[] {
  return (read("/proc/self/mountinfo") ?? "")
    .split("\n")
    .map((line) => (line.split(" ")[4] ?? "").replaceAll("\\040", " "))
    .filter((point) => point === directory || point.startsWith(`${directory}/`))
    .sort((a, b) => b.length - a.length);
}

/** Ends these processes with SIGKILL; those that are gone already are fine. */
export function killAll(pids: readonly number[]): void {
  for (const pid of pids) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // Ended by itself.
    }
  }
}
