/** What the API layer is given. It owns none of it: it decodes, sends one message, encodes. */
import type { ContainerDirectory } from "../actors/containers/directory.js";
import type { JournalMessage } from "../actors/journal/messages.js";
import type { ActorRef, AskOptions, TreeNode } from "../actors/kernel/types.js";
import type { MetadataMessage } from "../actors/metadata/messages.js";
import type { Clock } from "../core/clock.js";
import type { Logger } from "../core/logger.js";

/** One row of Introspection.Plugins. */
export interface PluginInfo {
  /** `io.containerd.runtime.v2`, say. */
  readonly type: string;
  readonly id: string;
  readonly requires?: readonly string[];
  readonly platforms?: readonly {
    readonly os: string;
    readonly architecture: string;
    readonly variant?: string;
  }[];
  readonly exports?: Readonly<Record<string, string>>;
  readonly capabilities?: readonly string[];
  /** Why the plugin is not there; absent for one that works. */
  readonly initError?: string;
}

/** One finished gRPC call, for metrics. */
export interface CallReport {
  readonly type: "unary" | "server-stream";
  /** `/containerd.services.tasks.v1.Tasks/Get` */
  readonly path: string;
  /** gRPC status number, 0 for success. */
  readonly code: number;
  readonly durationMs: number;
}

export interface ApiLimits {
  readonly maxRecvBytes: number;
  readonly maxSendBytes: number;
  /** Events that may wait for one slow subscriber before it is cut off. */
  readonly subscriberQueue: number;
  /** For asks that only read or write what the daemon itself knows. */
  readonly askTimeoutMs: number;
  /**
   * For asks that wait for the OCI runtime or for a client's FIFO (create, start, delete, pause …). A backstop
   * only: the container actor has closer deadlines. Default 5 minutes.
   */
  readonly runtimeTimeoutMs?: number;
}

export interface ApiDependencies {
  readonly containers: ContainerDirectory;
  readonly metadata: ActorRef<MetadataMessage>;
  readonly journal: ActorRef<JournalMessage>;
  readonly version: { readonly version: string; readonly revision: string };
  readonly inspectTree: () => TreeNode;
  /** Prometheus text. */
  readonly metricsText: () => Promise<string>;
  readonly plugins: () => readonly PluginInfo[];
  readonly log: Logger;
  readonly clock: Clock;
  readonly limits: ApiLimits;
  /** Told of every finished gRPC call; must not throw. */
  readonly observeCall?: (report: CallReport) => void;
}

export type Ask = (signal: AbortSignal) => AskOptions;

/** How long asks may take, by what they wait for. */
export function askOptionsOf(limits: ApiLimits): { readonly quick: Ask; readonly runtime: Ask } {
  const runtimeMs = limits.runtimeTimeoutMs ?? 300_000;
  return {
    quick: (signal) => ({ timeoutMs: limits.askTimeoutMs, signal, from: "api" }),
    runtime: (signal) => ({ timeoutMs: runtimeMs, signal, from: "api" }),
  };
}
