/** Thread body: reads the cgroups of a batch of containers and renders them. Pure: tasks in, text out. */
import { type CgroupPaths, locateCgroups } from "../runtime/cgroups/locate.js";
import { readStatsV1 } from "../runtime/cgroups/stats-v1.js";
import { readStatsV2 } from "../runtime/cgroups/stats-v2.js";
import type { Metrics as MetricsV1 } from "../wire/gen/io/containerd/cgroups/v1/cgroups.js";
import type { Metrics as MetricsV2 } from "../wire/gen/io/containerd/cgroups/v2/cgroups.js";
import { seriesV1, seriesV2 } from "./metrics-series.js";
import { type Labelled, renderSeries } from "./metrics-text.js";

export interface SampledTask {
  readonly namespace: string;
  readonly id: string;
  readonly pid: number;
  readonly runtime: string;
}

/** A stopped task's process is gone, and with it the way to its cgroups: they are remembered until it leaves. */
const known = new Map<string, CgroupPaths>();

export default function sample(tasks: readonly SampledTask[]): string {
  const v1: Labelled<MetricsV1>[] = [];
  const v2: Labelled<MetricsV2>[] = [];
  const seen = new Set<string>();
  for (const { namespace, id, pid, runtime } of tasks) {
    const key = `${namespace}/${id}/${pid}`;
    seen.add(key);
    const cgroups = known.get(key) ?? locateCgroups(pid);
    if (cgroups === undefined) continue;
    known.set(key, cgroups);
    const labels = { container_id: id, namespace, runtime };
    if (cgroups.version === "v1") v1.push({ labels, metrics: readStatsV1(cgroups) });
    else v2.push({ labels, metrics: readStatsV2(cgroups) });
  }
  for (const key of known.keys()) if (!seen.has(key)) known.delete(key);
  return renderSeries(seriesV1, v1) + renderSeries(seriesV2, v2);
}
