/** The connection to a shim over a real socket, with a ttrpc server in the shim's place. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { silentLogger } from "../../../src/core/logger.js";
import { ShimLink } from "../../../src/shim-link/shim-link.js";
import { shimMethods } from "../../../src/wire/task-methods.js";
import { ttrpcServices } from "../../../src/wire/ttrpc/method.js";
import { createTtrpcServer, type TtrpcServer } from "../../../src/wire/ttrpc/server.js";
import { until } from "../../support/until.js";

let directory: string;
let address: string;
let server: TtrpcServer;
let link: ShimLink;
let alive: boolean;
let pings: number;
/** What a ping waits for before it is answered. */
let gate: Promise<void>;

const serve = async (): Promise<void> => {
  server = createTtrpcServer({
    log: silentLogger,
    services: ttrpcServices(
      shimMethods.ping.handledBy(async () => {
        pings += 1;
        await gate;
        return { shimId: "s", pid: 1, version: "", namespace: "n" };
      }),
    ),
  });
  await server.listen(address, { replace: true });
};
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "berth-link-"));
  address = join(directory, "shim.sock");
  alive = true;
  pings = 0;
  gate = Promise.resolve();
  await serve();
  link = new ShimLink({ address, isAlive: () => alive, log: silentLogger, callTimeoutMs: 2000 });
});
afterEach(async () => {
  link.end();
  await server.close({ graceMs: 0 });
  rmSync(directory, { recursive: true, force: true });
});

const signal = (): AbortSignal => AbortSignal.timeout(10_000);
const ping = (by: AbortSignal = signal()) => link.call(shimMethods.ping, {}, by);

describe("the link to a shim", () => {
  it("carries calls once it is connected", async () => {
    expect(link.connected).toBe(false);
    await link.connect(signal());
    expect(link.connected).toBe(true);
    expect(await ping()).toMatchObject({ shimId: "s" });
  });

  it("comes back when the socket broke while the process lives", async () => {
    await link.connect(signal());
    await server.close({ graceMs: 0 });
    await until("the loss to be noticed", () => !link.connected);
    await serve();
    await until("the link to come back", () => link.connected);
    await ping();
    expect(pings).toBe(1);
  });

  it("dials for a call that comes before it has come back by itself", async () => {
    await link.connect(signal());
    await server.close({ graceMs: 0 });
    await until("the loss to be noticed", () => !link.connected);
    await serve();
    expect(await ping()).toMatchObject({ shimId: "s" });
  });

  it("is closed once the process is gone, and refuses calls from then on", async () => {
    await link.connect(signal());
    alive = false;
    await server.close({ graceMs: 0 });
    await link.closed;
    await expect(ping()).rejects.toMatchObject({ kind: "unavailable", message: "ttrpc: closed" });
  });

  it("ends calls under way when it is told that the process has ended", async () => {
    gate = new Promise(() => undefined);
    await link.connect(signal());
    const call = ping();
    await until("the call to arrive", () => pings === 1);
    link.end();
    link.end();
    await expect(call).rejects.toMatchObject({ kind: "unavailable" });
    await link.closed;
  });

  it("bounds a call that is never answered", async () => {
    gate = new Promise(() => undefined);
    link = new ShimLink({ address, isAlive: () => true, log: silentLogger, callTimeoutMs: 50 });
    await link.connect(signal());
    await expect(ping()).rejects.toMatchObject({ kind: "deadline-exceeded" });
    expect(link.connected).toBe(true);
  });

  it("gives one caller up without the others who wait for the same connection", async () => {
    const impatient = new AbortController();
    const first = ping(impatient.signal);
    const second = ping();
    impatient.abort();
    await expect(first).rejects.toMatchObject({ kind: "cancelled" });
    expect(await second).toMatchObject({ shimId: "s" });
  });

  it("fails to connect where nobody listens, and may be tried again", async () => {
    await server.close({ graceMs: 0 });
    await expect(link.connect(signal())).rejects.toMatchObject({ kind: "unavailable" });
    await serve();
    await link.connect(signal());
    expect(link.connected).toBe(true);
  });
});
