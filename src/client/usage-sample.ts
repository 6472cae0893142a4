/** What a container used up to one moment, read from the metrics of either cgroup version. */
import { isTypeUrl, typeUrls } from "../wire/any.js";
import type { Metric } from "../wire/gen/containerd/types/types.js";
import { Metrics as MetricsV1 } from "../wire/gen/io/containerd/cgroups/v1/cgroups.js";
import { Metrics as MetricsV2 } from "../wire/gen/io/containerd/cgroups/v2/cgroups.js";
import { timeText } from "./payload.js";

export interface Sample {
  readonly id: string;
  readonly timestamp: string;
  readonly takenAtMs: number;
  readonly cpuTotalNs: number;
  /** Without file cache that the kernel can drop at once. */
  readonly memoryBytes: number;
  /** Undefined when there is no limit. */
  readonly memoryLimitBytes: number | undefined;
  readonly pids: number;
  readonly readBytes: number;
  readonly writtenBytes: number;
}

/** cgroups say "no limit" with a number near 2^63. */
const unlimited = 2 ** 60;

function limitOf(value: bigint | undefined): number | undefined {
  const limit = Number(value ?? 0n);
  return limit === 0 || limit >= unlimited ? undefined : limit;
}

/** One metric of either cgroup version; undefined for a type that we cannot read. */
export function sampleOf(metric: Metric, takenAtMs: number): Sample | undefined {
  const any = metric.data;
  if (any === undefined) return undefined;
  const common = { id: metric.id, timestamp: timeText(metric.timestamp), takenAtMs };
  if (isTypeUrl(any.typeUrl, typeUrls.cgroupsV1Metrics)) {
    const m = MetricsV1.decode(any.value);
    const bytes = (op: string): number =>
      (m.blkio?.ioServiceBytesRecursive ?? [])
        .filter((entry) => entry.op.toLowerCase() === op)
        .reduce((sum, entry) => sum + Number(entry.value), 0);
    const usage = Number(m.memory?.usage?.usage ?? 0n);
    return {
      ...common,
      cpuTotalNs: Number(m.cpu?.usage?.total ?? 0n),
      memoryBytes: Math.max(0, usage - Number(m.memory?.totalInactiveFile ?? 0n)),
      memoryLimitBytes: limitOf(m.memory?.usage?.limit),
      pids: Number(m.pids?.current ?? 0n),
      readBytes: bytes("read"),
      writtenBytes: bytes("write"),
    };
  }
  if (isTypeUrl(any.typeUrl, typeUrls.cgroupsV2Metrics)) {
    const m = MetricsV2.decode(any.value);
    const io = m.io?.usage ?? [];
    return {
      ...common,
      cpuTotalNs: Number(m.cpu?.usageUsec ?? 0n) * 1000,
      memoryBytes: Math.max(0, Number((m.memory?.usage ?? 0n) - (m.memory?.inactiveFile ?? 0n))),
      memoryLimitBytes: limitOf(m.memory?.usageLimit),
      pids: Number(m.pids?.current ?? 0n),
      readBytes: io.reduce((sum, entry) => sum + Number(entry.rbytes), 0),
      writtenBytes: io.reduce((sum, entry) => sum + Number(entry.wbytes), 0),
    };
  }
  return undefined;
}

/** Percent of one processor used between two samples of a container; undefined without an earlier one. */
export function cpuPercent(before: Sample | undefined, now: Sample): number | undefined {
  if (before === undefined || now.takenAtMs <= before.takenAtMs || now.cpuTotalNs < before.cpuTotalNs)
    return undefined;
  return (100 * (now.cpuTotalNs - before.cpuTotalNs)) / ((now.takenAtMs - before.takenAtMs) * 1e6);
}
