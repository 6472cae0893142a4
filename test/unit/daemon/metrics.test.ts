/** What a scrape shows: containers under containerd's names, and the daemon's own series. */

import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createDaemonMetrics } from "../../../src/daemon/metrics.js";
import { Metrics as MetricsV1 } from "../../../src/wire/gen/io/containerd/cgroups/v1/cgroups.js";
import { Metrics as MetricsV2 } from "../../../src/wire/gen/io/containerd/cgroups/v2/cgroups.js";
import type { SampledTask } from "../../../src/workers/metrics-sampler.worker.js";
import { createMetricsSampler, type MetricsSampler } from "../../../src/workers/metrics-sampler-host.js";
import { seriesV1, seriesV2 } from "../../../src/workers/metrics-series.js";
import { renderSeries } from "../../../src/workers/metrics-text.js";
import { type BuiltWorker, buildWorker } from "../../support/build-worker.js";
import { createFakeWorld } from "../../support/fake-world.js";

const labels = { container_id: "c", namespace: "n", runtime: "io.containerd.runc.v2" };
const base = 'container_id="c",namespace="n",runtime="io.containerd.runc.v2"';

const v1 = MetricsV1.fromPartial({
  cpu: { usage: { total: 30n, kernel: 10n, user: 20n, perCpu: [11n, 19n] }, throttling: { periods: 1n } },
  memory: { cache: 1n, totalRss: 2n, usage: { limit: 3n, usage: 4n, max: 5n, failcnt: 6n } },
  pids: { current: 7n, limit: 0n },
  hugetlb: [{ usage: 8n, pagesize: "2MB" }],
  blkio: {
    ioServiceBytesRecursive: [{ op: "Read", device: "/dev/sda", major: 8n, minor: 1n, value: 9n }],
  },
});
const v2 = MetricsV2.fromPartial({
  cpu: { usageUsec: 1n },
  memory: { usage: 2n, anon: 3n },
  pids: { current: 4n, limit: 5n },
  io: { usage: [{ major: 8n, minor: 0n, rbytes: 6n }] },
});

/** Sample lines, `name{labels} value`, without comments. */
const samplesOf = (text: string): string[] =>
  text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
const namesOf = (text: string): string[] => [
  ...new Set(samplesOf(text).map((line) => line.split("{")[0] ?? "")),
];

describe("a container's series", () => {
  it("have containerd's names and labels on cgroup v1", () => {
    const lines = samplesOf(renderSeries(seriesV1, [{ labels, metrics: v1 }]));
    for (const line of [
      `container_cpu_total_nanoseconds{${base}} 30`,
      `container_cpu_kernel_nanoseconds{${base}} 10`,
      `container_per_cpu_nanoseconds{${base},cpu="1"} 19`,
      `container_cpu_throttle_periods_total{${base}} 1`,
      `container_memory_cache_bytes{${base}} 1`,
      `container_memory_total_rss_bytes{${base}} 2`,
      `container_memory_usage_limit_bytes{${base}} 3`,
      `container_memory_usage_usage_bytes{${base}} 4`,
      `container_memory_usage_max_bytes{${base}} 5`,
      `container_memory_usage_failcnt_total{${base}} 6`,
      `container_pids_current{${base}} 7`,
      `container_pids_limit{${base}} 0`,
      `container_hugetlb_usage_bytes{${base},page="2MB"} 8`,
      `container_blkio_io_service_bytes_recursive_bytes{${base},op="read",device="/dev/sda",major="8",minor="1"} 9`,
    ]) {
      expect(lines).toContain(line);
    }
  });

  it("have containerd's names on cgroup v2", () => {
    const lines = samplesOf(renderSeries(seriesV2, [{ labels, metrics: v2 }]));
    for (const line of [
      `container_cpu_usage_usec_microseconds{${base}} 1`,
      `container_memory_usage_bytes{${base}} 2`,
      `container_memory_anon_bytes{${base}} 3`,
      `container_pids_current{${base}} 4`,
      `container_pids_limit{${base}} 5`,
      `container_io_rbytes_bytes{${base},major="8",minor="0"} 6`,
    ]) {
      expect(lines).toContain(line);
    }
  });

  it("are the whole list of containerd's, and nothing that is none of them", () => {
    const names = (series: readonly { readonly name: string }[]): string[] => series.map(({ name }) => name);
    const kernelMemory = ["usage", "swap", "kernel", "kerneltcp"].flatMap((entry) =>
      ["failcnt_total", "limit_bytes", "max_bytes", "usage_bytes"].map(
        (suffix) => `memory_${entry}_${suffix}`,
      ),
    );
    expect(names(seriesV1)).toEqual(expect.arrayContaining(kernelMemory));
    expect(new Set(names(seriesV1)).size).toBe(seriesV1.length);
    expect(new Set(names(seriesV2)).size).toBe(seriesV2.length);
    expect(seriesV2.every(({ name }) => /^(cpu|pids|io|memory)_/.test(name))).toBe(true);
    expect(names(seriesV2)).toEqual(
      expect.arrayContaining([
        "memory_swap_limit_bytes",
        "memory_workingset_refault_bytes",
        "memory_oom_total",
      ]),
    );
  });

  it("come as families, each with its HELP and TYPE once, above all its samples", () => {
    const other = { ...labels, container_id: "d" };
    const text = renderSeries(seriesV1, [
      { labels, metrics: v1 },
      { labels: other, metrics: v1 },
    ]);
    const lines = text.trimEnd().split("\n");
    const at = lines.indexOf("# TYPE container_pids_current gauge");
    expect(lines[at - 1]).toMatch(/^# HELP container_pids_current \S/);
    expect(lines.slice(at + 1, at + 3).map((line) => line.split("{")[0])).toEqual([
      "container_pids_current",
      "container_pids_current",
    ]);
    expect(lines.filter((line) => line.startsWith("# TYPE container_pids_current "))).toHaveLength(1);
    expect(text.endsWith("\n")).toBe(true);
    for (const name of namesOf(text))
      expect(lines.filter((line) => line === `# TYPE ${name} gauge`)).toHaveLength(1);
  });

  it("leave out what an absent controller would have said", () => {
    expect(renderSeries(seriesV1, [{ labels, metrics: MetricsV1.fromPartial({}) }])).toBe("");
    expect(renderSeries(seriesV1, [])).toBe("");
  });

  it("escape labels as the text format demands", () => {
    const odd = { container_id: 'a"b\\c\nd' };
    const [line] = samplesOf(renderSeries(seriesV1, [{ labels: odd, metrics: v1 }]));
    expect(line).toBe(String.raw`container_cpu_total_nanoseconds{container_id="a\"b\\c\nd"} 30`);
  });
});

describe("the sampler", () => {
  let worker: BuiltWorker;
  let sampler: MetricsSampler;
  let now = 0;
  beforeAll(async () => {
    worker = await buildWorker("workers/metrics-sampler.worker.ts");
    sampler = createMetricsSampler({
      workerFile: fileURLToPath(worker.url),
      maxAgeMs: 1000,
      timeoutMs: 20_000,
      now: () => now,
    });
  });
  afterAll(async () => {
    await sampler.close();
    worker.remove();
  });
  const self: SampledTask = { namespace: "n", id: "self", pid: process.pid, runtime: "r" };

  it("reads the cgroups of this machine", async () => {
    const gone = { ...self, id: "gone", pid: 4_194_304 };
    const text = await sampler.containerMetrics(async () => [self, gone]);
    expect(namesOf(text).length).toBeGreaterThan(5);
    expect(text).toContain('container_id="self",namespace="n",runtime="r"');
    expect(text).not.toContain('container_id="gone"');
    for (const line of samplesOf(text)) expect(line).toMatch(/^container_[a-z0-9_]+\{[^}]*\} \d+$/);
  });

  it("makes one sample for scrapes that come close together", async () => {
    now += 10_000;
    let asked = 0;
    const tasks = async (): Promise<SampledTask[]> => {
      asked += 1;
      return [self];
    };
    const texts = await Promise.all([1, 2, 3].map(() => sampler.containerMetrics(tasks)));
    expect(new Set(texts).size).toBe(1);
    expect(asked).toBe(1);
    now += 2000;
    await sampler.containerMetrics(tasks);
    expect(asked).toBe(2);
  });

  it("tries again after a failed sample", async () => {
    now += 10_000;
    await expect(
      sampler.containerMetrics(async () => {
        throw new Error("no tasks today");
      }),
    ).rejects.toThrow("no tasks today");
    expect(await sampler.containerMetrics(async () => [self])).toContain("self");
  });
});

describe("the daemon's own series", () => {
  const metricsOf = (containers: () => Promise<string>) => {
    const world = createFakeWorld();
    return createDaemonMetrics({
      version: "1.2.3",
      revision: "abc",
      sampler: { containerMetrics: containers, close: async () => undefined },
      tasks: async () => [],
      inspect: () => world.system.inspect(),
      deadLetters: () => 5,
    });
  };

  it("stand behind the containers', under containerd's names where it has some", async () => {
    const metrics = metricsOf(async () => "container_x{} 1\n");
    metrics.observeCall({ type: "unary", path: "/a.B/Create", code: 6, durationMs: 20 });
    metrics.observeCall({ type: "server-stream", path: "/a.B/Subscribe", code: 0, durationMs: 20 });
    const text = await metrics.text();
    expect(text.startsWith("container_x{} 1\n")).toBe(true);
    for (const line of [
      'containerd_build_info_total{version="1.2.3",revision="abc"} 1',
      'grpc_server_started_total{grpc_type="unary",grpc_service="a.B",grpc_method="Create"} 1',
      'grpc_server_handled_total{grpc_type="unary",grpc_service="a.B",grpc_method="Create",grpc_code="AlreadyExists"} 1',
      'grpc_server_handled_total{grpc_type="server_stream",grpc_service="a.B",grpc_method="Subscribe",grpc_code="OK"} 1',
      'berth_grpc_server_handling_seconds_count{grpc_method="Create"} 1',
      'berth_actors{kind="journal"} 1',
      'berth_mailbox_depth{kind="admission"} 0',
      "berth_dead_letters 5",
    ]) {
      expect(text.split("\n")).toContain(line);
    }
    expect(text).toMatch(/^process_cpu_seconds_total /m);
  });

  it("are served alone, and say so, when the sampler fails", async () => {
    const metrics = metricsOf(() => Promise.reject(new Error("the thread died")));
    expect(await metrics.text()).toContain("berth_container_sample_failures_total 1");
  });
});
