/**
 * Starts a daemon under test: berthd, or the real containerd that it is compared with. Both get private root,
 * state and socket, so that any number of them run beside each other and beside the machine's own.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { createClients, type RawClients } from "./clients.js";
import { until } from "./until.js";
import { createWorkspace, type Workspace } from "./workspace.js";

export type DaemonKind = "containerd" | "berthd";

export interface DaemonOptions {
  readonly kind: DaemonKind;
  /** Where its directories go; without one the daemon makes its own and removes it in `dispose`. */
  readonly workspace?: Workspace;
  /** Added to the environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Extra TOML: for containerd whole tables, for berthd the whole configuration file. */
  readonly config?: string;
  /** Serve metrics over HTTP on a unix socket (berthd) or this address (containerd, host:port). */
  readonly metricsAddress?: string;
  /** A command that ends in exec of its arguments, such as `unshare -m sh -c '…; exec "$@"' sh`. */
  readonly launcher?: readonly string[];
  /** `debug` when not given. */
  readonly logLevel?: string;
  /** Use these instead of fresh ones: tests of full disks mount small file systems there. */
  readonly root?: string;
  readonly state?: string;
}

export interface Daemon {
  readonly kind: DaemonKind;
  readonly address: string;
  readonly root: string;
  readonly state: string;
  readonly workspace: Workspace;
  /** Of the present incarnation. */
  readonly pid: number;
  /** A connection that outlives restarts of the daemon. */
  readonly clients: RawClients;
  /** Everything it wrote so far. */
  logs(): string;
  /** SIGTERM, and SIGKILL after 10 s. Containers and shims live on. */
  stop(): Promise<void>;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
  /** Starts it again on the same directories after `stop` or `kill`; resolves when it serves. */
  restart(): Promise<void>;
  /** Stops it and, if the workspace is its own, removes that with all that runs in it. */
  dispose(): Promise<void>;
}

const project = resolve(import.meta.dirname, "../..");
/** `BERTH_DIST`: another build than the project's own. */
export const berthdEntry = join(process.env.BERTH_DIST ?? join(project, "dist"), "bin/berthd.js");

/** False until the project was built. */
export const haveBerthd = (): boolean => existsSync(berthdEntry);

const disabledPlugins = [
  "io.containerd.grpc.v1.cri",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.internal.v1.tracing",
];

interface Paths {
  readonly base: string;
  readonly root: string;
  readonly state: string;
  readonly address: string;
}

function containerdCommand(paths: Paths, options: DaemonOptions): string[] {
  const file = join(paths.base, "config.toml");
  const lines = [
    "version = 2",
    `root = ${JSON.stringify(paths.root)}`,
    `state = ${JSON.stringify(paths.state)}`,
    `disabled_plugins = ${JSON.stringify(disabledPlugins)}`,
    "[grpc]",
    `address = ${JSON.stringify(paths.address)}`,
    ...(options.metricsAddress === undefined
      ? []
      : ["[metrics]", `address = ${JSON.stringify(options.metricsAddress)}`]),
    "[plugins]",
    '[plugins."io.containerd.internal.v1.opt"]',
    `path = ${JSON.stringify(join(paths.base, "opt"))}`,
    options.config ?? "",
  ];
  writeFileSync(file, `${lines.join("\n")}\n`);
  const level = options.logLevel === undefined ? [] : ["--log-level", options.logLevel];
  return ["containerd", "--config", file, ...level];
}

function berthdCommand(paths: Paths, options: DaemonOptions): string[] {
  if (!haveBerthd()) throw new Error(`${berthdEntry} is missing: build the project first`);
  // As it is installed: its first line names the flags that Node gets.
  const command = [berthdEntry, "--root", paths.root, "--state", paths.state];
  command.push("--address", paths.address, "--log-level", options.logLevel ?? "debug");
  if (options.metricsAddress !== undefined) command.push("--metrics-address", options.metricsAddress);
  if (options.config !== undefined) {
    const file = join(paths.base, "config.toml");
    writeFileSync(file, options.config);
    command.push("--config", file);
  }
  return command;
}

/** Resolves when the daemon answers its health check; rejects with its log when it does not within 30 s. */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const workspace = options.workspace ?? createWorkspace();
  const base = workspace.newDirectory(options.kind === "berthd" ? "b" : "c");
  const paths: Paths = {
    base,
    root: options.root ?? join(base, "r"),
    state: options.state ?? join(base, "s"),
    address: join(base, "a.sock"),
  };
  mkdirSync(paths.root, { recursive: true });
  mkdirSync(paths.state, { recursive: true });
  const command =
    options.kind === "berthd" ? berthdCommand(paths, options) : containerdCommand(paths, options);
  const [file = "", ...args] = [...(options.launcher ?? []), ...command];
  const logFile = join(base, "daemon.log");
  const logs = (): string => (existsSync(logFile) ? readFileSync(logFile, "utf8") : "");
  const clients = createClients(paths.address);
  let child: ChildProcess;
  let exited: Promise<void> = Promise.resolve();

  const start = async (): Promise<void> => {
    const log = openSync(logFile, "a");
    child = spawn(file, args, { stdio: ["ignore", log, log], env: { ...process.env, ...options.env } });
    closeSync(log);
    let ended: string | undefined;
    exited = new Promise((done) => {
      child.once("error", (error) => {
        ended = error.message;
        done();
      });
      child.once("exit", (code, signal) => {
        ended = `exit ${code ?? signal}`;
        done();
      });
    });
    try {
      await until(
        `${options.kind} to serve`,
        async () => {
          if (ended !== undefined) throw new Error(`${options.kind} ended while starting: ${ended}`);
          return (await clients.isServing()) || undefined;
        },
        { timeoutMs: 30_000, intervalMs: 50 },
      );
    } catch (cause) {
      child.kill("SIGKILL");
      throw new Error(`${options.kind} did not start; its log ends with:\n${logs().slice(-4000)}`, { cause });
    }
  };

  const end = async (signal: "SIGTERM" | "SIGKILL"): Promise<void> => {
    child.kill(signal);
    const backstop = setTimeout(() => child.kill("SIGKILL"), 10_000);
    await exited;
    clearTimeout(backstop);
  };

  const dispose = async (): Promise<void> => {
    await end("SIGTERM");
    clients.close();
    if (options.workspace === undefined) await workspace.dispose();
  };
  try {
    await start();
  } catch (error) {
    clients.close();
    if (options.workspace === undefined) await workspace.dispose();
    throw error;
  }
  return {
    kind: options.kind,
    address: paths.address,
    root: paths.root,
    state: paths.state,
    workspace,
    get pid() {
      return child.pid ?? 0;
    },
    clients,
    logs,
    stop: () => end("SIGTERM"),
    kill: () => end("SIGKILL"),
    restart: start,
    dispose,
  };
}

/** berthd's configuration that has output copied by its pump, or handed to the container directly. */
export const stdioConfig = (mode: "direct" | "pump"): string => `[plugins."berth.stdio"]\nmode = "${mode}"\n`;

/** Which daemon the berthd-only suites drive: `BERTH_TEST_DAEMON=containerd` checks the tests themselves. */
export const subjectKind = (): DaemonKind =>
  process.env.BERTH_TEST_DAEMON === "containerd" ? "containerd" : "berthd";
