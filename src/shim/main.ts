#!/usr/bin/env node
/**
 * berth-shim, the process that parents containers. It owes its tasks to outlive everything around it: the
 * daemon's death, closed pipes, polite signals, and bugs of its own that an exception reports.
 */
import { closeSync, mkdirSync, renameSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../core/clock.js";
import { version } from "../core/version.js";
import { processStartTicks, setOomScoreAdjustment } from "../native/process.js";
import { becomeSubreaper } from "../native/reaper.js";
import { parseServeOptions, type ServeOptions, usage } from "./serve-options.js";
import { createShim } from "./shim.js";
import { createShimLog } from "./shim-log.js";

async function main(args: readonly string[]): Promise<number> {
  const [command, ...rest] = args;
  if (command === "--version" || command === "-v") {
    process.stdout.write(`berth-shim ${version}\n`);
    return 0;
  }
  if (command === "--help" || command === "-h") {
    process.stdout.write(usage);
    return 0;
  }
  if (command !== "serve") {
    process.stderr.write(usage);
    return 2;
  }
  return serve(parseServeOptions(rest));
}

async function serve(options: ServeOptions): Promise<number> {
  const log = createShimLog(options.logLevel, { shimId: options.shimId, namespace: options.namespace });
  // Held working directories keep mounts busy.
  process.chdir("/");
  becomeSubreaper();
  if (options.oomScoreAdjustment !== undefined) adjustOomScore(options.oomScoreAdjustment);
  // A bug in one call must not take every container of this process with it.
  process.on("uncaughtException", (err) => log.error({ err }, "uncaught exception"));
  process.on("unhandledRejection", (err) => log.error({ err }, "unhandled rejection"));
  process.on("SIGPIPE", () => undefined);
  process.on("SIGHUP", () => undefined);

  mkdirSync(options.directory, { recursive: true, mode: 0o700 });
  const shim = createShim(options, log, systemClock);
  await shim.listen();
  const pidFile = writePidFile(options.directory);
  if (options.readyFd !== undefined) announce(options.readyFd);
  log.info({ pid: process.pid, version }, "shim serves");

  for (const name of ["SIGTERM", "SIGINT"] as const) {
    process.on(name, () => {
      if (!shim.end(name)) log.info({ signal: name }, "signal ignored, there are tasks");
    });
  }
  const reason = await shim.ended;
  log.info({ reason }, "shim ends");
  await shim.close();
  rmSync(pidFile, { force: true });
  return 0;
}

/** The start time tells this process from a later one with its pid. */
function writePidFile(directory: string): string {
  const path = join(directory, "pid");
  const startTicks = processStartTicks(process.pid);
  writeFileSync(`${path}.tmp`, JSON.stringify({ pid: process.pid, startTicks, version }), { mode: 0o600 });
  renameSync(`${path}.tmp`, path);
  return path;
}

function announce(fd: number): void {
  try {
    writeSync(fd, "ready\n");
  } catch {
    // Whoever started us has not waited: we serve all the same.
  }
  closeSync(fd);
}

function adjustOomScore(value: number): void {
  try {
    setOomScoreAdjustment("self", value);
  } catch {
    // Lowering it needs a privilege; the kernel's default is only less good.
  }
}

main(process.argv.slice(2)).then(
  (status) => process.exit(status),
  (error: unknown) => {
    process.stderr.write(`berth-shim: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(1);
  },
);
