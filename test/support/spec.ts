/** OCI runtime specs for raw-client tests: the least that runc and crun accept, as JSON values. */
import type { Any } from "../../src/wire/gen/google/protobuf/any.js";

export const specTypeUrl = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
export const processTypeUrl = "types.containerd.io/opencontainers/runtime-spec/1/Process";
export const resourcesTypeUrl = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";

export interface SpecOptions {
  readonly rootfs: string;
  readonly args: readonly string[];
  /** `/<namespace>/<id>` as ctr does it; undefined leaves the choice to the runtime. */
  readonly cgroupsPath?: string;
  readonly terminal?: boolean;
  readonly env?: readonly string[];
  readonly cwd?: string;
  readonly user?: { readonly uid: number; readonly gid: number };
  readonly memoryLimitBytes?: number;
  readonly readonlyRoot?: boolean;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Kernel namespaces; pid, ipc, uts and mount when not given. */
  readonly linuxNamespaces?: readonly string[];
}

const capabilities = ["CAP_KILL", "CAP_SETUID", "CAP_SETGID", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER"];
const defaultPath = "PATH=/bin:/usr/bin";

export interface ProcessSpecOptions {
  readonly args: readonly string[];
  readonly terminal?: boolean;
  readonly env?: readonly string[];
  readonly cwd?: string;
  readonly user?: { readonly uid: number; readonly gid: number };
}

export function processSpec(options: ProcessSpecOptions): Record<string, unknown> {
  return {
    terminal: options.terminal ?? false,
    user: options.user ?? { uid: 0, gid: 0 },
    args: options.args,
    env: [defaultPath, ...(options.env ?? [])],
    cwd: options.cwd ?? "/",
    capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
    noNewPrivileges: true,
  };
}

export function containerSpec(options: SpecOptions): Record<string, unknown> {
  const memory =
    options.memoryLimitBytes === undefined ? {} : { memory: { limit: options.memoryLimitBytes } };
  return {
    ociVersion: "1.0.2",
    process: processSpec(options),
    root: { path: options.rootfs, readonly: options.readonlyRoot ?? true },
    mounts: [
      { destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "noexec", "nodev"] },
      {
        destination: "/dev",
        type: "tmpfs",
        source: "tmpfs",
        options: ["nosuid", "strictatime", "mode=755", "size=65536k"],
      },
      {
        destination: "/dev/pts",
        type: "devpts",
        source: "devpts",
        options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
      },
      { destination: "/tmp", type: "tmpfs", source: "tmpfs", options: ["nosuid", "nodev", "size=16m"] },
    ],
    annotations: options.annotations ?? {},
    linux: {
      namespaces: (options.linuxNamespaces ?? ["pid", "ipc", "uts", "mount"]).map((type) => ({ type })),
      ...(options.cgroupsPath === undefined ? {} : { cgroupsPath: options.cgroupsPath }),
      resources: { ...memory },
    },
  };
}

/** JSON under a type URL, as Go clients send specs. */
export const jsonAny = (typeUrl: string, value: unknown): Any => ({
  typeUrl,
  value: Buffer.from(JSON.stringify(value)),
});

export const specAny = (options: SpecOptions): Any => jsonAny(specTypeUrl, containerSpec(options));
export const processAny = (options: ProcessSpecOptions): Any => jsonAny(processTypeUrl, processSpec(options));
