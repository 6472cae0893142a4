/**
 * Where a process's cgroups are: one directory per controller (v1), one for all (v2), or v1 directories beside
 * a v2 one that has no controllers (hybrid). Paths come from /proc/PID/cgroup and the mount table, because
 * controllers may differ and a hierarchy may be mounted from a sub-directory.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type MountPoint, parseMountInfo } from "../../native/mount.js";

export interface CgroupPaths {
  readonly version: "v1" | "v2";
  /** v1: directory by controller (`memory`, `cpuacct`, `name=systemd`, …); empty for v2. */
  readonly controllers: Readonly<Record<string, string>>;
  /** The v2 directory; in hybrid mode it has no controllers. */
  readonly unified: string | undefined;
  /** Mount points of the hierarchies: these directories themselves belong to the machine. */
  readonly hierarchyRoots: readonly string[];
}

/** Where the files are; tests point it at fixtures. */
export interface CgroupSources {
  /** Directory that stands for /proc. */
  readonly procRoot: string;
  /** Put before every path that is answered; "" on a real machine. */
  readonly pathPrefix: string;
}

const realSources: CgroupSources = { procRoot: "/proc", pathPrefix: "" };

/**
 * The cgroups of a live process; undefined when it is gone. Of a zombie the kernel says that it is in the root of
 * each v1 hierarchy: such directories are nobody's `own`.
 */
export function locateCgroups(pid: number, sources: CgroupSources = realSources): CgroupPaths | undefined {
  let memberships: string;
  try {
    memberships = readFileSync(join(sources.procRoot, String(pid), "cgroup"), "latin1");
  } catch {
    return undefined;
  }
  const mounts = sources === realSources ? hierarchyMounts() : readHierarchyMounts(sources.procRoot);
  return resolveCgroups(parseMemberships(memberships), mounts, sources.pathPrefix);
}

const readHierarchyMounts = (procRoot: string): MountPoint[] =>
  parseMountInfo(readFileSync(join(procRoot, "self", "mountinfo"), "utf8")).filter(({ type }) =>
    type.startsWith("cgroup"),
  );

/** Hierarchies are mounted when a machine boots, but a mount table with hundreds of containers is long to read. */
const mountsTrustMs = 10_000;
let known: { readonly mounts: MountPoint[]; readonly readAt: number } | undefined;

function hierarchyMounts(): MountPoint[] {
  if (known === undefined || performance.now() - known.readAt > mountsTrustMs) {
    known = { mounts: readHierarchyMounts("/proc"), readAt: performance.now() };
  }
  return known.mounts;
}

export interface Membership {
  /** Controllers of the hierarchy; empty for v2. */
  readonly controllers: readonly string[];
  readonly path: string;
}

/** Parses /proc/PID/cgroup. A path may hold colons; only the first two separate. */
export function parseMemberships(text: string): Membership[] {
  const memberships: Membership[] = [];
  for (const line of text.split("\n")) {
    const match = /^\d+:([^:]*):(.*)$/.exec(line);
    if (match === null) continue;
    const [, names = "", path = "/"] = match;
    memberships.push({ controllers: names === "" ? [] : names.split(","), path });
  }
  return memberships;
}

/** Joins memberships with the hierarchies that are mounted here; those that are not are left out. */
export function resolveCgroups(
  memberships: readonly Membership[],
  mounts: readonly MountPoint[],
  pathPrefix = "",
): CgroupPaths {
  const controllers: Record<string, string> = {};
  const hierarchyRoots: string[] = [];
  let unified: string | undefined;
  for (const { controllers: names, path } of memberships) {
    const mount = mounts.find((candidate) => mountsHierarchy(candidate, names) && holds(candidate, path));
    if (mount === undefined) continue;
    const below = mount.root === "/" ? path : path.slice(mount.root.length);
    const directory = join(pathPrefix, mount.target, below);
    hierarchyRoots.push(join(pathPrefix, mount.target));
    if (names.length === 0) unified = directory.replace(/(.)\/$/, "$1");
    for (const name of names) controllers[name] = directory.replace(/(.)\/$/, "$1");
  }
  const hasController = Object.keys(controllers).some((name) => !name.startsWith("name="));
  return { version: hasController ? "v1" : "v2", controllers, unified, hierarchyRoots };
}

const mountsHierarchy = ({ type, superOptions }: MountPoint, names: readonly string[]): boolean =>
  names.length === 0
    ? type === "cgroup2"
    : type === "cgroup" && names.every((name) => superOptions.includes(name));

/** Whether the mount shows that path; a hierarchy mounted from a sub-directory shows only what is below it. */
const holds = ({ root }: MountPoint, path: string): boolean =>
  root === "/" || path === root || path.startsWith(`${root}/`);

/** The directory whose `cgroup.procs` names the container's processes; undefined when there is none of its own. */
export function processDirectory(cgroups: CgroupPaths): string | undefined {
  if (cgroups.version === "v2") return own(cgroups, cgroups.unified);
  const order = ["freezer", "pids", "memory", "devices", "cpuacct", "cpu", "blkio", "name=systemd"];
  for (const name of order) {
    const directory = own(cgroups, cgroups.controllers[name]);
    if (directory !== undefined) return directory;
  }
  return undefined;
}

/** `directory` unless it is a hierarchy's root: acting on that would act on the whole machine. */
export function own(cgroups: CgroupPaths, directory: string | undefined): string | undefined {
  return directory === undefined || cgroups.hierarchyRoots.includes(directory) ? undefined : directory;
}

/** The same without hierarchies' roots. */
export function ownOnly(cgroups: CgroupPaths): CgroupPaths {
  const mine = Object.entries(cgroups.controllers).filter(
    ([, directory]) => own(cgroups, directory) !== undefined,
  );
  return { ...cgroups, controllers: Object.fromEntries(mine), unified: own(cgroups, cgroups.unified) };
}
