/** Puts berthd together: adapters, the tree, what an earlier daemon left, and last the sockets. */
import { existsSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { createActorSystem } from "../actors/kernel/system.js";
import type { ExitReason } from "../actors/kernel/types.js";
import type { ApiDependencies } from "../api/dependencies.js";
import { createGrpcServer } from "../api/grpc-server.js";
import { createHttpServer } from "../api/http-server.js";
import { createTtrpcEventsService } from "../api/ttrpc-events-service.js";
import { createTtrpcApi } from "../api/ttrpc-server.js";
import type { Config } from "../config/config.js";
import { systemClock } from "../core/clock.js";
import { createEventLoopScheduler } from "../core/event-loop-scheduler.js";
import { parseTaskKey, type TaskKey, taskKeyString } from "../core/ids.js";
import type { Logger } from "../core/logger.js";
import { revision, version } from "../core/version.js";
import type { BundlePort } from "../ports/bundle-port.js";
import type { ShimLauncher } from "../ports/shim-launcher-port.js";
import type { StorePort } from "../ports/store-port.js";
import { createBundleStore } from "../shim-link/bundle-store.js";
import { createShimLauncher } from "../shim-link/shim-launcher.js";
import { acquireInstanceLock } from "../store/instance-lock.js";
import { openStore } from "../store/store.js";
import { eventCodec } from "../wire/event-codec.js";
import type { SampledTask } from "../workers/metrics-sampler.worker.js";
import { createMetricsSampler } from "../workers/metrics-sampler-host.js";
import { criuWorks } from "./criu-probe.js";
import { createDaemonMetrics } from "./metrics.js";
import { listPlugins } from "./plugins.js";
import type { ServerActorOptions } from "./server-actor.js";
import { startTree, type TreeAccess } from "./tree.js";

export interface Daemon {
  /** Resolves when the tree has ended, by stop() or because the root gave up. */
  readonly ended: Promise<ExitReason>;
  /** Stops serving; containers and shims run on. May be called twice. */
  stop(): Promise<void>;
}

const listenTimeoutMs = 10_000;
const closeBudgetMs = 1500;
const metricsMaxAgeMs = 1000;
/** Beyond the runtime's own deadline, so that its words reach the client. */
const runtimeMarginMs = 15_000;
const eventOrderMs = 2000;
/**
 * After a restart beside living shims: time for clients to subscribe again before the shims deliver what they
 * have kept. Nobody keeps it for clients that come later.
 */
const resubscribeMs = 1000;

/** dist/, whether this runs from the bundle or from sources in a test. */
function distDirectory(): string {
  const here = dirname(fileURLToPath(import.meta.url));
  const beside = join(here, "..");
  return existsSync(join(beside, "bin", "berth-shim.js")) ? beside : join(here, "..", "..", "dist");
}

export async function startDaemon(config: Config, log: Logger): Promise<Daemon> {
  for (const [directory, mode] of [
    [config.root, 0o700],
    [config.state, 0o711],
  ] as const) {
    mkdirSync(directory, { recursive: true, mode });
  }
  // Both: two daemons on one root would each believe the metadata theirs alone.
  const locks = [config.state, config.root].map(acquireInstanceLock);
  const store = await openStore({ directory: config.root, log });
  const dist = distDirectory();
  const launcher = createShimLauncher({
    state: config.state,
    ttrpcAddress: config.ttrpcAddress,
    // A small young generation: a shim's garbage is a few kilobytes for each call.
    command: [process.execPath, "--max-semi-space-size=1", join(dist, "bin", "berth-shim.js")],
    serveArguments: serveArguments(config, dist, config.stdioMode === "auto" && (await criuWorks())),
    runtimes: new Map(Object.entries(config.runtimes)),
    runtimeDefaults: { binary: config.runtimeBinary, root: config.runtimeRoot },
    log,
    callTimeoutMs: config.runtimeMs + config.fifoOpenMs + runtimeMarginMs,
  });
  const bundles = createBundleStore(config.state);

  const system = createActorSystem({ clock: systemClock, scheduler: createEventLoopScheduler(), log });
  const runtimeCallMs = config.runtimeMs + runtimeMarginMs;
  const tree = startTree(
    system,
    { clock: systemClock, store, codec: eventCodec, bundles, launcher },
    {
      shimCapacity: config.shimCapacity,
      shimGrouping: config.shimGrouping,
      shimIdleMs: config.shimIdleMs,
      shimOpenTimeoutMs: config.shimStartMs,
      shimShutdownTimeoutMs: config.shimShutdownMs,
      runtimeSlots: config.runtimeConcurrency,
      journalEntries: config.journalEntries,
      timeouts: {
        createMs: runtimeCallMs + config.fifoOpenMs + config.shimStartMs,
        startMs: runtimeCallMs + config.fifoOpenMs,
        deleteMs: runtimeCallMs,
        killMs: runtimeCallMs,
        callMs: runtimeCallMs,
        eventOrderMs,
      },
    },
  );
  const sampler = createMetricsSampler({
    workerFile: join(dist, "workers", "metrics-sampler.worker.js"),
    maxAgeMs: metricsMaxAgeMs,
    timeoutMs: config.shimStatsMs,
    now: () => systemClock.monotonicMs(),
  });
  const metrics = createDaemonMetrics({
    version,
    revision,
    sampler,
    tasks: () => sampledTasks(tree, store),
    inspect: () => system.inspect(),
    deadLetters: () => system.deadLetters.count,
  });

  // Shims deliver what they have spooled as soon as they reach the ttrpc socket, so their tasks come first.
  const eventsDelayMs = launcher.leftovers().length > 0 ? resubscribeMs : 0;
  await restore(tree, launcher, bundles, config, log);

  const listening = new Set<string>();
  const deps: ApiDependencies = {
    containers: tree.directory,
    metadata: tree.metadata,
    journal: tree.journal,
    version: { version, revision },
    inspectTree: () => system.inspect(),
    metricsText: () => metrics.text(),
    plugins: listPlugins,
    log,
    clock: systemClock,
    limits: {
      maxRecvBytes: config.maxRecvBytes,
      maxSendBytes: config.maxSendBytes,
      subscriberQueue: config.subscriberQueue,
      askTimeoutMs: config.taskStateMs,
    },
    observeCall: (report) => metrics.observeCall(report),
  };
  const isReady = (): boolean => listening.size === servers.length;
  const servers = daemonServers(config, { ...deps, ready: isReady, eventsDelayMs }, (name, listens) => {
    if (!listens) listening.delete(name);
    else if (listening.add(name) && isReady()) log.info({ address: config.grpcAddress, version }, "serving");
  });
  tree.startServers(servers);

  let stopped: Promise<void> | undefined;
  const stop = async (): Promise<void> => {
    await system.shutdown();
    await sampler.close();
    await store.close();
    for (const lock of locks) lock.release();
  };
  return {
    ended: system.ended,
    stop: () => {
      stopped ??= stop();
      return stopped;
    },
  };
}

function serveArguments(config: Config, dist: string, criuPresent: boolean): string[] {
  return [
    "--log-level",
    shimLogLevel(config.logLevel),
    "--stdio-mode",
    config.stdioMode,
    ...(criuPresent ? ["--criu-present"] : []),
    "--pump-workers",
    String(config.pumpWorkers),
    "--pump-worker-path",
    join(dist, "workers", "stdio-pump.worker.js"),
    "--drain-timeout",
    String(config.drainMs),
    "--open-timeout",
    String(config.fifoOpenMs),
    "--runtime-binary",
    config.runtimeBinary,
    "--runtime-root",
    config.runtimeRoot,
    "--runtime-timeout",
    String(config.runtimeMs),
    "--oom-score-adj",
    String(Math.min(config.oomScore + 1, 1000)),
  ];
}

const shimLogLevel = (level: Config["logLevel"]): string =>
  level === "trace" ? "debug" : level === "fatal" ? "error" : level;

function daemonServers(
  config: Config,
  deps: ApiDependencies & { readonly ready: () => boolean; readonly eventsDelayMs: number },
  onChange: (name: string, listens: boolean) => void,
): readonly ServerActorOptions[] {
  const grpcOwner = { uid: config.grpcUid, gid: config.grpcGid };
  const common = (name: string) => ({
    name,
    listenTimeoutMs,
    onChange: (listens: boolean) => onChange(name, listens),
  });
  const http = (name: string, address: string): ServerActorOptions => ({
    ...common(name),
    create: () => {
      const server = createHttpServer(deps);
      return {
        listen: async () => {
          await server.listen(address, grpcOwner);
        },
        close: () => server.shutdown(),
      };
    },
  });
  return [
    {
      ...common("ttrpc"),
      create: () => {
        const server = createTtrpcApi({ log: deps.log, services: [createTtrpcEventsService(deps)] });
        return {
          listen: async (signal) => {
            await delay(deps.eventsDelayMs, undefined, { signal });
            await server.listen({ path: config.ttrpcAddress, uid: config.ttrpcUid, gid: config.ttrpcGid });
          },
          close: () => server.shutdown({ graceMs: closeBudgetMs }),
        };
      },
    },
    {
      ...common("grpc"),
      create: () => {
        const server = createGrpcServer(deps);
        return {
          listen: () => server.listen({ path: config.grpcAddress, ...grpcOwner }),
          close: () => server.shutdown({ graceMs: closeBudgetMs }),
        };
      },
    },
    http("debug", config.debugAddress),
    ...(config.metricsAddress === "" ? [] : [http("metrics", config.metricsAddress)]),
  ];
}

/** Pids of all tasks, from the actors' memory; one that cannot answer is left out. */
async function sampledTasks(
  { hosts, directory }: TreeAccess,
  store: StorePort,
): Promise<readonly SampledTask[]> {
  const asked = [...hosts.keys()].map(async (text): Promise<SampledTask[]> => {
    const key = parseTaskKey(text);
    try {
      const { pid } = await directory.ask(key, { kind: "get", execId: "" }, { timeoutMs: 1000 });
      const runtime = store.getContainer(key.namespace, key.id)?.runtime.name ?? "";
      return [{ namespace: key.namespace, id: key.id, pid, runtime }];
    } catch {
      return [];
    }
  });
  return (await Promise.all(asked)).flat();
}

/** Waits for the shims of an earlier daemon, then removes the remains of tasks that no shim has. */
async function restore(
  tree: TreeAccess,
  launcher: ShimLauncher,
  bundles: BundlePort,
  config: Config,
  log: Logger,
): Promise<void> {
  const restored = await tree.placement
    .ask<readonly TaskKey[]>((reply) => ({ kind: "restored", reply }), { timeoutMs: config.shimLoadMs })
    .catch((error: unknown) => {
      log.warn({ err: error }, "some shims of an earlier daemon have not answered yet");
      return undefined;
    });
  if (restored === undefined) return; // what is silent may still live: nothing of it is removed
  if (restored.length > 0) log.info({ tasks: restored.length }, "tasks of an earlier daemon taken over");
  for (const { key, path } of bundles.list()) {
    if (tree.hosts.has(taskKeyString(key))) continue;
    log.warn({ ...key }, "removing what is left of a task without a shim");
    try {
      await launcher.cleanUpTask(key, path, AbortSignal.timeout(config.shimCleanupMs));
      await bundles.remove(key);
    } catch (error) {
      log.error({ err: error, bundle: path }, "cleanup of a task without a shim failed");
    }
  }
}
