/**
 * The `berth` command under test, bundled from the sources, against a daemon: the real containerd, berthd when
 * it has been built, or whatever listens on BERTH_TEST_ADDRESS.
 */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { build } from "esbuild";
import { type DaemonKind, haveBerthd, startDaemon } from "../support/daemon.js";
import { until } from "../support/until.js";
import { createWorkspace, type Workspace } from "../support/workspace.js";

const project = resolve(import.meta.dirname, "../..");

/** The daemons that the suites run against. */
export function daemonKinds(): readonly (DaemonKind | "external")[] {
  if (process.env.BERTH_TEST_ADDRESS) return ["external"];
  const only = process.env.BERTH_TEST_DAEMON;
  if (only === "containerd" || only === "berthd") return [only];
  return haveBerthd() ? ["containerd", "berthd"] : ["containerd"];
}

export interface Result {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunningCli {
  readonly child: ChildProcessWithoutNullStreams;
  /** Everything printed so far. */
  readonly stdout: () => string;
  readonly stderr: () => string;
  /** Resolves when stdout matches; rejects after 10 s or when the command has ended without. */
  printed(pattern: RegExp): Promise<RegExpExecArray>;
  readonly ended: Promise<Result>;
}

export interface CliHarness {
  readonly address: string;
  readonly namespace: string;
  readonly workspace: Workspace;
  readonly program: string;
  /** FIFO directories that commands made and did not remove. */
  fifosLeft(): readonly string[];
  /** SIGKILLs the daemon and starts it again; undefined when it is not ours to kill. */
  readonly restartDaemon: (() => Promise<void>) | undefined;
  /** Starts the command; `stdin` undefined leaves it open. */
  start(args: readonly string[], options?: { readonly env?: Record<string, string> }): RunningCli;
  /** Starts a shell command on a terminal of its own; `$BERTH` in it is the command. */
  startOnTerminal(script: string): RunningCli;
  run(...args: readonly string[]): Promise<Result>;
  runWithInput(input: string | Buffer, ...args: readonly string[]): Promise<Result>;
  /** A container id that no other test uses. */
  newId(prefix?: string): string;
  dispose(): Promise<void>;
}

/** Bundles the command and starts a daemon for it. */
export async function createHarness(kind: DaemonKind | "external"): Promise<CliHarness> {
  const cache = join(project, "node_modules/.cache", `berth-cli-${process.pid}-${Date.now()}`);
  mkdirSync(cache, { recursive: true });
  const program = join(cache, "berth.mjs");
  await build({
    entryPoints: [join(project, "src/cli/main.ts")],
    outfile: program,
    bundle: true,
    platform: "node",
    format: "esm",
    packages: "external",
    logLevel: "error",
  });
  const workspace = createWorkspace();
  const daemon = kind === "external" ? undefined : await startDaemon({ kind, workspace });
  const address = daemon?.address ?? process.env.BERTH_TEST_ADDRESS ?? "";
  const namespace = workspace.newNamespace();
  const fifoDirectory = workspace.newDirectory("fifo");
  const environment = {
    ...process.env,
    BERTH_ADDRESS: address,
    BERTH_NAMESPACE: namespace,
    BERTH_FIFO_DIR: fifoDirectory,
  };
  let counter = 0;
  const live = new Set<RunningCli>();

  const launch = (file: string, args: readonly string[], env: NodeJS.ProcessEnv): RunningCli => {
    const child = spawn(file, args, { env, stdio: ["pipe", "pipe", "pipe"] });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    child.stdin.on("error", () => {}); // The command may end without having read its input.
    let over = false;
    const ended = new Promise<Result>((done) => {
      child.once("close", (status) => {
        over = true;
        live.delete(running);
        done({ status, stdout, stderr });
      });
    });
    const running: RunningCli = {
      child,
      stdout: () => stdout,
      stderr: () => stderr,
      ended,
      printed: (pattern) =>
        until(
          `${pattern} on stdout`,
          () => {
            const match = pattern.exec(stdout);
            if (match === null && over) throw new Error(`ended without ${pattern}: ${stdout}${stderr}`);
            return match ?? undefined;
          },
          { intervalMs: 10 },
        ),
    };
    live.add(running);
    return running;
  };

  const start: CliHarness["start"] = (args, options = {}) =>
    launch(process.execPath, [program, ...args], { ...environment, ...options.env });
  const runWithInput: CliHarness["runWithInput"] = async (input, ...args) => {
    const running = start(args);
    running.child.stdin.end(input);
    return running.ended;
  };
  return {
    address,
    namespace,
    workspace,
    program,
    fifosLeft: () => readdirSync(fifoDirectory),
    restartDaemon:
      daemon === undefined
        ? undefined
        : async () => {
            await daemon.kill();
            await daemon.restart();
          },
    start,
    startOnTerminal: (script) =>
      launch("script", ["--quiet", "--flush", "--return", "--command", script, "/dev/null"], {
        ...environment,
        SHELL: "/bin/sh",
        BERTH: `${process.execPath} ${program}`,
      }),
    run: (...args) => runWithInput("", ...args),
    runWithInput,
    newId: (prefix = "c") => `${prefix}${counter++}`,
    dispose: async () => {
      for (const { child } of live) child.kill("SIGKILL");
      await daemon?.dispose();
      await workspace.dispose();
      rmSync(cache, { recursive: true, force: true });
    },
  };
}
