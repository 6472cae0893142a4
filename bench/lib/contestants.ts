/**
 * The daemons that are compared, under the same OCI runtime and driven by the same client. Where berthd is not
 * built, containerd runs against itself: what the ratios show then is the noise of the machine.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { Options } from "../../src/wire/gen/containerd/runc/v1/runc.js";
import type { Any } from "../../src/wire/gen/google/protobuf/any.js";
import { type Daemon, type DaemonKind, haveBerthd, startDaemon } from "../../test/support/daemon.js";
import { commandLine } from "../../test/support/proc.js";
import { createWorkspace, type Workspace } from "../../test/support/workspace.js";

export type RuntimeName = "runc" | "crun";

export interface Contestant {
  readonly name: string;
  readonly daemon: Daemon;
  readonly namespace: string;
  /** containerd.runc.v1.Options that choose the OCI runtime; undefined for the default, runc. */
  readonly runtimeOptions: Any | undefined;
  /** The shims that it runs now. */
  shims(): number[];
}

export interface Entry {
  readonly name: string;
  readonly kind: DaemonKind;
  readonly config?: string;
}

export const reference = "containerd";

export function entries(self: boolean): Entry[] {
  const rival: Entry =
    self || !haveBerthd()
      ? { name: "containerd (again)", kind: "containerd" }
      : { name: "berthd", kind: "berthd" };
  return [{ name: reference, kind: "containerd" }, rival];
}

/** crun refuses hosts that mount cgroup v1 and v2 side by side, so it sees them without the v2 one. */
const hybridMount = "/sys/fs/cgroup/unified";
const crunLauncher = ["unshare", "-m", "sh", "-c", `umount ${hybridMount}; exec "$@"`, "sh"];

export interface Arena {
  readonly workspace: Workspace;
  readonly contestants: readonly Contestant[];
  dispose(): Promise<void>;
}

/** Fresh daemons, one for each entry; the caller disposes of the arena. */
export async function openArena(list: readonly Entry[], runtime: RuntimeName): Promise<Arena> {
  const workspace = createWorkspace();
  const launcher = runtime === "crun" && existsSync(hybridMount) ? { launcher: crunLauncher } : {};
  const runtimeOptions =
    runtime === "runc"
      ? undefined
      : {
          typeUrl: "containerd.runc.v1.Options",
          value: Buffer.from(Options.encode(Options.fromPartial({ binaryName: runtime })).finish()),
        };
  const contestants: Contestant[] = [];
  // State lies in memory, as /run does on a real machine; what is durable (root) stays on the disk.
  const states = join(workspace.directory, "states");
  mkdirSync(states);
  execFileSync("mount", ["-t", "tmpfs", "-o", "mode=0711", "berth-bench", states]);
  const dispose = async (): Promise<void> => {
    for (const contestant of contestants) await contestant.daemon.dispose();
    execFileSync("umount", ["--lazy", states]);
    await workspace.dispose();
  };
  try {
    for (const entry of list) {
      const config = entry.config === undefined ? {} : { config: entry.config };
      const daemon = await startDaemon({
        kind: entry.kind,
        workspace,
        state: join(states, String(contestants.length)),
        // Logging at debug level would be measured too.
        logLevel: "warn",
        ...launcher,
        ...config,
      });
      contestants.push({
        name: entry.name,
        daemon,
        namespace: workspace.newNamespace(),
        runtimeOptions,
        shims: () =>
          workspace.processes().filter((pid) => {
            const line = commandLine(pid);
            return /shim/.test(line.split(" ").slice(0, 3).join(" ")) && isOf(daemon, pid, line);
          }),
      });
    }
  } catch (error) {
    await dispose();
    throw error;
  }
  return { workspace, contestants, dispose };
}

/** A shim names its daemon's socket or a directory of its state on the command line. */
const isOf = (daemon: Daemon, pid: number, line: string): boolean =>
  pid !== daemon.pid && (line.includes(daemon.address) || line.includes(daemon.state));

/** Runs `work` for each contestant, in turn from either end, so that neither always goes first. */
export async function alternate(
  arena: Arena,
  rounds: number,
  work: (contestant: Contestant, round: number) => Promise<void>,
): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    const order = round % 2 === 0 ? arena.contestants : [...arena.contestants].reverse();
    for (const contestant of order) await work(contestant, round);
  }
}
