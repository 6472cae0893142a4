/**
 * Starts berth-shim processes and finds those of an earlier daemon. A shim outlives the daemon: it runs in its
 * own session, with nothing of the daemon's but a log file.
 */
import { createWriteStream, mkdirSync, openSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { execa } from "execa";
import { LRUCache } from "lru-cache";
import { deadlineExceeded, unavailable, unknownError } from "../core/errors.js";
import type { ShimId } from "../core/ids.js";
import type { Logger } from "../core/logger.js";
import { processStat } from "../native/process.js";
import type { Envelope } from "../ports/event-sink.js";
import type { ShimConnection, ShimLauncher, ShimRequest } from "../ports/shim-launcher-port.js";
import type { DriverDefaults } from "../runtime/options.js";
import { fromWireEnvelope } from "../wire/envelope.js";
import { readUndelivered, spoolName } from "../wire/event-log-format.js";
import { Envelope as WireEnvelope } from "../wire/gen/containerd/types/types.js";
import { resolveRuntimeName } from "./runtime-names.js";
import { createShimConnection } from "./shim-connection.js";
import { isLiving, ShimDirectory, type ShimProcess } from "./shim-directory.js";
import { ShimLink } from "./shim-link.js";
import { cleanUpContainer } from "./task-cleanup.js";

export interface ShimLauncherOptions {
  readonly state: string;
  /** Where shims send their events. */
  readonly ttrpcAddress: string;
  /** Program and leading arguments that run berth-shim. */
  readonly command: readonly string[];
  /** Options of `berth-shim serve` that come from the daemon's configuration. */
  readonly serveArguments: readonly string[];
  /** Runtime names that lead to a shim binary. */
  readonly runtimes: ReadonlyMap<string, string>;
  /** The OCI runtime for tasks whose options name none. */
  readonly runtimeDefaults: DriverDefaults;
  readonly log: Logger;
  readonly callTimeoutMs: number;
}

/** What is used of execa's subprocess. */
interface ShimChild
  extends PromiseLike<{
    readonly exitCode?: number | undefined;
    readonly signal?: string | undefined;
  }> {
  kill(signal: "SIGKILL"): boolean;
  unref(): void;
}

const endPollMs = 20;
const longestLogLine = 500;
/** Dead shims whose last events are kept for their tasks' actors, which clean up within seconds. */
const keptLastWords = 64;

export function createShimLauncher(options: ShimLauncherOptions): ShimLauncher & { close(): void } {
  const { log } = options;
  const directory = new ShimDirectory(options.state);
  /** One connection for each living shim, so that opening an id again gives what is there. */
  const connections = new Map<ShimId, { readonly connection: ShimConnection; readonly link: ShimLink }>();
  const children = new Map<ShimId, ShimChild>();
  const lastWords = new LRUCache<ShimId, Map<string, Envelope[]>>({ max: keptLastWords });

  /** At the shim's end and before anybody hears of it: its directory goes soon after. */
  function keepLastWords(shimId: ShimId): void {
    const byTask = new Map<string, Envelope[]>();
    try {
      for (const { containerId, envelope } of readUndelivered(join(directory.path(shimId), spoolName))) {
        const said = byTask.get(containerId) ?? [];
        said.push(fromWireEnvelope(WireEnvelope.decode(envelope)));
        byTask.set(containerId, said);
      }
    } catch (error) {
      log.warn({ err: error, shim: shimId }, "last events of a dead shim cannot be read");
    }
    if (byTask.size > 0) lastWords.set(shimId, byTask);
  }

  async function start(request: ShimRequest, signal: AbortSignal): Promise<ShimProcess> {
    const { shimId, namespace } = request;
    directory.prepare(request);
    const logPath = `${directory.path(shimId)}/log`;
    mkdirSync(dirname(logPath), { recursive: true, mode: 0o700 });
    // A stream around the descriptor, because execa takes no numbers; the child inherits the descriptor itself.
    const logStream = createWriteStream("", { fd: openSync(logPath, "a", 0o600) });
    const [program = process.execPath, ...leading] = options.command;
    const child = execa(
      program,
      [
        ...leading,
        "serve",
        "--id",
        shimId,
        "--namespace",
        namespace,
        "--directory",
        directory.path(shimId),
        "--ttrpc-address",
        options.ttrpcAddress,
        "--ready-fd",
        "3",
        ...options.serveArguments,
      ],
      {
        detached: true,
        cleanup: false,
        buffer: false,
        reject: false,
        stdio: ["ignore", logStream, logStream, "pipe"],
        cwd: "/",
      },
    );
    logStream.destroy();
    children.set(shimId, child);
    void child.then(() => {
      children.delete(shimId);
      connections.get(shimId)?.link.end();
    });
    const ready = child.stdio[3] as unknown as Readable;
    try {
      await heard(ready, child, signal, logPath);
    } catch (error) {
      child.kill("SIGKILL");
      await child;
      throw error;
    } finally {
      ready.destroy();
      child.unref();
    }
    const living = directory.living(shimId);
    if (living === undefined) throw unavailable(`shim ${shimId} is ready but left no pid file`);
    return living;
  }

  async function open(request: ShimRequest, signal: AbortSignal): Promise<ShimConnection> {
    const { shimId, namespace } = request;
    const known = connections.get(shimId);
    if (known !== undefined) return known.connection;
    const earlier = directory.list().some((found) => found.shimId === shimId);
    const process = directory.living(shimId) ?? (earlier ? undefined : await start(request, signal));
    if (process === undefined) throw unavailable(`shim ${shimId} is dead`);
    const child = log.child({ shim: shimId });
    const link = new ShimLink({
      address: directory.socket(shimId),
      isAlive: () => isLiving(process),
      log: child,
      callTimeoutMs: options.callTimeoutMs,
    });
    await link.connect(signal);
    const connection = createShimConnection({
      shimId,
      namespace,
      pid: process.pid,
      link,
      awaitEnd: (endSignal) => awaitEnd(process, endSignal),
    });
    connections.set(shimId, { connection, link });
    void link.closed.then(() => {
      connections.delete(shimId);
      keepLastWords(shimId);
    });
    return connection;
  }

  return {
    resolve: (runtime) => {
      const target = resolveRuntimeName(runtime, options.runtimes);
      if (!target.builtIn) {
        throw unknownError(
          `failed to start shim: ${target.binary}: shims other than the built-in one are not supported yet`,
        );
      }
      return target;
    },
    open,
    isAlive: (shimId) => directory.living(shimId) !== undefined,
    leftovers: () => directory.list(),
    undelivered(shimId, id) {
      const said = lastWords.get(shimId)?.get(id) ?? [];
      lastWords.get(shimId)?.delete(id);
      return said;
    },
    async forget(shimId) {
      connections.get(shimId)?.link.end();
      directory.remove(shimId);
    },
    cleanUpTask: (key, bundle, signal) =>
      cleanUpContainer(key, bundle, { defaults: options.runtimeDefaults, log, signal }),
    close() {
      for (const child of children.values()) child.unref();
    },
  };
}

/** Waits for the first byte on the ready pipe; fails with the shim's own last words when it exits first. */
async function heard(ready: Readable, child: ShimChild, signal: AbortSignal, logPath: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const onAbort = (): void => reject(deadlineExceeded(`shim was not ready in time${lastLine(logPath)}`));
    signal.addEventListener("abort", onAbort, { once: true });
    const done = (settle: () => void): void => {
      signal.removeEventListener("abort", onAbort);
      settle();
    };
    ready.once("data", () => done(resolve));
    ready.once("error", () => done(() => reject(unavailable("the shim's ready pipe broke"))));
    void child.then(({ exitCode, signal: killedBy }) => {
      const how = exitCode === undefined ? (killedBy ?? "could not be started") : `exit status ${exitCode}`;
      done(() => reject(unknownError(`shim exited before it was ready (${how})${lastLine(logPath)}`)));
    });
  });
}

/** The last line that the shim wrote, for an error message: its directory goes, and the log with it. */
function lastLine(logPath: string): string {
  try {
    const line = readFileSync(logPath, "utf8").trimEnd().split("\n").at(-1) ?? "";
    return line === "" ? "" : `: ${line.slice(0, longestLogLine)}`;
  } catch {
    return "";
  }
}

/** Waits until the process is gone; ends it when it has not gone by itself in time. */
async function awaitEnd(shim: ShimProcess, signal: AbortSignal): Promise<void> {
  while (isLiving(shim)) {
    if (signal.aborted) {
      if (processStat(shim.pid)?.startTicks === shim.startTicks) process.kill(shim.pid, "SIGKILL");
      throw deadlineExceeded(`shim ${shim.pid} did not exit when asked, and was killed`);
    }
    await delay(endPollMs);
  }
}
