/** Starting, finding and losing shim processes, with a small program in berth-shim's place. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { zeroInstant } from "../../../src/core/exit.js";
import type { ContainerId, Namespace, ShimId } from "../../../src/core/ids.js";
import { silentLogger } from "../../../src/core/logger.js";
import type { ShimConnection } from "../../../src/ports/shim-launcher-port.js";
import { EventLog } from "../../../src/shim/event-log.js";
import { createShimLauncher } from "../../../src/shim-link/shim-launcher.js";
import { Envelope } from "../../../src/wire/gen/containerd/types/types.js";
import { toTimestamp } from "../../../src/wire/timestamp.js";
import { isAlive } from "../../support/proc.js";
import { until } from "../../support/until.js";

/** Behaves as its first argument says, as far as a launcher can see. */
const program = `
const [mode, command, ...rest] = process.argv.slice(2);
const fs = require("node:fs"), net = require("node:net"), path = require("node:path");
const option = (name) => rest[rest.indexOf(name) + 1];
if (command !== "serve") process.exit(9);
const directory = option("--directory");
const writePid = () => {
  const stat = fs.readFileSync("/proc/self/stat", "latin1");
  const startTicks = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]);
  fs.writeFileSync(path.join(directory, "pid"), JSON.stringify({ pid: process.pid, startTicks }));
};
fs.writeFileSync(path.join(directory, "arguments"), JSON.stringify(rest));
if (mode === "early") { console.error("cannot start: no such thing"); process.exit(3); }
const serve = () => net.createServer((socket) => socket.on("error", () => {})).listen(path.join(directory, "shim.sock"), () => {
  writePid();
  fs.writeSync(Number(option("--ready-fd")), "ready\\n");
  fs.closeSync(Number(option("--ready-fd")));
});
if (mode === "ready") serve();
if (mode === "never") { writePid(); setInterval(() => {}, 1000); }
`;

const request = (shimId: string) => ({ shimId: shimId as ShimId, namespace: "n" as Namespace, runtime: "" });
const soon = (): AbortSignal => AbortSignal.timeout(10_000);
let state: string;
let script: string;
const started: ShimConnection[] = [];
beforeEach(() => {
  state = mkdtempSync(join(tmpdir(), "bl-"));
  script = join(state, "program.cjs");
  writeFileSync(script, program);
});
afterEach(async () => {
  for (const { pid } of started.splice(0)) {
    if (isAlive(pid)) process.kill(pid, "SIGKILL");
    await until("the shim to end", () => !isAlive(pid));
  }
  rmSync(state, { recursive: true, force: true });
});

const launcherOf = (mode: string) =>
  createShimLauncher({
    state,
    ttrpcAddress: "/tmp/x.ttrpc",
    command: [process.execPath, script, mode],
    serveArguments: ["--extra", "1"],
    runtimes: new Map([["io.other.v1", process.execPath]]),
    runtimeDefaults: { binary: "runc", root: join(state, "runtime") },
    log: silentLogger,
    callTimeoutMs: 1000,
  });
const opened = async (launcher: ReturnType<typeof launcherOf>, shimId: string): Promise<ShimConnection> => {
  const connection = await launcher.open(request(shimId), soon());
  started.push(connection);
  return connection;
};

describe("starting a shim", () => {
  it("gives a connection to a process that knows who it is", async () => {
    const launcher = launcherOf("ready");
    const connection = await opened(launcher, "s1");
    expect(connection).toMatchObject({ shimId: "s1", namespace: "n", connected: true });
    expect(isAlive(connection.pid)).toBe(true);
    expect(launcher.isAlive("s1" as ShimId)).toBe(true);
    expect(launcher.leftovers()).toEqual([request("s1")]);
    const words: unknown = JSON.parse(readFileSync(join(state, "shims", "s1", "arguments"), "utf8"));
    expect(words).toEqual(
      expect.arrayContaining([
        "--id",
        "s1",
        "--namespace",
        "n",
        "--ttrpc-address",
        "/tmp/x.ttrpc",
        "--extra",
        "1",
      ]),
    );
  });

  it("gives the same connection again for the same id", async () => {
    const launcher = launcherOf("ready");
    const first = await opened(launcher, "s1");
    expect(await launcher.open(request("s1"), soon())).toBe(first);
  });

  it("says with its last words why one exited before it was ready", async () => {
    const launcher = launcherOf("early");
    await expect(launcher.open(request("s1"), soon())).rejects.toMatchObject({
      kind: "unknown",
      message: "shim exited before it was ready (exit status 3): cannot start: no such thing",
    });
    expect(launcher.isAlive("s1" as ShimId)).toBe(false);
  });

  it("gives up on one that is never ready, and leaves no process", async () => {
    const launcher = launcherOf("never");
    await expect(launcher.open(request("s1"), AbortSignal.timeout(300))).rejects.toMatchObject({
      kind: "deadline-exceeded",
    });
    expect(launcher.isAlive("s1" as ShimId)).toBe(false);
  });

  it("refuses runtimes that only a foreign shim serves", () => {
    expect(() => launcherOf("ready").resolve("io.other.v1")).toThrow(/not supported yet/);
    expect(launcherOf("ready").resolve("io.containerd.runc.v2")).toEqual({ builtIn: true });
  });
});

describe("a shim of an earlier daemon", () => {
  it("is found again while it lives", async () => {
    const { pid } = await opened(launcherOf("ready"), "s1");
    const next = launcherOf("early"); // would fail if it started anything
    expect(next.leftovers()).toEqual([request("s1")]);
    expect((await next.open(request("s1"), soon())).pid).toBe(pid);
  });

  it("that is dead is not started again under its id", async () => {
    const { pid } = await opened(launcherOf("ready"), "s1");
    process.kill(pid, "SIGKILL");
    await until("the shim to end", () => !isAlive(pid));
    const next = launcherOf("ready");
    await expect(next.open(request("s1"), soon())).rejects.toMatchObject({ message: "shim s1 is dead" });
    await next.forget("s1" as ShimId);
    expect(next.leftovers()).toEqual([]);
    expect(existsSync(join(state, "shims", "s1"))).toBe(false);
  });
});

describe("the death of a shim", () => {
  it("closes its connection, whether this daemon started it or found it", async () => {
    const own = await opened(launcherOf("ready"), "s1");
    const found = await launcherOf("early").open(request("s1"), soon());
    process.kill(own.pid, "SIGKILL");
    await Promise.all([own.closed, found.closed]);
    expect(own.connected).toBe(false);
    await expect(own.ping(soon())).rejects.toMatchObject({ kind: "unavailable" });
  });

  it("leaves what it had still to say, for each task once", async () => {
    const launcher = launcherOf("ready");
    const connection = await opened(launcher, "s1");
    const spool = EventLog.open(join(state, "shims", "s1", "spool"));
    const envelope = (topic: string) => ({
      timestamp: zeroInstant,
      namespace: "n",
      topic,
      event: { typeUrl: "t", value: Buffer.from([1]) },
    });
    ["a", "b", "a"].forEach((containerId, index) => {
      const sent = envelope(`/tasks/${index}`);
      const bytes = Envelope.encode({ ...sent, timestamp: toTimestamp(sent.timestamp) }).finish();
      spool.append({ sequence: index + 1, containerId, envelope: bytes });
    });
    spool.acknowledge(1);
    spool.close();
    process.kill(connection.pid, "SIGKILL");
    await connection.closed;
    await launcher.forget("s1" as ShimId);
    const of = (id: string) => launcher.undelivered("s1" as ShimId, id as ContainerId);
    expect(of("a")).toEqual([envelope("/tasks/2")]);
    expect(of("a")).toEqual([]);
    expect(of("b")).toEqual([envelope("/tasks/1")]);
    expect(of("c")).toEqual([]);
  });
});
