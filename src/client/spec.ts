/**
 * The OCI runtime spec of a container made from a plain root directory: the same defaults as containerd's own
 * command line tool, so that a container behaves alike under both. Pure: reads no files.
 */

export interface OciUser {
  readonly uid: number;
  readonly gid: number;
  readonly additionalGids?: readonly number[];
}

export interface OciMount {
  readonly destination: string;
  readonly type?: string;
  readonly source?: string;
  readonly options?: readonly string[];
}

export interface OciProcess {
  readonly terminal?: boolean;
  readonly consoleSize?: { readonly height: number; readonly width: number };
  readonly user: OciUser;
  readonly args: readonly string[];
  readonly env?: readonly string[];
  readonly cwd: string;
  readonly capabilities?: Readonly<Record<string, readonly string[]>>;
  readonly rlimits?: readonly { readonly type: string; readonly hard: number; readonly soft: number }[];
  readonly noNewPrivileges?: boolean;
}

export interface OciResources {
  readonly devices?: readonly { readonly allow: boolean; readonly access: string }[];
  readonly memory?: { readonly limit?: number };
  readonly cpu?: { readonly quota?: number; readonly period?: number; readonly shares?: number };
  readonly pids?: { readonly limit: number };
}

/** The fields that berth sets; others of a bundle's config.json are carried along untouched. */
export interface OciSpec {
  readonly ociVersion: string;
  readonly process: OciProcess;
  readonly root: { readonly path: string; readonly readonly?: boolean };
  readonly hostname?: string;
  readonly mounts?: readonly OciMount[];
  readonly linux?: {
    readonly resources?: OciResources;
    readonly cgroupsPath?: string;
    readonly namespaces?: readonly { readonly type: string; readonly path?: string }[];
    readonly maskedPaths?: readonly string[];
    readonly readonlyPaths?: readonly string[];
  };
}

/** What a user may ask for on top of the defaults. */
export interface SpecWishes {
  readonly args?: readonly string[];
  /** `NAME=value`, later ones win over earlier ones and over defaults. */
  readonly env?: readonly string[];
  readonly cwd?: string;
  readonly user?: OciUser;
  readonly hostname?: string;
  readonly terminal: boolean;
  /** The window behind the terminal, so that the process never sees a size of zero. */
  readonly consoleSize?: { readonly height: number; readonly width: number };
  readonly readonlyRootfs?: boolean;
  readonly mounts?: readonly OciMount[];
  readonly memoryBytes?: number;
  /** How many processors' worth of time, such as 0.5. */
  readonly cpus?: number;
  readonly pidsLimit?: number;
}

const capabilities: readonly string[] = [
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_FSETID",
  "CAP_FOWNER",
  "CAP_MKNOD",
  "CAP_NET_RAW",
  "CAP_SETGID",
  "CAP_SETUID",
  "CAP_SETFCAP",
  "CAP_SETPCAP",
  "CAP_NET_BIND_SERVICE",
  "CAP_SYS_CHROOT",
  "CAP_KILL",
  "CAP_AUDIT_WRITE",
];

const mount = (destination: string, type: string, source: string, ...options: string[]): OciMount => ({
  destination,
  type,
  source,
  options,
});

const defaultMounts: readonly OciMount[] = [
  mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
  mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
  mount(
    "/dev/pts",
    "devpts",
    "devpts",
    "nosuid",
    "noexec",
    "newinstance",
    "ptmxmode=0666",
    "mode=0620",
    "gid=5",
  ),
  mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
  mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
  mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"),
  mount("/run", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
];

const maskedPaths: readonly string[] = [
  "/proc/acpi",
  "/proc/asound",
  "/proc/kcore",
  "/proc/keys",
  "/proc/latency_stats",
  "/proc/timer_list",
  "/proc/timer_stats",
  "/proc/sched_debug",
  "/sys/firmware",
  "/proc/scsi",
];

const readonlyPaths: readonly string[] = [
  "/proc/bus",
  "/proc/fs",
  "/proc/irq",
  "/proc/sys",
  "/proc/sysrq-trigger",
];

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/** The kernel's default accounting period for CPU quotas. */
const cpuPeriodUs = 100_000;

/** `base` with `added` on top: one entry per name, in order of first appearance. */
export function mergeEnv(base: readonly string[], added: readonly string[]): string[] {
  const byName = new Map<string, string>();
  for (const entry of [...base, ...added]) byName.set(entry.slice(0, entry.indexOf("=")), entry);
  return [...byName.values()];
}

/** Resource limits as an OCI LinuxResources; only what is wished for. */
export function resourcesOf(wishes: {
  readonly memoryBytes?: number | undefined;
  readonly cpus?: number | undefined;
  readonly cpuShares?: number | undefined;
  readonly pidsLimit?: number | undefined;
}): OciResources {
  const cpu = {
    ...(wishes.cpus === undefined
      ? {}
      : { quota: Math.max(1_000, Math.round(wishes.cpus * cpuPeriodUs)), period: cpuPeriodUs }),
    ...(wishes.cpuShares === undefined ? {} : { shares: wishes.cpuShares }),
  };
  return {
    ...(wishes.memoryBytes === undefined ? {} : { memory: { limit: wishes.memoryBytes } }),
    ...(Object.keys(cpu).length === 0 ? {} : { cpu }),
    ...(wishes.pidsLimit === undefined ? {} : { pids: { limit: wishes.pidsLimit } }),
  };
}

/** The default spec: no shared namespaces, no devices beyond the runtime's own, 14 capabilities. */
export function defaultSpec(namespace: string, id: string, rootfs: string): OciSpec {
  return {
    ociVersion: "1.0.2",
    process: {
      user: { uid: 0, gid: 0 },
      args: [],
      env: [defaultPath],
      cwd: "/",
      capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
      rlimits: [{ type: "RLIMIT_NOFILE", hard: 1024, soft: 1024 }],
      noNewPrivileges: true,
    },
    root: { path: rootfs },
    mounts: defaultMounts,
    linux: {
      resources: { devices: [{ allow: false, access: "rwm" }] },
      cgroupsPath: `/${namespace}/${id}`,
      namespaces: ["pid", "ipc", "uts", "mount", "network"].map((type) => ({ type })),
      maskedPaths,
      readonlyPaths,
    },
  };
}

/** `base` with the wishes applied; what nobody wished for stays as it is in `base`. */
export function applyWishes(base: OciSpec, wishes: SpecWishes): OciSpec {
  const { resources, ...linux } = base.linux ?? {};
  const limits = resourcesOf(wishes);
  return {
    ...base,
    process: applyToProcess(base.process, wishes),
    root: { ...base.root, ...(wishes.readonlyRootfs ? { readonly: true } : {}) },
    ...(wishes.hostname === undefined ? {} : { hostname: wishes.hostname }),
    mounts: [...(base.mounts ?? []), ...(wishes.mounts ?? [])],
    linux: {
      ...linux,
      resources: { ...resources, ...limits, ...mergedCpu(resources, limits) },
    },
  };
}

const mergedCpu = (base: OciResources | undefined, limits: OciResources): OciResources =>
  base?.cpu !== undefined && limits.cpu !== undefined ? { cpu: { ...base.cpu, ...limits.cpu } } : {};

type ProcessWishes = Pick<SpecWishes, "args" | "env" | "cwd" | "user" | "terminal" | "consoleSize">;

/** The process of a spec, or of an exec modelled on it, with the wishes applied. */
export function applyToProcess(base: OciProcess, wishes: ProcessWishes): OciProcess {
  const { terminal: _terminal, consoleSize: _size, ...rest } = base;
  const env = mergeEnv(base.env ?? [], wishes.env ?? []);
  if (wishes.terminal && !env.some((entry) => entry.startsWith("TERM="))) env.push("TERM=xterm");
  return {
    ...rest,
    ...(wishes.terminal ? { terminal: true } : {}),
    ...(wishes.terminal && wishes.consoleSize !== undefined ? { consoleSize: wishes.consoleSize } : {}),
    ...(wishes.args === undefined || wishes.args.length === 0 ? {} : { args: wishes.args }),
    env,
    ...(wishes.cwd === undefined ? {} : { cwd: wishes.cwd }),
    ...(wishes.user === undefined ? {} : { user: wishes.user }),
  };
}
