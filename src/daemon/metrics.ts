/** The daemon's own metrics, beside those of the containers. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { TreeNode } from "../actors/kernel/types.js";
import type { CallReport } from "../api/dependencies.js";
import type { SampledTask } from "../workers/metrics-sampler.worker.js";
import type { MetricsSampler } from "../workers/metrics-sampler-host.js";

export interface MetricsSources {
  readonly version: string;
  readonly revision: string;
  readonly sampler: MetricsSampler;
  readonly tasks: () => Promise<readonly SampledTask[]>;
  readonly inspect: () => TreeNode;
  readonly deadLetters: () => number;
}

export interface DaemonMetrics {
  /** Prometheus text: containers first, then the daemon. */
  text(): Promise<string>;
  observeCall(report: CallReport): void;
}

const grpcTypes = { unary: "unary", "server-stream": "server_stream" } as const;
/** Names of the gRPC codes by number, as grpc-go's metrics write them. */
const codeNames = [
  "OK",
  "Canceled",
  "Unknown",
  "InvalidArgument",
  "DeadlineExceeded",
  "NotFound",
  "AlreadyExists",
  "PermissionDenied",
  "ResourceExhausted",
  "FailedPrecondition",
  "Aborted",
  "OutOfRange",
  "Unimplemented",
  "Internal",
  "Unavailable",
  "DataLoss",
  "Unauthenticated",
];

export function createDaemonMetrics(sources: MetricsSources): DaemonMetrics {
  const registers = [new Registry()];
  const [registry] = registers as [Registry];
  let collecting = false;
  /** Watching the event loop wakes it all the time: not before somebody looks, and then ten times a second. */
  const collectProcessMetrics = (): void => {
    if (collecting) return;
    collecting = true;
    collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 100 });
  };
  const build = new Gauge({
    name: "containerd_build_info_total",
    help: "containerd build information",
    labelNames: ["version", "revision"],
    registers,
  });
  build.set({ version: sources.version, revision: sources.revision }, 1);
  const labelNames = ["grpc_type", "grpc_service", "grpc_method"];
  const handled = new Counter({
    name: "grpc_server_handled_total",
    help: "Total number of RPCs completed on the server, regardless of success or failure.",
    labelNames: [...labelNames, "grpc_code"],
    registers,
  });
  const started = new Counter({
    name: "grpc_server_started_total",
    help: "Total number of RPCs started on the server.",
    labelNames,
    registers,
  });
  const duration = new Histogram({
    name: "berth_grpc_server_handling_seconds",
    help: "Time from the request to the answer, by method.",
    labelNames: ["grpc_method"],
    buckets: [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
    registers,
  });
  new Gauge({
    name: "berth_actors",
    help: "Live actors by kind.",
    labelNames: ["kind"],
    registers,
    collect() {
      this.reset();
      walk(sources.inspect(), (node) => node.type === "actor" && this.inc({ kind: node.kind }));
    },
  });
  new Gauge({
    name: "berth_mailbox_depth",
    help: "Messages waiting, the deepest mailbox of each kind of actor.",
    labelNames: ["kind"],
    registers,
    collect() {
      this.reset();
      const deepest = new Map<string, number>();
      walk(sources.inspect(), ({ type, kind, mailboxDepth }) => {
        if (type === "actor") deepest.set(kind, Math.max(deepest.get(kind) ?? 0, mailboxDepth));
      });
      for (const [kind, depth] of deepest) this.set({ kind }, depth);
    },
  });
  new Gauge({
    name: "berth_actor_restarts",
    help: "Restarts of the actors that live now, by kind.",
    labelNames: ["kind"],
    registers,
    collect() {
      this.reset();
      walk(sources.inspect(), ({ type, kind, restarts }) => type === "actor" && this.inc({ kind }, restarts));
    },
  });
  new Gauge({
    name: "berth_dead_letters",
    help: "Messages that reached nobody since the daemon started.",
    registers,
    collect() {
      this.set(sources.deadLetters());
    },
  });
  const sampleFailures = new Counter({
    name: "berth_container_sample_failures_total",
    help: "Scrapes whose container metrics are missing because the sampler failed.",
    registers,
  });

  return {
    observeCall({ type, path, code, durationMs }) {
      const [, service = "", method = ""] = path.split("/");
      const labels = { grpc_type: grpcTypes[type], grpc_service: service, grpc_method: method };
      started.inc(labels);
      handled.inc({ ...labels, grpc_code: codeNames[code] ?? String(code) });
      if (type === "unary") duration.observe({ grpc_method: method }, durationMs / 1000);
    },
    async text() {
      collectProcessMetrics();
      let containers = "";
      try {
        containers = await sources.sampler.containerMetrics(sources.tasks);
      } catch {
        sampleFailures.inc();
      }
      return containers + (await registry.metrics());
    },
  };
}

function walk(node: TreeNode, visit: (node: TreeNode) => unknown): void {
  visit(node);
  for (const child of node.children) walk(child, visit);
}
