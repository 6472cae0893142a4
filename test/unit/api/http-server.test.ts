import { mkdtempSync, rmSync } from "node:fs";
import { request } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { TreeNode } from "../../../src/actors/kernel/types.js";
import { createHttpServer, type HttpApi } from "../../../src/api/http-server.js";
import { silentLogger } from "../../../src/core/logger.js";

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly type: string | undefined;
  readonly allow: string | undefined;
}

describe("the http server", () => {
  let http: HttpApi;
  let ready = true;
  let metricsText: () => Promise<string>;
  let directory: string;
  beforeEach(() => {
    ready = true;
    metricsText = async () => "berth_up 1\n";
    directory = mkdtempSync(join(tmpdir(), "http-"));
    http = createHttpServer({
      inspectTree: () => ({ path: "root", kind: "supervisor" }) as unknown as TreeNode,
      metricsText: () => metricsText(),
      ready: () => ready,
      log: silentLogger,
    });
  });
  afterEach(async () => {
    await http.shutdown();
    rmSync(directory, { recursive: true, force: true });
  });

  const ask = (address: string, path: string, method = "GET"): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const [host = "", port = ""] = address.split(":");
      const target = address.startsWith("/") ? { socketPath: address } : { host, port };
      const sent = request({ ...target, path, method, agent: false }, (response) => {
        let body = "";
        response.setEncoding("utf8");
        response.on("data", (chunk: string) => {
          body += chunk;
        });
        response.on("end", () => {
          const { headers, statusCode = 0 } = response;
          resolve({ status: statusCode, body, type: headers["content-type"], allow: headers.allow });
        });
      });
      sent.on("error", reject);
      sent.end();
    });

  test("serves metrics under both paths, as Prometheus text", async () => {
    const address = await http.listen("127.0.0.1:0");
    for (const path of ["/v1/metrics", "/metrics", "/metrics?name[]=x"]) {
      expect(await ask(address, path)).toMatchObject({
        status: 200,
        body: "berth_up 1\n",
        type: "text/plain; version=0.0.4; charset=utf-8",
      });
    }
  });

  test("tells health, readiness and the tree, on a unix socket too", async () => {
    const path = await http.listen(`unix://${join(directory, "m.sock")}`);
    expect(await ask(path, "/healthz")).toMatchObject({ status: 200, body: "ok\n" });
    expect(await ask(path, "/readyz")).toMatchObject({ status: 200 });
    ready = false;
    expect(await ask(path, "/readyz")).toMatchObject({ status: 503, body: "not ready\n" });
    const tree = await ask(path, "/debug/tree");
    expect(tree.type).toBe("application/json");
    expect(JSON.parse(tree.body)).toEqual({ path: "root", kind: "supervisor" });
  });

  test("refuses unknown paths and methods plainly", async () => {
    const address = await http.listen("127.0.0.1:0");
    expect(await ask(address, "/nothing")).toMatchObject({ status: 404, body: "not found\n" });
    expect(await ask(address, "/constructor")).toMatchObject({ status: 404 });
    expect(await ask(address, "/metrics", "POST")).toMatchObject({ status: 405, allow: "GET, HEAD" });
    expect(await ask(address, "/metrics", "HEAD")).toMatchObject({ status: 200, body: "" });
  });

  test("a failing source is a 500 and the server lives", async () => {
    const address = await http.listen("127.0.0.1:0");
    metricsText = async () => Promise.reject(new Error("sampler died"));
    expect(await ask(address, "/metrics")).toMatchObject({ status: 500, body: "sampler died\n" });
    metricsText = async () => "ok 1\n";
    expect(await ask(address, "/metrics")).toMatchObject({ status: 200 });
  });

  test("a source that hangs is answered 503 at the deadline", async () => {
    http = createHttpServer({
      inspectTree: () => ({}) as TreeNode,
      metricsText: () => new Promise<string>(() => undefined),
      log: silentLogger,
      answerTimeoutMs: 20,
    });
    const address = await http.listen("127.0.0.1:0");
    expect(await ask(address, "/metrics")).toMatchObject({ status: 503, body: "no answer within 20 ms\n" });
  });

  test("shutdown drops idle connections and may be called twice", async () => {
    const address = await http.listen("127.0.0.1:0");
    const idle = connect(Number(address.split(":")[1]), "127.0.0.1");
    await new Promise((resolve) => idle.once("connect", resolve));
    const closed = new Promise((resolve) => idle.once("close", resolve));
    await Promise.all([http.shutdown(), http.shutdown()]);
    idle.resume();
    await closed;
  });

  test("an address that is none is refused, and so is a port in use", async () => {
    await expect(http.listen("nonsense")).rejects.toMatchObject({ kind: "invalid-argument" });
    await expect(http.listen("127.0.0.1:99999")).rejects.toMatchObject({ kind: "invalid-argument" });
    const address = await http.listen("127.0.0.1:0");
    const second = createHttpServer({ inspectTree: () => ({}) as TreeNode, metricsText, log: silentLogger });
    await expect(second.listen(address)).rejects.toThrow("EADDRINUSE");
    await second.shutdown();
  });
});
