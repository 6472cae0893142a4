/** cgroup v2 counters as containerd's io.containerd.cgroups.v2.Metrics. An absent controller contributes nothing. */
import {
  type CPUStat,
  type HugeTlbStat,
  type IOEntry,
  type MemoryEvents,
  MemoryStat,
  Metrics,
  type PidsStat,
  type PSIData,
  type PSIStats,
  type RdmaStat,
} from "../../wire/gen/io/containerd/cgroups/v2/cgroups.js";
import { fileNames, parseCount, parseKeyValues, readCgroupFile } from "./files.js";
import type { CgroupPaths } from "./locate.js";
import { parseRdma } from "./stats-v1.js";

/** Reads all counters of a container's v2 cgroup. */
export function readStatsV2({ unified: directory }: CgroupPaths): Metrics {
  const io = readCgroupFile(directory, "io.stat");
  return Metrics.fromPartial({
    pids: pids(directory),
    cpu: cpu(directory),
    memory: memory(directory),
    rdma: rdma(directory),
    io: io === undefined ? undefined : { usage: parseIo(io), psi: pressure(directory, "io.pressure") },
    hugetlb: hugetlb(directory),
    memoryEvents: memoryEvents(directory),
  });
}

function pids(directory: string | undefined): PidsStat | undefined {
  const current = parseCount(readCgroupFile(directory, "pids.current"));
  if (current === undefined) return undefined;
  return { current, limit: parseCount(readCgroupFile(directory, "pids.max"), 0n) ?? 0n };
}

function cpu(directory: string | undefined): CPUStat | undefined {
  const text = readCgroupFile(directory, "cpu.stat");
  if (text === undefined) return undefined;
  const counts = parseKeyValues(text);
  const count = (name: string): bigint => counts.get(name) ?? 0n;
  return {
    usageUsec: count("usage_usec"),
    userUsec: count("user_usec"),
    systemUsec: count("system_usec"),
    nrPeriods: count("nr_periods"),
    nrThrottled: count("nr_throttled"),
    throttledUsec: count("throttled_usec"),
    psi: pressure(directory, "cpu.pressure"),
    nrBursts: count("nr_bursts"),
    burstUsec: count("burst_usec"),
  };
}

const memoryNames = [
  ["anon", "anon"],
  ["file", "file"],
  ["kernelStack", "kernel_stack"],
  ["slab", "slab"],
  ["sock", "sock"],
  ["shmem", "shmem"],
  ["fileMapped", "file_mapped"],
  ["fileDirty", "file_dirty"],
  ["fileWriteback", "file_writeback"],
  ["anonThp", "anon_thp"],
  ["inactiveAnon", "inactive_anon"],
  ["activeAnon", "active_anon"],
  ["inactiveFile", "inactive_file"],
  ["activeFile", "active_file"],
  ["unevictable", "unevictable"],
  ["slabReclaimable", "slab_reclaimable"],
  ["slabUnreclaimable", "slab_unreclaimable"],
  ["pgfault", "pgfault"],
  ["pgmajfault", "pgmajfault"],
  ["workingsetRefault", "workingset_refault"],
  ["workingsetActivate", "workingset_activate"],
  ["workingsetNodereclaim", "workingset_nodereclaim"],
  ["pgrefill", "pgrefill"],
  ["pgscan", "pgscan"],
  ["pgsteal", "pgsteal"],
  ["pgactivate", "pgactivate"],
  ["pgdeactivate", "pgdeactivate"],
  ["pglazyfree", "pglazyfree"],
  ["pglazyfreed", "pglazyfreed"],
  ["thpFaultAlloc", "thp_fault_alloc"],
  ["thpCollapseAlloc", "thp_collapse_alloc"],
] as const satisfies ReadonlyArray<readonly [keyof MemoryStat, string]>;

function memory(directory: string | undefined): MemoryStat | undefined {
  const text = readCgroupFile(directory, "memory.stat");
  if (text === undefined) return undefined;
  const counts = parseKeyValues(text);
  const fields: Partial<Record<(typeof memoryNames)[number][0], bigint>> = {};
  // Linux 5.9 split the workingset counters in two; their sum is what the old name meant.
  const split = (name: string): bigint =>
    (counts.get(`${name}_anon`) ?? 0n) + (counts.get(`${name}_file`) ?? 0n);
  for (const [field, name] of memoryNames) fields[field] = counts.get(name) ?? split(name);
  const count = (name: string): bigint => parseCount(readCgroupFile(directory, name)) ?? 0n;
  return MemoryStat.fromPartial({
    ...fields,
    usage: count("memory.current"),
    usageLimit: count("memory.max"),
    swapUsage: count("memory.swap.current"),
    swapLimit: count("memory.swap.max"),
    maxUsage: count("memory.peak"),
    swapMaxUsage: count("memory.swap.peak"),
    psi: pressure(directory, "memory.pressure"),
  });
}

function memoryEvents(directory: string | undefined): MemoryEvents | undefined {
  const text = readCgroupFile(directory, "memory.events");
  if (text === undefined) return undefined;
  const counts = parseKeyValues(text);
  const count = (name: string): bigint => counts.get(name) ?? 0n;
  return {
    low: count("low"),
    high: count("high"),
    max: count("max"),
    oom: count("oom"),
    oomKill: count("oom_kill"),
    oomGroupKill: count("oom_group_kill"),
  };
}

/** Parses lines such as `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`. */
export function parseIo(text: string): IOEntry[] {
  const entries: IOEntry[] = [];
  for (const line of text.split("\n")) {
    const [device, ...fields] = line.split(" ");
    const match = /^(\d+):(\d+)$/.exec(device ?? "");
    if (match === null) continue;
    const counts = parseKeyValues(fields.map((field) => field.replace("=", " ")).join("\n"));
    const count = (name: string): bigint => counts.get(name) ?? 0n;
    entries.push({
      major: BigInt(match[1] ?? 0),
      minor: BigInt(match[2] ?? 0),
      rbytes: count("rbytes"),
      wbytes: count("wbytes"),
      rios: count("rios"),
      wios: count("wios"),
    });
  }
  return entries;
}

/** Pressure stall information; undefined when the kernel was started without it. */
function pressure(directory: string | undefined, name: string): PSIStats | undefined {
  const text = readCgroupFile(directory, name);
  return text === undefined ? undefined : parsePressure(text);
}

/** Parses lines such as `some avg10=0.10 avg60=0.00 avg300=0.00 total=123`. */
export function parsePressure(text: string): PSIStats | undefined {
  const lines = new Map<string, PSIData>();
  for (const line of text.split("\n")) {
    const match = /^(some|full) avg10=([\d.]+) avg60=([\d.]+) avg300=([\d.]+) total=(\d+)/.exec(line);
    if (match === null) continue;
    const [, kind = "", avg10, avg60, avg300, total = "0"] = match;
    lines.set(kind, {
      avg10: Number(avg10),
      avg60: Number(avg60),
      avg300: Number(avg300),
      total: BigInt(total),
    });
  }
  return lines.size === 0 ? undefined : { some: lines.get("some"), full: lines.get("full") };
}

function hugetlb(directory: string | undefined): HugeTlbStat[] {
  const sizes = fileNames(directory).flatMap((name) => /^hugetlb\.([^.]+)\.current$/.exec(name)?.[1] ?? []);
  return sizes.map((pagesize) => ({
    current: parseCount(readCgroupFile(directory, `hugetlb.${pagesize}.current`)) ?? 0n,
    max: parseCount(readCgroupFile(directory, `hugetlb.${pagesize}.max`)) ?? 0n,
    pagesize,
    failcnt: parseKeyValues(readCgroupFile(directory, `hugetlb.${pagesize}.events`)).get("max") ?? 0n,
  }));
}

function rdma(directory: string | undefined): RdmaStat | undefined {
  const current = readCgroupFile(directory, "rdma.current");
  if (current === undefined) return undefined;
  return { current: parseRdma(current), limit: parseRdma(readCgroupFile(directory, "rdma.max")) };
}
