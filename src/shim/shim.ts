/**
 * One shim, put together: the adapters, the table of tasks, the event spool, the ttrpc server; and the decision
 * when the process has no more reason to live. What belongs to the process as such is `main.ts`'s.
 */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Clock } from "../core/clock.js";
import { unavailable } from "../core/errors.js";
import type { Logger } from "../core/logger.js";
import { version } from "../core/version.js";
import { signalGroup } from "../native/process.js";
import { createReaper } from "../native/reaper.js";
import { createOomMonitor } from "../runtime/cgroups/oom.js";
import { createRuntimeProbe } from "../runtime/runtime-probe.js";
import { spoolName } from "../wire/event-log-format.js";
import { ttrpcServices } from "../wire/ttrpc/method.js";
import { createTtrpcServer, type TtrpcServer } from "../wire/ttrpc/server.js";
import { exitSource } from "./adapters/exits.js";
import { streamsOpener } from "./adapters/streams.js";
import { taskMaker } from "./adapters/task-maker.js";
import { TtrpcForwarder } from "./event-forwarder.js";
import { EventLog } from "./event-log.js";
import { EventSpool } from "./event-spool.js";
import type { ServeOptions } from "./serve-options.js";
import { shimService } from "./shim-service.js";
import { createStdioPlane } from "./stdio/process-io.js";
import { defaultTaskLimits } from "./task-context.js";
import { taskService } from "./task-service.js";
import { TaskTable } from "./task-table.js";

export interface Shim {
  /** Serves on the shim's socket. Rejects when another shim lives there. */
  listen(): Promise<void>;
  /** Ends the shim unless it has tasks; false when it has. From then on it refuses new tasks. */
  end(reason: string): boolean;
  /** Resolves with the reason once the shim is to end: asked to, or needed by nobody any more. */
  readonly ended: Promise<string>;
  /** Answers open calls, delivers what it can of the events, frees everything. Idempotent. */
  close(): Promise<void>;
}

export const socketName = "shim.sock";
const closeGraceMs = 500;
/** How long an ending shim waits for berthd to take its last events; then they stay on disk. */
const lastEventsMs = 2000;
const orphanCheckMs = 1000;

export function createShim(options: ServeOptions, log: Logger, clock: Clock): Shim {
  const { namespace, shimId } = options;
  const reaper = createReaper({
    onListenerError: (err) => log.error({ err }, "handling an exit failed"),
  });
  const host = { spawn: reaper.spawn, killGroup: signalGroup };
  const oom = createOomMonitor();
  const plane = createStdioPlane({
    log,
    criuPresent: options.criuPresent,
    workerUrl:
      options.pumpWorkerPath === undefined
        ? new URL("../workers/stdio-pump.worker.js", import.meta.url)
        : pathToFileURL(options.pumpWorkerPath),
    pumpWorkers: options.pumpWorkers,
  });
  const forwarder = new TtrpcForwarder({
    address: options.ttrpcAddress,
    namespace,
    shimId,
    log,
    onDaemonBack: () => spool.kick(),
  });
  const eventLog = EventLog.open(join(options.directory, spoolName));
  const spool = new EventSpool({ namespace, log, clock, eventLog, forwarder });
  const streams = streamsOpener(plane, {
    namespace,
    mode: options.stdioMode,
    clock,
    log,
    drainMs: Math.max(options.drainTimeoutMs, options.deleteDrainTimeoutMs),
    openMs: options.openTimeoutMs,
    readyMs: options.openTimeoutMs,
    temporaryDirectory: options.temporaryDirectory,
  });
  const tasks = new TaskTable();
  const make = taskMaker({
    namespace,
    log,
    clock,
    host,
    probe: createRuntimeProbe(host),
    oom,
    events: spool,
    exits: exitSource(reaper),
    stdio: streams,
    limits: {
      ...defaultTaskLimits,
      drainMs: options.drainTimeoutMs,
      deleteDrainMs: options.deleteDrainTimeoutMs,
      stdioMs: options.openTimeoutMs + 1000,
    },
    defaults: { binary: options.runtimeBinary, root: options.runtimeRoot },
    runtimeTimeoutMs: options.runtimeTimeoutMs,
  });

  let ending = false;
  let settleEnded: (reason: string) => void = () => undefined;
  const ended = new Promise<string>((resolve) => {
    settleEnded = resolve;
  });
  const end = (reason: string): boolean => {
    if (tasks.size > 0) return false;
    ending = true;
    settleEnded(reason);
    return true;
  };
  const adapterStats = () => {
    const { processes, pump } = plane.stats();
    const { reaped, parked } = reaper.stats;
    return {
      stdioProcesses: processes,
      pumpThreads: pump.threads,
      pumpStreams: pump.streams,
      pumpThreadDeaths: pump.threadDeaths,
      streamTotals: streams.totals,
      reaped: BigInt(reaped),
      parkedExits: parked,
    };
  };
  const server: TtrpcServer = createTtrpcServer({
    log,
    services: ttrpcServices(
      ...taskService({
        tasks,
        version,
        // Checked and counted in the same turn, so that no task slips into a shim that ends.
        make: async (creation) => {
          if (ending) throw unavailable("the shim is shutting down");
          return make(creation);
        },
        onShutdown: () => end("shutdown"),
      }),
      ...shimService({
        shimId,
        namespace,
        version,
        tasks,
        spool,
        connectionCount: () => server.connectionCount,
        adapterStats,
      }),
    ),
  });

  // Needed by nobody: no task to hold, no daemon that knows of it.
  let neededAt = clock.monotonicMs();
  const orphanCheck = setInterval(
    () => {
      const now = clock.monotonicMs();
      if (tasks.size > 0 || server.connectionCount > 0) neededAt = now;
      else if (now - neededAt >= options.orphanTimeoutMs) end("orphaned");
    },
    Math.min(orphanCheckMs, Math.max(options.orphanTimeoutMs / 4, 10)),
  );

  const closeAll = async (): Promise<void> => {
    clearInterval(orphanCheck);
    await server.close({ graceMs: closeGraceMs });
    await spool.drained(lastEventsMs);
    spool.close();
    forwarder.close();
    await plane.close();
    oom.close();
    reaper.close();
  };
  let closing: Promise<void> | undefined;
  return {
    listen: () => server.listen(join(options.directory, socketName), { mode: 0o600 }),
    end,
    ended,
    close() {
      closing ??= closeAll();
      return closing;
    },
  };
}
