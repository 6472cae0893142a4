/** The transport against an in-process gRPC server: headers, deadlines, cancellation, errors, streams. */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer as createNetServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Metadata, Server, ServerCredentials, type sendUnaryData, status } from "@grpc/grpc-js";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { ConnectOptions } from "../../../src/client/connection.js";
import { connect, type DaemonClient } from "../../../src/client/daemon-client.js";
import { ContainersService } from "../../../src/wire/gen/containerd/services/containers/v1/containers.js";
import { TasksService, WaitResponse } from "../../../src/wire/gen/containerd/services/tasks/v1/tasks.js";
import { until } from "../../support/until.js";

let directory: string;
let address: string;
let server: Server;
let client: DaemonClient | undefined;
const cancelled: string[] = [];

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "berth-client-"));
  address = join(directory, "d.sock");
  server = new Server();
  cancelled.length = 0;
});
afterEach(() => {
  client?.close();
  client = undefined;
  server.forceShutdown();
  rmSync(directory, { recursive: true });
});

/** Serves `handlers` and connects to them; methods not named answer unimplemented. */
async function serve(
  handlers: { readonly tasks?: object; readonly containers?: object },
  options: ConnectOptions = { namespace: "default" },
): Promise<DaemonClient> {
  const refuse = (service: object) =>
    Object.fromEntries(
      Object.keys(service).map((name) => [
        name,
        (_call: unknown, done?: sendUnaryData<unknown>) =>
          done?.({ code: status.UNIMPLEMENTED, details: name }),
      ]),
    );
  server.addService(TasksService, { ...refuse(TasksService), ...handlers.tasks });
  server.addService(ContainersService, { ...refuse(ContainersService), ...handlers.containers });
  await new Promise<void>((resolve, reject) =>
    server.bindAsync(`unix:${address}`, ServerCredentials.createInsecure(), (error) =>
      error === null ? resolve() : reject(error),
    ),
  );
  client = await connect(address, options);
  return client;
}

const fails = (details: string, code: status) => (_call: unknown, done: sendUnaryData<unknown>) =>
  done({ code, details });

describe("connecting", () => {
  it("says that the socket does not exist", async () => {
    await expect(connect(address, { namespace: "default" })).rejects.toMatchObject({
      kind: "unavailable",
      message: `no daemon at ${address}: the socket does not exist`,
    });
  });

  it("says that nobody listens on a socket that a dead daemon left", async () => {
    const net = createNetServer();
    await new Promise<void>((done) => net.listen(address, done));
    // Closing removes the file, so a second name keeps the dead socket.
    const { linkSync } = await import("node:fs");
    const left = join(directory, "left.sock");
    linkSync(address, left);
    await new Promise((done) => net.close(done));
    await expect(connect(left, { namespace: "default" })).rejects.toMatchObject({
      kind: "unavailable",
      message: `no daemon at ${left}: the socket exists but nobody listens`,
    });
  });

  it("refuses addresses that cannot be sockets before it tries", async () => {
    await expect(connect("x.sock", { namespace: "d" })).rejects.toMatchObject({ kind: "invalid-argument" });
    await expect(connect(`/${"x".repeat(120)}`, { namespace: "d" })).rejects.toThrow(
      /longer than the 107 bytes/,
    );
  });

  it("takes unix: URLs", async () => {
    await serve({
      tasks: { list: (_call: unknown, done: sendUnaryData<unknown>) => done(null, { tasks: [] }) },
    });
    const other = await connect(`unix://${address}`, { namespace: "default" });
    expect(await other.tasks.list({})).toEqual({ tasks: [] });
    other.close();
  });
});

describe("calls", () => {
  it("carry the namespace, the connection's or their own, and complete requests", async () => {
    const seen: unknown[] = [];
    const daemon = await serve({
      tasks: {
        kill: (call: { metadata: Metadata; request: unknown }, done: sendUnaryData<unknown>) => {
          seen.push([call.metadata.get("containerd-namespace"), call.request]);
          done(null, {});
        },
      },
    });
    await daemon.tasks.kill({ containerId: "c", signal: 9 });
    await daemon.tasks.kill({ containerId: "c" }, { namespace: "other" });
    expect(seen).toEqual([
      [["default"], { containerId: "c", execId: "", signal: 9, all: false }],
      [["other"], { containerId: "c", execId: "", signal: 0, all: false }],
    ]);
  });

  it.each([
    [status.NOT_FOUND, "task x not found", "not-found"],
    [status.UNKNOWN, "cannot pause a paused container: unknown", "unknown"],
    [status.FAILED_PRECONDITION, "namespace is required: failed precondition", "failed-precondition"],
    [status.RESOURCE_EXHAUSTED, "mailbox full", "resource-exhausted"],
  ])("status %d becomes its kind, with the daemon's words", async (code, details, kind) => {
    const daemon = await serve({ tasks: { pause: fails(details, code) } });
    await expect(daemon.tasks.pause({ containerId: "x" })).rejects.toMatchObject({
      name: "DaemonError",
      kind,
      message: details,
    });
  });

  it("end at their deadline", async () => {
    const daemon = await serve({ tasks: { start: () => {} } }, { namespace: "default", deadlineMs: 50 });
    await expect(daemon.tasks.start({ containerId: "x" })).rejects.toMatchObject({
      kind: "deadline-exceeded",
    });
  });

  it("end when their signal aborts, and the daemon hears of it", async () => {
    let reached: () => void = () => {};
    const called = new Promise<void>((done) => {
      reached = done;
    });
    let heard: () => void = () => {};
    const told = new Promise<void>((done) => {
      heard = done;
    });
    const daemon = await serve({
      tasks: {
        wait: (call: { on(event: "cancelled", listener: () => void): void }) => {
          call.on("cancelled", heard);
          reached();
        },
      },
    });
    const controller = new AbortController();
    const waiting = daemon.tasks.wait({ containerId: "x" }, { signal: controller.signal });
    await called;
    controller.abort();
    await expect(waiting).rejects.toMatchObject({ kind: "cancelled" });
    await told;
    await expect(daemon.tasks.start({}, { signal: controller.signal })).rejects.toMatchObject({
      kind: "cancelled",
    });
  });

  it("have no deadline when they wait for an exit", async () => {
    const daemon = await serve(
      {
        tasks: {
          wait: (_call: unknown, done: (error: null, value: WaitResponse) => void) =>
            setTimeout(() => done(null, WaitResponse.fromPartial({ exitStatus: 3 })), 150),
        },
      },
      { namespace: "default", deadlineMs: 50 },
    );
    expect((await daemon.tasks.wait({ containerId: "x" })).exitStatus).toBe(3);
  });

  it("say that the daemon was lost, and work again when another one is there", async () => {
    let reached: () => void = () => {};
    const called = new Promise<void>((done) => {
      reached = done;
    });
    const daemon = await serve({ tasks: { wait: () => reached() } });
    const waiting = daemon.tasks.wait({ containerId: "x" });
    await called;
    server.forceShutdown();
    await expect(waiting).rejects.toMatchObject({ kind: "unavailable" });
    await expect(daemon.tasks.list({})).rejects.toMatchObject({ kind: "unavailable" });
    server = new Server();
    const again = await serve({
      tasks: { list: (_call: unknown, done: sendUnaryData<unknown>) => done(null, { tasks: [] }) },
    });
    const answer = await until("the first client to find the new daemon", () =>
      daemon.tasks.list({}).catch(() => undefined),
    );
    expect(answer).toEqual({ tasks: [] });
    daemon.close();
    again.close();
  });
});

describe("streams", () => {
  const one = (id: string) => ({ container: { id, labels: {}, extensions: {} } });

  it("yield every message, then end", async () => {
    const daemon = await serve({
      containers: {
        listStream: (call: { write(message: unknown): void; end(): void }) => {
          call.write(one("a"));
          call.write(one("b"));
          call.end();
        },
      },
    });
    const ids: string[] = [];
    for await (const { container } of daemon.containers.listStream({})) ids.push(container?.id ?? "");
    expect(ids).toEqual(["a", "b"]);
  });

  it("throw the daemon's error as a kind", async () => {
    const daemon = await serve({
      containers: {
        listStream: (call: { emit(event: "error", error: object): void }) =>
          call.emit(
            "error",
            Object.assign(new Error("x"), { code: status.INVALID_ARGUMENT, details: "bad filter" }),
          ),
      },
    });
    const reading = async (): Promise<void> => {
      for await (const _message of daemon.containers.listStream({})) throw new Error("nothing was sent");
    };
    await expect(reading()).rejects.toMatchObject({ kind: "invalid-argument", message: "bad filter" });
  });

  it("are cancelled at the daemon when their reader leaves", async () => {
    let heard: () => void = () => {};
    const told = new Promise<void>((done) => {
      heard = done;
    });
    const daemon = await serve({
      containers: {
        listStream: (call: {
          write(message: unknown): void;
          on(event: "cancelled", listener: () => void): void;
        }) => {
          call.on("cancelled", heard);
          call.write(one("a"));
        },
      },
    });
    for await (const _message of daemon.containers.listStream({})) break;
    await told;
  });
});
