/**
 * A built shim under test, driven over ttrpc as a daemon would: bundles, calls, and a daemon's end for its
 * events that can go away and come back. Also starts containerd's own shim in the same harness, so that both
 * can be asked the same questions.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";
import { silentLogger } from "../../src/core/logger.js";
import * as eventMessages from "../../src/wire/gen/containerd/events/events.js";
import { Options } from "../../src/wire/gen/containerd/runc/v1/runc.js";
import { ForwardRequest } from "../../src/wire/gen/containerd/services/events/ttrpc/v1/ttrpc.js";
import { Empty } from "../../src/wire/gen/google/protobuf/empty.js";
import { shimMethods, taskMethods } from "../../src/wire/task-methods.js";
import { connectTtrpc, type TtrpcClient } from "../../src/wire/ttrpc/client.js";
import { type TtrpcMethod, ttrpcMethod, ttrpcServices } from "../../src/wire/ttrpc/method.js";
import { createTtrpcServer, type TtrpcServer } from "../../src/wire/ttrpc/server.js";
import { listFds } from "../support/proc.js";
import { containerSpec, type SpecOptions } from "../support/spec.js";
import { until } from "../support/until.js";
import { createWorkspace, type Workspace } from "../support/workspace.js";

const missing = [
  ...(process.getuid?.() === 0 ? [] : ["root"]),
  ...(["/usr/sbin/runc", "/usr/bin/runc"].some((path) => existsSync(path)) ? [] : ["runc"]),
];
/** Why these tests cannot run here; "" when they can. */
export const unavailable = missing.length === 0 ? "" : `shim tests need ${missing.join(", ")}`;
if (unavailable !== "") console.warn(`SKIPPED: ${unavailable}`);

export interface BuiltShim {
  readonly program: string;
  readonly pumpWorker: string;
  remove(): void;
}

/** Bundles the shim and its pump thread as the release build does. */
export async function buildShim(): Promise<BuiltShim> {
  const directory = mkdtempSync(join(tmpdir(), "berth-shim-build-"));
  const source = (path: string): string => fileURLToPath(new URL(`../../src/${path}`, import.meta.url));
  await build({
    entryPoints: { shim: source("shim/main.ts"), pump: source("workers/stdio-pump.worker.ts") },
    outdir: directory,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    platform: "node",
    target: "node20",
    format: "esm",
    logLevel: "error",
    plugins: [
      {
        name: "native-packages-by-url",
        setup({ onResolve }) {
          onResolve({ filter: /^koffi$/ }, ({ path }) => ({
            path: pathToFileURL(createRequire(import.meta.url).resolve(path)).href,
            external: true,
          }));
        },
      },
    ],
  });
  return {
    program: join(directory, "shim.mjs"),
    pumpWorker: join(directory, "pump.mjs"),
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}

export interface SeenEvent {
  readonly topic: string;
  readonly containerId: string;
  /** `exit c1 init 3`, `exec-started c1 e1`, `paused c1`. */
  readonly text: string;
  readonly key: string;
  readonly namespaceHeader: string;
  readonly at: number;
}

/** The daemon's ttrpc socket: collects events, or refuses them. */
export class FakeDaemon {
  readonly address: string;
  readonly events: SeenEvent[] = [];
  /** When set, each Forward is answered by it (after it was recorded, if it resolves). */
  answer: () => Promise<void> = async () => {};
  #server: TtrpcServer | undefined;

  constructor(address: string) {
    this.address = address;
  }

  async listen(): Promise<void> {
    const forward = ttrpcMethod(
      "containerd.services.events.ttrpc.v1.Events",
      "Forward",
      ForwardRequest,
      Empty,
    );
    this.#server = createTtrpcServer({
      log: silentLogger,
      services: ttrpcServices(
        forward.handledBy(async ({ envelope }, call) => {
          await this.answer();
          if (envelope?.event === undefined) throw new Error("an event without payload");
          const { containerId, text } = describe(envelope.topic, envelope.event.value);
          this.events.push({
            topic: envelope.topic,
            containerId,
            text,
            key: call.metadata.get("berth-event-key")?.[0] ?? "",
            namespaceHeader: call.metadata.get("containerd-namespace-ttrpc")?.[0] ?? "",
            at: performance.now(),
          });
          return {};
        }),
      ),
    });
    await this.#server.listen(this.address);
  }

  async close(): Promise<void> {
    await this.#server?.close();
    this.#server = undefined;
  }

  of(containerId: string): string[] {
    return this.events.filter((event) => event.containerId === containerId).map((event) => event.text);
  }

  async saw(text: string, timeoutMs = 10_000): Promise<void> {
    await until(`event ${text}`, () => this.events.some((event) => event.text === text), { timeoutMs });
  }
}

function describe(topic: string, value: Uint8Array): { containerId: string; text: string } {
  const word = topic.replace("/tasks/", "");
  const names: Record<string, { decode(bytes: Uint8Array): object }> = {
    create: eventMessages.TaskCreate,
    start: eventMessages.TaskStart,
    "exec-added": eventMessages.TaskExecAdded,
    "exec-started": eventMessages.TaskExecStarted,
    exit: eventMessages.TaskExit,
    oom: eventMessages.TaskOOM,
    paused: eventMessages.TaskPaused,
    resumed: eventMessages.TaskResumed,
    delete: eventMessages.TaskDelete,
  };
  const event = (names[word]?.decode(value) ?? {}) as Record<string, string | number | undefined>;
  const { containerId = "", id = "", execId = "", exitStatus } = event;
  const process = word === "exit" ? (id === containerId ? "init" : id) : execId;
  const parts = [word, containerId, process, exitStatus].filter((part) => part !== "" && part !== undefined);
  return { containerId: String(containerId), text: parts.join(" ") };
}

export interface TaskRequest {
  readonly id: string;
  readonly args: readonly string[];
  readonly spec?: Partial<SpecOptions>;
  readonly stdin?: string;
  readonly stdout?: string;
  readonly stderr?: string;
  readonly terminal?: boolean;
  readonly options?: Partial<Options>;
  /** Changes the spec's JSON as a whole. */
  readonly change?: (spec: Record<string, unknown>) => void;
  readonly rootfs?: readonly { type: string; source: string; target: string; options: string[] }[];
}

export interface ShimUnderTest {
  readonly kind: "berth" | "containerd";
  readonly workspace: Workspace;
  readonly namespace: string;
  readonly directory: string;
  readonly daemon: FakeDaemon;
  readonly client: TtrpcClient;
  readonly pid: number;
  call<Q, R>(method: TtrpcMethod<Q, R>, request: Q, timeoutMs?: number): Promise<R>;
  /** Makes a bundle and creates its task; returns init's pid. */
  create(request: TaskRequest): Promise<number>;
  /** Only the bundle; returns its path. */
  bundle(request: TaskRequest): string;
  start(id: string, execId?: string): Promise<number>;
  wait(id: string, execId?: string): Promise<number>;
  delete(id: string, execId?: string): Promise<{ readonly pid: number; readonly exitStatus: number }>;
  kill(id: string, signal: number, options?: { execId?: string; all?: boolean }): Promise<void>;
  /** A second connection, as another daemon would make. */
  connect(): Promise<TtrpcClient>;
  log(): string;
  /** Ends the process and everything that was started. */
  dispose(): Promise<void>;
}

export interface StartOptions {
  readonly built?: BuiltShim;
  readonly args?: readonly string[];
  /** A command that ends in exec of its arguments. */
  readonly launcher?: readonly string[];
  readonly daemonListens?: boolean;
  readonly runtime?: string;
}

/** Starts berth-shim as berthd does: detached, waiting for its ready line. */
export async function startShim(built: BuiltShim, options: StartOptions = {}): Promise<ShimUnderTest> {
  const workspace = createWorkspace();
  const namespace = workspace.newNamespace();
  const directory = join(workspace.directory, "shim");
  mkdirSync(directory, { mode: 0o700 });
  const daemon = new FakeDaemon(join(workspace.directory, "d.ttrpc"));
  if (options.daemonListens !== false) await daemon.listen();
  let log = "";
  const command = [
    ...(options.launcher ?? []),
    process.execPath,
    ...["--max-semi-space-size=1", built.program, "serve", "--id", "s1", "--namespace", namespace],
    ...["--directory", directory, "--ttrpc-address", daemon.address, "--ready-fd", "3"],
    ...["--pump-worker-path", built.pumpWorker, "--runtime-root", join(workspace.directory, "runtime")],
    ...[
      "--log-level",
      "debug",
      ...(options.runtime === undefined ? [] : ["--runtime-binary", options.runtime]),
    ],
    ...(options.args ?? []),
  ];
  const [program = "", ...args] = command;
  const child = spawn(program, args, { detached: true, stdio: ["ignore", "pipe", "pipe", "pipe"], cwd: "/" });
  child.stdout?.on("data", (chunk: Buffer) => (log += `STDOUT ${chunk}`));
  child.stderr?.on("data", (chunk: Buffer) => (log += chunk.toString()));
  await new Promise<void>((resolve, reject) => {
    (child.stdio[3] as Readable).once("data", () => resolve());
    child.once("exit", (code) => reject(new Error(`shim exited with ${code}: ${log}`)));
  });
  const socket = join(directory, "shim.sock");
  const client = await connectTtrpc(socket);
  return underTest("berth", {
    workspace,
    namespace,
    directory,
    daemon,
    client,
    child,
    socket,
    log: () => log,
  });
}

/** Starts containerd-shim-runc-v2 with containerd's command line. It serves the tasks of one group. */
export async function startGoShim(id: string): Promise<ShimUnderTest> {
  const workspace = createWorkspace();
  const namespace = workspace.newNamespace();
  const directory = join(workspace.directory, "shim");
  mkdirSync(join(directory, id), { recursive: true, mode: 0o700 });
  writeFileSync(join(directory, id, "config.json"), "{}");
  const daemon = new FakeDaemon(join(workspace.directory, "d.sock.ttrpc"));
  await daemon.listen();
  execFileSync("mkfifo", [join(directory, id, "log")]);
  // The shim opens its log FIFO for writing and waits for a reader.
  const reader = spawn("cat", [join(directory, id, "log")], { stdio: "ignore" });
  const address = await new Promise<string>((resolve, reject) => {
    const grpc = join(workspace.directory, "d.sock");
    const starter = spawn(
      "containerd-shim-runc-v2",
      ["-namespace", namespace, "-address", grpc, "-publish-binary", "/bin/true", "-id", id, "start"],
      {
        cwd: join(directory, id),
        env: { ...process.env, TTRPC_ADDRESS: daemon.address },
        stdio: ["ignore", "pipe", "pipe"],
      },
    );
    let output = "";
    starter.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
    starter.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
    starter.once("exit", (code) => (code === 0 ? resolve(output.trim()) : reject(new Error(output))));
  });
  const socket = address.replace(/^unix:\/\//, "");
  const client = await connectTtrpc(socket);
  return underTest("containerd", {
    workspace,
    namespace,
    directory,
    daemon,
    client,
    child: reader,
    socket,
    log: () => "",
  });
}

interface Parts {
  readonly workspace: Workspace;
  readonly namespace: string;
  readonly directory: string;
  readonly daemon: FakeDaemon;
  readonly client: TtrpcClient;
  readonly child: ChildProcess;
  readonly socket: string;
  readonly log: () => string;
}

async function underTest(kind: ShimUnderTest["kind"], parts: Parts): Promise<ShimUnderTest> {
  const { workspace, namespace, directory, daemon, client, child, socket } = parts;
  const call: ShimUnderTest["call"] = (method, request, timeoutMs = 30_000) =>
    method.call(client, request, { timeoutMs });
  const { shimPid } = await call(taskMethods.connect, { id: "none" });
  const bundle = ({ id, args, spec, terminal = false, change }: TaskRequest): string => {
    const path = kind === "containerd" ? join(directory, id) : join(workspace.directory, "b", id);
    mkdirSync(join(path, "rootfs"), { recursive: true, mode: 0o711 });
    const document = containerSpec({
      rootfs: workspace.rootfs,
      args,
      cgroupsPath: `/${namespace}/${id}`,
      terminal,
      ...spec,
    });
    change?.(document);
    writeFileSync(join(path, "config.json"), JSON.stringify(document));
    return path;
  };
  const self: ShimUnderTest = {
    kind,
    workspace,
    namespace,
    directory,
    daemon,
    client,
    pid: shimPid,
    call,
    bundle,
    async create(request) {
      const { id, stdin = "", stdout = "", stderr = "", terminal = false, options, rootfs = [] } = request;
      const any =
        options === undefined && kind === "berth"
          ? undefined
          : {
              typeUrl: "containerd.runc.v1.Options",
              value: Buffer.from(
                Options.encode(
                  Options.fromPartial({
                    ...(kind === "containerd" ? { root: join(workspace.directory, "runtime") } : {}),
                    ...options,
                  }),
                ).finish(),
              ),
            };
      const { pid } = await call(taskMethods.create, {
        id,
        bundle: bundle(request),
        rootfs: [...rootfs],
        terminal,
        stdin,
        stdout,
        stderr,
        checkpoint: "",
        parentCheckpoint: "",
        options: any,
      });
      return pid;
    },
    start: async (id, execId = "") => (await call(taskMethods.start, { id, execId })).pid,
    wait: async (id, execId = "") => (await call(taskMethods.wait, { id, execId })).exitStatus,
    delete: (id, execId = "") => call(taskMethods.delete, { id, execId }),
    async kill(id, signal, { execId = "", all = false } = {}) {
      await call(taskMethods.kill, { id, execId, signal, all });
    },
    connect: () => connectTtrpc(socket),
    log: parts.log,
    async dispose() {
      client.close();
      try {
        process.kill(shimPid, "SIGKILL");
      } catch {
        // Ended by itself.
      }
      child.kill("SIGKILL");
      await workspace.dispose();
      await daemon.close();
      rmSync(socket, { force: true });
    },
  };
  return self;
}

/** What the shim says of itself. */
export const statsOf = (shim: ShimUnderTest) => shim.call(shimMethods.stats, {});

/** Where its descriptors point; the event log comes and goes with the events. */
export const fdsOf = (shim: ShimUnderTest): string[] =>
  listFds(shim.pid).filter((target) => !target.includes("/spool/"));
