/** berth.shim.v1.Shim: what berthd asks of its own shim to adopt and to watch it. */
import { readdirSync } from "node:fs";
import type { StatsResponse } from "../wire/gen/berth/shim/v1/shim.js";
import { shimMethods } from "../wire/task-methods.js";
import type { TtrpcRegistration } from "../wire/ttrpc/method.js";
import type { EventSpool } from "./event-spool.js";
import { stateResponse } from "./task-service.js";
import type { TaskTable } from "./task-table.js";

export type AdapterStats = Pick<
  StatsResponse,
  | "stdioProcesses"
  | "pumpThreads"
  | "pumpStreams"
  | "pumpThreadDeaths"
  | "streamTotals"
  | "reaped"
  | "parkedExits"
>;

export interface ShimServiceOptions {
  readonly shimId: string;
  readonly namespace: string;
  readonly version: string;
  readonly tasks: TaskTable;
  readonly spool: EventSpool;
  readonly connectionCount: () => number;
  /** The part of Stats that the adapters know. */
  readonly adapterStats: () => AdapterStats;
}

export function shimService(options: ShimServiceOptions): TtrpcRegistration[] {
  const { shimId, namespace, version, tasks, spool } = options;
  return [
    shimMethods.ping.handledBy(async () => ({ shimId, pid: process.pid, version, namespace })),
    shimMethods.list.handledBy(async () => ({
      tasks: [
        ...tasks.list().map((task) => ({
          id: task.id,
          bundle: task.bundle,
          processes: ["", ...task.execs.map((exec) => exec.id)].map((execId) => ({
            ...stateResponse(task.state(execId)),
            execId,
          })),
        })),
        // Nothing can be said of these yet, but a new daemon must not take their bundles for leftovers.
        ...tasks.creating().map((id) => ({ id, bundle: "", processes: [] })),
      ],
    })),
    shimMethods.stats.handledBy(async () => ({
      tasks: tasks.size,
      execs: tasks.list().reduce((sum, task) => sum + task.execs.length, 0),
      // One is the directory handle of this very look.
      openFds: readdirSync("/proc/self/fd").length - 1,
      rssBytes: BigInt(process.memoryUsage.rss()),
      spoolDepth: spool.depth,
      spoolBytes: BigInt(spool.sizeBytes),
      spoolLastSequence: BigInt(spool.lastSequence),
      spoolAcknowledgedSequence: BigInt(spool.acknowledgedSequence),
      daemonConnections: options.connectionCount(),
      uptimeMs: BigInt(Math.round(process.uptime() * 1000)),
      ...options.adapterStats(),
    })),
  ];
}
