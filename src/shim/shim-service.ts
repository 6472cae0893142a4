/** berth.shim.v1.Shim: what berthd asks of its own shim to adopt and to watch it. */
import { readdirSync } from "node:fs";
import * as pb from "../wire/gen/berth/shim/v1/shim.js";
import { type TtrpcRegistration, ttrpcMethod } from "../wire/ttrpc/method.js";
import type { EventSpool } from "./event-spool.js";
import { stateResponse } from "./task-service.js";
import type { TaskTable } from "./task-table.js";

export const shimServiceName = "berth.shim.v1.Shim";

export const shimMethods = {
  ping: ttrpcMethod(shimServiceName, "Ping", pb.PingRequest, pb.PingResponse),
  list: ttrpcMethod(shimServiceName, "List", pb.ListRequest, pb.ListResponse),
  stats: ttrpcMethod(shimServiceName, "Stats", pb.StatsRequest, pb.StatsResponse),
};

export interface ShimServiceOptions {
  readonly shimId: string;
  readonly namespace: string;
  readonly version: string;
  readonly tasks: TaskTable;
  readonly spool: EventSpool;
  readonly connectionCount: () => number;
  /** What the streams have moved so far. */
  readonly ledgers: () => readonly pb.StreamLedger[];
}

export function shimService(options: ShimServiceOptions): TtrpcRegistration[] {
  const { shimId, namespace, version, tasks, spool } = options;
  return [
    shimMethods.ping.handledBy(async () => ({ shimId, pid: process.pid, version, namespace })),
    shimMethods.list.handledBy(async () => ({
      tasks: tasks.list().map((task) => ({
        id: task.id,
        bundle: task.bundle,
        processes: ["", ...task.execs.map((exec) => exec.id)].map((execId) =>
          stateResponse(task.state(execId), execId),
        ),
      })),
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
      streams: [...options.ledgers()],
    })),
  ];
}
