/** A container's counters as the typed value that Stats and Metrics answer with. */
import { Metrics as MetricsV1 } from "../../wire/gen/io/containerd/cgroups/v1/cgroups.js";
import { Metrics as MetricsV2 } from "../../wire/gen/io/containerd/cgroups/v2/cgroups.js";
import { type CgroupPaths, ownOnly } from "./locate.js";
import { readStatsV1 } from "./stats-v1.js";
import { readStatsV2 } from "./stats-v2.js";

/**
 * Reads the counters and encodes them. Never throws for a cgroup that is gone: its fields are then absent, as are
 * those of a controller where the container sits in the machine's own cgroup.
 */
export function readStats(located: CgroupPaths): { readonly typeUrl: string; readonly value: Uint8Array } {
  const cgroups = ownOnly(located);
  return cgroups.version === "v1"
    ? { typeUrl: "io.containerd.cgroups.v1.Metrics", value: MetricsV1.encode(readStatsV1(cgroups)).finish() }
    : { typeUrl: "io.containerd.cgroups.v2.Metrics", value: MetricsV2.encode(readStatsV2(cgroups)).finish() };
}
