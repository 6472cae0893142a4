import { existsSync, lstatSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createGrpcServer } from "../../../src/api/grpc-server.js";
import { listenOnUnixSocket } from "../../../src/api/unix-socket.js";
import { zeroInstant } from "../../../src/core/exit.js";
import { silentLogger } from "../../../src/core/logger.js";
import { EventsService } from "../../../src/wire/gen/containerd/services/events/v1/events.js";
import { TasksService as T } from "../../../src/wire/gen/containerd/services/tasks/v1/tasks.js";
import { VersionService } from "../../../src/wire/gen/containerd/services/version/v1/version.js";
import { HealthService } from "../../../src/wire/gen/grpc/health/v1/health.js";
import { endOf, type Harness, startApi } from "./harness.js";

describe("shutting the gRPC server down", () => {
  let api: Harness;
  beforeEach(async () => {
    api = await startApi();
  });
  afterEach(() => api[Symbol.asyncDispose]());

  test("drops subscriptions and waits as unavailable or internal, never as cancelled", async () => {
    const subscription = endOf(api.open(EventsService.subscribe, { filters: [] }));
    const watch = endOf(api.open(HealthService.watch, { service: "" }));
    const wait = api.failure(T.wait, { containerId: "c1", execId: "" });
    await api.journal.subscribers(1);
    await api.containers.asked("wait");
    await api.api.shutdown({ graceMs: 5_000 });
    for (const end of [(await subscription)?.message, (await watch)?.message, await wait]) {
      expect(end).toMatch(/^(13|14) /);
    }
    expect(api.api.connections).toBe(0);
    expect(api.api.openCalls).toBe(0);
    expect(api.journal.sinks.size).toBe(0);
    expect(existsSync(api.path)).toBe(false);
  });

  test("a subscription that has received events ends the same way", async () => {
    const stream = api.open(EventsService.subscribe, { filters: [] });
    await api.journal.subscribers(1);
    const first = new Promise((resolve) => stream.once("data", resolve));
    await api.call(EventsService.publish, { topic: "/a", event: { typeUrl: "u", value: Buffer.alloc(0) } });
    await first;
    const ended = endOf(stream);
    await api.api.shutdown();
    expect((await ended)?.message).toMatch(/^(13|14) /);
  });

  test("open calls are answered first, new ones refused", async () => {
    let release: (answer: unknown) => void = () => undefined;
    api.containers.answers.start = () =>
      new Promise((resolve) => {
        release = resolve;
      });
    const start = api.call(T.start, { containerId: "c1", execId: "" });
    await api.containers.asked("start");
    const down = api.api.shutdown({ graceMs: 5_000 });
    expect(await api.failure(VersionService.version, {})).toBe("14 the daemon is shutting down: unavailable");
    release({ pid: 7 });
    await down;
    expect(await start).toEqual({ pid: 7 });
  });

  test("answers that are ready when it ends all arrive", async () => {
    const pending: ((exit: unknown) => void)[] = [];
    api.containers.answers.delete = () => new Promise((resolve) => pending.push(resolve));
    const calls = Array.from({ length: 200 }, (_, index) => api.call(T.delete, { containerId: `c${index}` }));
    while (pending.length < 200) await new Promise((resolve) => setImmediate(resolve));
    const down = api.api.shutdown({ graceMs: 5_000 });
    for (const resolve of pending) resolve({ pid: 1, exitStatus: 0, exitedAt: zeroInstant });
    await down;
    expect(await Promise.all(calls)).toHaveLength(200);
  });

  test("a call that does not end is dropped after the grace", async () => {
    const hanging = api.failure(T.pause, { containerId: "c1" });
    await api.containers.asked("pause");
    await api.api.shutdown({ graceMs: 20 });
    expect(await hanging).toMatch(/^(13|14) /);
  });

  test("it may be called twice, and before listening", async () => {
    await Promise.all([api.api.shutdown(), api.api.shutdown()]);
    await createGrpcServer(api.deps).shutdown();
  });
});

describe("a listening unix socket", () => {
  let directory: string;
  let path: string;
  const own = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "sock-"));
    path = join(directory, "d.sock");
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));
  const listen = (over: object = {}) =>
    listenOnUnixSocket(createServer(), { path, ...own, ...over }, silentLogger);

  test("has its mode and owner, whatever the umask, and leaves nothing behind", async () => {
    const umask = process.umask(0o022);
    const socket = await listen({ gid: process.getuid?.() === 0 ? 12_345 : own.gid });
    expect(process.umask(umask)).toBe(0o022);
    const found = statSync(path);
    expect(found.isSocket()).toBe(true);
    expect(found.mode & 0o777).toBe(0o660);
    if (process.getuid?.() === 0) expect(found.gid).toBe(12_345);
    expect(lstatSync(join(directory, ".d.sock"), { throwIfNoEntry: false })).toBeUndefined();
    socket.close();
    socket.close();
    expect(existsSync(path)).toBe(false);
  });

  test("replaces that of a dead daemon, and a draft that one left", async () => {
    const { spawnSync } = await import("node:child_process");
    const die = `for (const p of process.argv.slice(1)) require("net").createServer().listen(p); setTimeout(() => process.kill(process.pid, 9), 50)`;
    spawnSync(process.execPath, ["-e", die, path, join(directory, ".d.sock")]);
    expect(existsSync(path)).toBe(true);
    (await listen()).close();
  });

  test("refuses a live one and a file that is no socket", async () => {
    const socket = await listen();
    await expect(listen()).rejects.toMatchObject({
      kind: "failed-precondition",
      message: `socket ${path} is in use by a running daemon`,
    });
    expect(existsSync(path)).toBe(true);
    socket.close();
    writeFileSync(path, "");
    await expect(listen()).rejects.toThrow("not a socket");
    expect(existsSync(path)).toBe(true);
  });

  test("leaves the socket of a successor alone", async () => {
    const first = await listen();
    rmSync(path);
    const second = await listen();
    first.close();
    expect(existsSync(path)).toBe(true);
    second.close();
  });

  test("refuses a path that the kernel cannot hold", async () => {
    await expect(listen({ path: `/${"x".repeat(120)}` })).rejects.toMatchObject({ kind: "invalid-argument" });
  });
});
