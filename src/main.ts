#!/usr/bin/env -S node --max-semi-space-size=2
// A young generation of 2 MB: with Node's 16, half of the daemon's memory would be garbage that nobody collects.
/** berthd: reads its command line and configuration, starts the daemon, and turns signals into a stop. */
import { pino } from "pino";
import { loadConfig } from "./config/config.js";
import { renderConfig, renderDefaults } from "./config/render.js";
import { DaemonError } from "./core/errors.js";
import { revision, version } from "./core/version.js";
import { parseCommandLine, usage } from "./daemon/command-line.js";
import { startDaemon } from "./daemon/daemon.js";

/** After this a stop that hangs is cut short: containers do not need it. Milliseconds. */
const stopLimitMs = 20_000;

async function run(args: readonly string[]): Promise<number> {
  const command = parseCommandLine(args);
  switch (command.kind) {
    case "help":
      process.stdout.write(usage);
      return 0;
    case "version":
      process.stdout.write(`berthd berth ${version} ${revision}\n`);
      return 0;
    case "config-default":
      process.stdout.write(renderDefaults());
      return 0;
  }
  const { config, unknownKeys } = loadConfig(command.configFile, command.overrides);
  if (command.kind === "config-dump") {
    process.stdout.write(renderConfig(config));
    return 0;
  }

  const log = pino({
    level: config.logLevel,
    base: { pid: process.pid },
    timestamp: pino.stdTimeFunctions.isoTime,
  });
  for (const key of unknownKeys)
    log.warn({ key, file: command.configFile.path }, "unknown configuration key ignored");
  if (process.getuid?.() !== 0)
    throw new DaemonError("permission-denied", "berthd has to run as root: it makes mounts and cgroups");
  if (config.oomScore !== 0) await setOomScore(config.oomScore);

  const daemon = await startDaemon(config, log);
  process.on("SIGPIPE", () => undefined);
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      log.info({ signal }, "stopping; containers run on");
      setTimeout(() => process.exit(1), stopLimitMs).unref();
      void daemon.stop();
    });
  }
  const reason = await daemon.ended;
  await daemon.stop();
  if (reason.kind !== "crash") return 0;
  log.error({ err: reason.error }, "the supervision tree gave up");
  return 1;
}

async function setOomScore(value: number): Promise<void> {
  const { writeFile } = await import("node:fs/promises");
  await writeFile("/proc/self/oom_score_adj", String(value));
}

run(process.argv.slice(2)).then(
  (status) => process.exit(status),
  (error: unknown) => {
    process.stderr.write(`berthd: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(1);
  },
);
