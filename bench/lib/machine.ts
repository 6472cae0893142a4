/** What the numbers were measured on: hardware, kernel, versions, and how busy the machine was besides. */
import { execFileSync } from "node:child_process";
import { cpus, loadavg, release, totalmem } from "node:os";

export interface MachineFacts {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly kernel: string;
  readonly node: string;
  readonly versions: Readonly<Record<string, string>>;
  /** 1, 5 and 15 minutes, before the first bench. */
  readonly loadAtStart: readonly number[];
  readonly at: string;
}

const firstLine = (command: string, args: readonly string[]): string => {
  try {
    return execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] })
      .trim()
      .split("\n")[0] as string;
  } catch {
    return "not installed";
  }
};

export const machineFacts = (): MachineFacts => ({
  cpu: cpus()[0]?.model ?? "unknown",
  cores: cpus().length,
  memoryGiB: Math.round(totalmem() / 2 ** 30),
  kernel: release(),
  node: process.version,
  versions: {
    containerd: firstLine("containerd", ["--version"]).replace(/^containerd \S+ /, ""),
    runc: firstLine("runc", ["--version"]),
    crun: firstLine("crun", ["--version"]),
    berth: firstLine("git", ["rev-parse", "--short", "HEAD"]),
  },
  loadAtStart: loadavg().map((value) => Math.round(value * 100) / 100),
  at: new Date().toISOString(),
});
