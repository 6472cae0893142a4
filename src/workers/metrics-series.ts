/**
 * Which time series a container's counters become: containerd's names, units and labels, so that dashboards
 * made for it work. Everything is a gauge, as containerd has it.
 */
import type { Metrics as MetricsV1 } from "../wire/gen/io/containerd/cgroups/v1/cgroups.js";
import type { Metrics as MetricsV2 } from "../wire/gen/io/containerd/cgroups/v2/cgroups.js";

export interface Sample {
  readonly value: bigint;
  /** Beyond container_id, namespace and runtime. */
  readonly labels?: Readonly<Record<string, string>>;
}

export interface Series<M> {
  /** Without the prefix `container_`; with the unit. */
  readonly name: string;
  readonly help: string;
  readonly read: (metrics: M) => readonly Sample[];
}

const one = (value: bigint | undefined): readonly Sample[] => (value === undefined ? [] : [{ value }]);

type Values<T> = { [K in keyof T]: T[K] extends bigint ? K : never }[keyof T] & string;

type V1Memory = NonNullable<MetricsV1["memory"]>;
type V1Entry = "usage" | "swap" | "kernel" | "kernelTcp";

const v1MemoryFields: ReadonlyArray<readonly [string, Values<V1Memory>]> = [
  ["cache", "cache"],
  ["rss", "rss"],
  ["rss_huge", "rssHuge"],
  ["mapped_file", "mappedFile"],
  ["dirty", "dirty"],
  ["writeback", "writeback"],
  ["pgpgin", "pgPgIn"],
  ["pgpgout", "pgPgOut"],
  ["pgfault", "pgFault"],
  ["pgmajfault", "pgMajFault"],
  ["inactive_anon", "inactiveAnon"],
  ["active_anon", "activeAnon"],
  ["inactive_file", "inactiveFile"],
  ["active_file", "activeFile"],
  ["unevictable", "unevictable"],
  ["hierarchical_memory_limit", "hierarchicalMemoryLimit"],
  ["hierarchical_memsw_limit", "hierarchicalSwapLimit"],
  ["total_cache", "totalCache"],
  ["total_rss", "totalRss"],
  ["total_rss_huge", "totalRssHuge"],
  ["total_mapped_file", "totalMappedFile"],
  ["total_dirty", "totalDirty"],
  ["total_writeback", "totalWriteback"],
  ["total_pgpgin", "totalPgPgIn"],
  ["total_pgpgout", "totalPgPgOut"],
  ["total_pgfault", "totalPgFault"],
  ["total_pgmajfault", "totalPgMajFault"],
  ["total_inactive_anon", "totalInactiveAnon"],
  ["total_active_anon", "totalActiveAnon"],
  ["total_inactive_file", "totalInactiveFile"],
  ["total_active_file", "totalActiveFile"],
  ["total_unevictable", "totalUnevictable"],
];

const v1Entries: ReadonlyArray<readonly [string, V1Entry]> = [
  ["usage", "usage"],
  ["swap", "swap"],
  ["kernel", "kernel"],
  ["kerneltcp", "kernelTcp"],
];

const v1Blkio = [
  ["blkio_io_service_bytes_recursive_bytes", "ioServiceBytesRecursive"],
  ["blkio_io_serviced_recursive_total", "ioServicedRecursive"],
  ["blkio_io_queued_recursive_total", "ioQueuedRecursive"],
  ["blkio_io_service_time_recursive_total", "ioServiceTimeRecursive"],
  ["blkio_io_merged_recursive_total", "ioMergedRecursive"],
  ["blkio_io_time_recursive_total", "ioTimeRecursive"],
  ["blkio_sectors_recursive_total", "sectorsRecursive"],
] as const;

export const seriesV1: readonly Series<MetricsV1>[] = [
  { name: "cpu_total_nanoseconds", help: "The total cpu time", read: (m) => one(m.cpu?.usage?.total) },
  {
    name: "cpu_kernel_nanoseconds",
    help: "The total kernel cpu time",
    read: (m) => one(m.cpu?.usage?.kernel),
  },
  { name: "cpu_user_nanoseconds", help: "The total user cpu time", read: (m) => one(m.cpu?.usage?.user) },
  {
    name: "per_cpu_nanoseconds",
    help: "The total cpu time per cpu",
    read: (m) => (m.cpu?.usage?.perCpu ?? []).map((value, cpu) => ({ value, labels: { cpu: String(cpu) } })),
  },
  {
    name: "cpu_throttle_periods_total",
    help: "The total cpu throttle periods",
    read: (m) => one(m.cpu?.throttling?.periods),
  },
  {
    name: "cpu_throttled_periods_total",
    help: "The total cpu throttled periods",
    read: (m) => one(m.cpu?.throttling?.throttledPeriods),
  },
  {
    name: "cpu_throttled_time_nanoseconds",
    help: "The total cpu throttled time",
    read: (m) => one(m.cpu?.throttling?.throttledTime),
  },
  { name: "pids_current", help: "The current number of pids", read: (m) => one(m.pids?.current) },
  {
    name: "pids_limit",
    help: "The limit to the number of pids allowed, 0 for none",
    read: (m) => one(m.pids?.limit),
  },
  ...(["usage_bytes", "failcnt_total", "max_bytes"] as const).map((suffix): Series<MetricsV1> => {
    const field = suffix === "usage_bytes" ? "usage" : suffix === "max_bytes" ? "max" : "failcnt";
    return {
      name: `hugetlb_${suffix}`,
      help: `The hugetlb ${field}`,
      read: (m) => m.hugetlb.map((entry) => ({ value: entry[field], labels: { page: entry.pagesize } })),
    };
  }),
  ...v1Blkio.map(
    ([name, field]): Series<MetricsV1> => ({
      name,
      help: `The ${name.replace(/^blkio_|_(bytes|total)$/g, "").replaceAll("_", " ")} of block devices`,
      read: (m) =>
        (m.blkio?.[field] ?? []).map(({ op, device, major, minor, value }) => ({
          value,
          labels: { op: op.toLowerCase(), device, major: String(major), minor: String(minor) },
        })),
    }),
  ),
  ...v1MemoryFields.map(
    ([name, field]): Series<MetricsV1> => ({
      name: `memory_${name}_bytes`,
      help: `The ${name} amount of memory.stat`,
      read: (m) => one(m.memory?.[field]),
    }),
  ),
  ...v1Entries.flatMap(([name, field]): Series<MetricsV1>[] => [
    {
      name: `memory_${name}_failcnt_total`,
      help: `The ${name} failcnt`,
      read: (m) => one(m.memory?.[field]?.failcnt),
    },
    {
      name: `memory_${name}_limit_bytes`,
      help: `The ${name} limit`,
      read: (m) => one(m.memory?.[field]?.limit),
    },
    {
      name: `memory_${name}_max_bytes`,
      help: `The ${name} maximum seen`,
      read: (m) => one(m.memory?.[field]?.max),
    },
    {
      name: `memory_${name}_usage_bytes`,
      help: `The ${name} usage`,
      read: (m) => one(m.memory?.[field]?.usage),
    },
  ]),
  {
    name: "memory_oom_total",
    help: "The number of processes killed for memory",
    read: (m) => one(m.memoryOomControl?.oomKill),
  },
];

type V2Memory = NonNullable<MetricsV2["memory"]>;

const v2MemoryFields: ReadonlyArray<readonly [string, Values<V2Memory>]> = [
  ["file_mapped", "fileMapped"],
  ["file_dirty", "fileDirty"],
  ["file_writeback", "fileWriteback"],
  ["pgactivate", "pgactivate"],
  ["pgdeactivate", "pgdeactivate"],
  ["pgfault", "pgfault"],
  ["pgmajfault", "pgmajfault"],
  ["pglazyfree", "pglazyfree"],
  ["pgrefill", "pgrefill"],
  ["pglazyfreed", "pglazyfreed"],
  ["pgscan", "pgscan"],
  ["pgsteal", "pgsteal"],
  ["inactive_anon", "inactiveAnon"],
  ["active_anon", "activeAnon"],
  ["inactive_file", "inactiveFile"],
  ["active_file", "activeFile"],
  ["unevictable", "unevictable"],
  ["anon", "anon"],
  ["file", "file"],
  ["kernel_stack", "kernelStack"],
  ["slab", "slab"],
  ["sock", "sock"],
  ["shmem", "shmem"],
  ["anon_thp", "anonThp"],
  ["slab_reclaimable", "slabReclaimable"],
  ["slab_unreclaimable", "slabUnreclaimable"],
  ["workingset_refault", "workingsetRefault"],
  ["workingset_activate", "workingsetActivate"],
  ["workingset_nodereclaim", "workingsetNodereclaim"],
  ["thp_fault_alloc", "thpFaultAlloc"],
  ["thp_collapse_alloc", "thpCollapseAlloc"],
];

export const seriesV2: readonly Series<MetricsV2>[] = [
  {
    name: "cpu_usage_usec_microseconds",
    help: "Total cpu usage (cgroup v2)",
    read: (m) => one(m.cpu?.usageUsec),
  },
  {
    name: "cpu_user_usec_microseconds",
    help: "Current cpu usage in user space (cgroup v2)",
    read: (m) => one(m.cpu?.userUsec),
  },
  {
    name: "cpu_system_usec_microseconds",
    help: "Current cpu usage in kernel space (cgroup v2)",
    read: (m) => one(m.cpu?.systemUsec),
  },
  {
    name: "cpu_nr_periods_total",
    help: "Cpu periods elapsed (cgroup v2)",
    read: (m) => one(m.cpu?.nrPeriods),
  },
  {
    name: "cpu_nr_throttled_total",
    help: "Cpu periods throttled (cgroup v2)",
    read: (m) => one(m.cpu?.nrThrottled),
  },
  {
    name: "cpu_throttled_usec_microseconds",
    help: "Cpu time throttled (cgroup v2)",
    read: (m) => one(m.cpu?.throttledUsec),
  },
  { name: "pids_current", help: "Current pids (cgroup v2)", read: (m) => one(m.pids?.current) },
  { name: "pids_limit", help: "Current pids limit (cgroup v2)", read: (m) => one(m.pids?.limit) },
  ...(
    [
      ["io_rbytes_bytes", "rbytes"],
      ["io_wbytes_bytes", "wbytes"],
      ["io_rios_total", "rios"],
      ["io_wios_total", "wios"],
    ] as const
  ).map(
    ([name, field]): Series<MetricsV2> => ({
      name,
      help: `IO ${field} (cgroup v2)`,
      read: (m) =>
        (m.io?.usage ?? []).map((entry) => ({
          value: entry[field],
          labels: { major: String(entry.major), minor: String(entry.minor) },
        })),
    }),
  ),
  { name: "memory_usage_bytes", help: "Current memory usage (cgroup v2)", read: (m) => one(m.memory?.usage) },
  {
    name: "memory_usage_limit_bytes",
    help: "Current memory usage limit (cgroup v2)",
    read: (m) => one(m.memory?.usageLimit),
  },
  {
    name: "memory_swap_usage_bytes",
    help: "Current swap usage (cgroup v2)",
    read: (m) => one(m.memory?.swapUsage),
  },
  {
    name: "memory_swap_limit_bytes",
    help: "Current swap usage limit (cgroup v2)",
    read: (m) => one(m.memory?.swapLimit),
  },
  ...v2MemoryFields.map(
    ([name, field]): Series<MetricsV2> => ({
      name: `memory_${name}_bytes`,
      help: `The ${name} amount of memory.stat (cgroup v2)`,
      read: (m) => one(m.memory?.[field]),
    }),
  ),
  {
    name: "memory_oom_total",
    help: "The number of processes killed for memory (cgroup v2)",
    read: (m) => one(m.memoryEvents?.oomKill),
  },
];
