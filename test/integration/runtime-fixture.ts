/**
 * What the runtime tests share: a busybox root file system, specs, and a driver whose containers, cgroups and
 * files are gone when a test is over. Needs root, runc and busybox.
 */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmdirSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger } from "../../src/core/logger.js";
import { hasCode } from "../../src/native/libc.js";
import { signalGroup } from "../../src/native/process.js";
import { becomeSubreaper, createReaper, type Reaper, type WaitStatus } from "../../src/native/reaper.js";
import { bundlePath, createBundle } from "../../src/runtime/bundle.js";
import { createOciRuntime, type OciRuntime } from "../../src/runtime/oci-runtime.js";
import { resolveBinary } from "../../src/runtime/runtime-command.js";
import { parseSpec, type SpecFacts } from "../../src/runtime/spec.js";

export const installed = (binary: string): boolean => {
  try {
    return existsSync(resolveBinary(binary));
  } catch {
    return false;
  }
};

const missing = [
  ...(process.getuid?.() === 0 ? [] : ["root"]),
  ...["runc", "busybox"].filter((binary) => !installed(binary)),
];
/** Why these tests cannot run here; "" when they can. */
export const unavailable = missing.length === 0 ? "" : `runtime tests need ${missing.join(", ")}`;
if (unavailable !== "") console.warn(`SKIPPED: ${unavailable}`);

export interface SpecOptions {
  readonly args: readonly string[];
  readonly terminal?: boolean;
  readonly hooks?: Record<string, unknown>;
  readonly memoryLimit?: number;
  readonly pidsLimit?: number;
  readonly sharePidNamespace?: boolean;
}

export interface Fixture {
  readonly directory: string;
  readonly rootfs: string;
  readonly reaper: Reaper;
  readonly runtime: OciRuntime;
  /** A bundle of a fresh id, not created in the runtime yet. */
  bundle(options: SpecOptions): TestContainer;
  close(): Promise<void>;
}

export interface TestContainer {
  readonly id: string;
  readonly bundle: string;
  readonly pidFile: string;
  readonly spec: SpecFacts;
  readonly cgroupsPath: string;
}

let containers = 0;

export function openFixture(binary = "runc"): Fixture {
  const directory = mkdtempSync(join(tmpdir(), "berth-runtime-"));
  const rootfs = join(directory, "image");
  for (const name of ["bin", "proc", "dev", "tmp", "sys"]) mkdirSync(join(rootfs, name), { recursive: true });
  copyFileSync(resolveBinary("busybox"), join(rootfs, "bin", "busybox"));
  for (const name of ["sh", "sleep", "cat", "echo", "true", "dd", "ps", "stty", "tail", "head", "kill"])
    symlinkSync("busybox", join(rootfs, "bin", name));
  becomeSubreaper();
  const reaper = createReaper({ safetyIntervalMs: 500 });
  const root = join(directory, "runtime", "test");
  mkdirSync(root, { recursive: true });
  const runtime = createOciRuntime({
    binary,
    root,
    systemdCgroup: false,
    spawn: reaper.spawn,
    killGroup: signalGroup,
    log: silentLogger,
  });
  const made: TestContainer[] = [];
  return {
    directory,
    rootfs,
    reaper,
    runtime,
    bundle(options) {
      const id = `c${process.pid}-${containers++}`;
      const cgroupsPath = `/berth-test-${process.pid}/${id}`;
      const bundle = bundlePath(directory, "test", id);
      const config = Buffer.from(JSON.stringify(specOf(rootfs, cgroupsPath, options)));
      createBundle({ path: bundle, config });
      const container = {
        id,
        bundle,
        pidFile: join(bundle, "init.pid"),
        spec: parseSpec(config),
        cgroupsPath,
      };
      made.push(container);
      return container;
    },
    async close() {
      for (const { id, bundle } of made)
        await runtime.delete({ id, bundle: existsSync(bundle) ? bundle : directory, force: true });
      reaper.close();
      rmSync(directory, { recursive: true, force: true });
      for (const controller of readdirSync("/sys/fs/cgroup"))
        removeParent(`/sys/fs/cgroup/${controller}/berth-test-${process.pid}`);
    },
  };
}

function removeParent(path: string): void {
  if (!existsSync(path)) return;
  try {
    rmdirSync(path);
  } catch (error) {
    // Where no cgroup2 is mounted, crun leaves plain directories in the tmpfs beneath.
    if (!hasCode(error, "ENOTEMPTY")) throw error;
    rmSync(path, { recursive: true });
  }
}

export const nullStdio = ["null", "null", "null"] as const;

/** Creates the container; answers init's pid and its exit. */
export async function createContainer(
  fixture: Fixture,
  { id, bundle, pidFile }: TestContainer,
): Promise<{ readonly pid: number; readonly exited: Promise<WaitStatus> }> {
  const since = fixture.reaper.mark();
  const { pid } = await fixture.runtime.create({ id, bundle, pidFile, stdio: nullStdio });
  return { pid, exited: new Promise((resolve) => fixture.reaper.watch(pid, resolve, since)) };
}

function specOf(rootfs: string, cgroupsPath: string, options: SpecOptions): Record<string, unknown> {
  const capabilities = ["CAP_KILL", "CAP_CHOWN", "CAP_DAC_OVERRIDE"];
  const namespaces = [
    "mount",
    "ipc",
    "uts",
    "network",
    ...(options.sharePidNamespace === true ? [] : ["pid"]),
  ];
  return {
    ociVersion: "1.0.2",
    process: {
      terminal: options.terminal ?? false,
      user: { uid: 0, gid: 0 },
      args: options.args,
      env: ["PATH=/bin"],
      cwd: "/",
      capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
      noNewPrivileges: true,
    },
    root: { path: rootfs },
    hostname: "test",
    mounts: [
      { destination: "/proc", type: "proc", source: "proc" },
      { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "mode=755", "size=65536k"] },
      {
        destination: "/dev/pts",
        type: "devpts",
        source: "devpts",
        options: ["newinstance", "ptmxmode=0666"],
      },
    ],
    ...(options.hooks === undefined ? {} : { hooks: options.hooks }),
    linux: {
      cgroupsPath,
      namespaces: namespaces.map((type) => ({ type })),
      resources: {
        devices: [{ allow: false, access: "rwm" }],
        ...(options.memoryLimit === undefined
          ? {}
          : { memory: { limit: options.memoryLimit, swap: options.memoryLimit } }),
        ...(options.pidsLimit === undefined ? {} : { pids: { limit: options.pidsLimit } }),
      },
    },
  };
}
