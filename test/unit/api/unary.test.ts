import { connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Logger } from "../../../src/core/logger.js";
import { silentLogger } from "../../../src/core/logger.js";
import { ContainersService as C } from "../../../src/wire/gen/containerd/services/containers/v1/containers.js";
import { TasksService as T } from "../../../src/wire/gen/containerd/services/tasks/v1/tasks.js";
import { VersionService } from "../../../src/wire/gen/containerd/services/version/v1/version.js";
import { processState, rejecting } from "./fakes.js";
import { type Harness, startApi } from "./harness.js";

/** Trailers of one raw HTTP/2 request to a path that no generated client knows. */
function rawCall(socketPath: string, path: string): Promise<Record<string, unknown>> {
  return new Promise((resolve, reject) => {
    const session = connectHttp2("http://localhost", { createConnection: () => connect(socketPath) });
    session.on("error", reject);
    const stream = session.request({
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc",
      te: "trailers",
    });
    stream.on("error", reject);
    stream.on("response", (headers) => {
      session.destroy();
      resolve(headers);
    });
    stream.end(Buffer.from([0, 0, 0, 0, 0]));
  });
}

describe("every call", () => {
  let api: Harness;
  const errors: Record<string, unknown>[] = [];
  const log: Logger = { ...silentLogger, child: () => log, error: (fields) => void errors.push(fields) };
  beforeEach(async () => {
    errors.length = 0;
    api = await startApi({ log, limits: { maxRecvBytes: 100_000, maxSendBytes: 100_000 } });
  });
  afterEach(() => api[Symbol.asyncDispose]());

  const get = { containerId: "c1", execId: "" };

  test("an unexpected throw is answered, logged, and the server lives", async () => {
    api.containers.answers.get = () => {
      throw new TypeError("x is not a function");
    };
    expect(await api.failure(T.get, get)).toBe("2 x is not a function: unknown");
    expect(errors).toMatchObject([{ path: T.get.path }]);
    api.containers.answers.get = () => processState();
    await api.call(T.get, get);
  });

  test("an error with a numeric code is not taken for a gRPC status", async () => {
    api.containers.answers.get = () => {
      throw Object.assign(new Error("runc exited"), { code: 1 });
    };
    expect(await api.failure(T.get, get)).toBe("2 runc exited: unknown");
  });

  test("texts with line ends, other scripts and broken surrogates arrive", async () => {
    api.containers.answers.get = rejecting("unknown", "ä\n\u{1f600} \ud800 100%");
    expect(await api.failure(T.get, get)).toBe("2 ä\n\u{1f600} \ufffd 100%: unknown");
  });

  test("a text too long for a header is shortened in the middle", async () => {
    api.containers.answers.get = rejecting("not-found", `begin ${"x".repeat(1_000_000)} end`);
    const text = await api.failure(T.get, get);
    expect(text.length).toBeLessThan(9_000);
    expect(text).toMatch(/^5 begin x+.* \[shortened\] x+ end: not found$/);
  });

  test("a request beyond the limit is refused, and so is a response", async () => {
    const spec = { typeUrl: "s", value: Buffer.alloc(200_000) };
    const container = { id: "c1", runtime: { name: "a.b", options: undefined }, spec };
    const whole = { labels: {}, image: "", snapshotter: "", snapshotKey: "", extensions: {}, sandbox: "" };
    const request = { container: { ...container, ...whole, createdAt: undefined, updatedAt: undefined } };
    expect(await api.failure(C.create, request)).toMatch(/^8 Received message larger than max/);
    for (const id of ["a", "b", "c"]) {
      const small = { typeUrl: "s", value: Buffer.alloc(50_000) };
      await api.call(C.create, { container: { ...request.container, id, spec: small } });
    }
    expect(await api.failure(C.list, { filters: [] })).toMatch(/^8 Sent message larger than max/);
    expect(await api.collect(C.listStream, { filters: [] })).toHaveLength(3);
  });

  test("an unknown service or method is unimplemented, whatever its name, and the connection lives", async () => {
    for (const path of [
      "/containerd.services.images.v1.Images/List",
      "/containerd.services.tasks.v1.Tasks/No",
      "/é%",
      "/",
    ]) {
      expect((await rawCall(api.path, path))["grpc-status"]).toBe("12");
    }
    await api.call(VersionService.version, {});
  });

  test("a request that does not decode is refused", async () => {
    const broken = { ...T.get, requestSerialize: () => Buffer.from([0x0a, 0xff]) };
    expect(await api.failure(broken, get)).toMatch(/^13 /);
  });

  test("finished calls are reported with code and kind", async () => {
    api.containers.answers.get = rejecting("not-found", "task c1 not found", true);
    await api.failure(T.get, get);
    await api.collect(C.listStream, { filters: [] });
    expect(api.reports).toMatchObject([
      { type: "unary", path: T.get.path, code: 5 },
      { type: "server-stream", path: C.listStream.path, code: 0 },
    ]);
  });

  test("a client that vanishes aborts the signal of its calls", async () => {
    const session = connectHttp2("http://localhost", { createConnection: () => connect(api.path) });
    session.on("error", () => undefined);
    const stream = session.request({
      ":method": "POST",
      ":path": T.pause.path,
      "content-type": "application/grpc",
      te: "trailers",
      "containerd-namespace": "n1",
    });
    stream.on("error", () => undefined);
    const body = T.pause.requestSerialize({ containerId: "c1" });
    stream.end(Buffer.concat([Buffer.from([0, 0, 0, 0, body.length]), body]));
    const { options } = await api.containers.asked("pause");
    const aborted = new Promise((resolve) => options.signal?.addEventListener("abort", resolve));
    session.destroy();
    await aborted;
    expect(options.signal?.reason).toMatchObject({ kind: "cancelled" });
  });
});
