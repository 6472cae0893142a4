/** Clients that vanish in the middle of a call: the daemon stays consistent and keeps nothing for them. */

import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { createClients, type RawClients, RpcError } from "../support/clients.js";
import { type CutProxy, openCutProxy } from "../support/cut-proxy.js";
import { type Daemon, startDaemon, subjectKind } from "../support/daemon.js";
import { makeFifo } from "../support/fifo.js";
import { expectNoLeaks, keptShim, type LeakSnapshot, takeLeakSnapshot } from "../support/leaks.js";
import { countFds } from "../support/proc.js";
import { describeWith } from "../support/requirements.js";
import { createContainer, createTask, endTask } from "../support/tasks.js";
import { until } from "../support/until.js";

const ignoreNotFound = (error: unknown): void => {
  if (!(error instanceof RpcError && error.statusCode === status.NOT_FOUND)) throw error;
};

describeWith(["runc"], "clients that disconnect", () => {
  let daemon: Daemon;
  let namespace: string;
  let call: { readonly namespace: string };
  let before: LeakSnapshot;

  beforeAll(async () => {
    daemon = await startDaemon({ kind: subjectKind() });
    const warm = daemon.workspace.newNamespace();
    const first = await createTask(daemon, warm, { id: "first", args: ["/bin/sleep", "100"] });
    await first.start();
    await first.remove();
  }, 60_000);

  afterAll(async () => {
    await daemon?.dispose();
  }, 60_000);

  beforeEach(() => {
    namespace = daemon.workspace.newNamespace();
    call = { namespace };
    before = takeLeakSnapshot(daemon);
  });

  interface Victim {
    readonly clients: RawClients;
    readonly proxy: CutProxy;
    close(): Promise<void>;
  }

  /** A client with a connection of its own that can be cut. */
  async function victim(): Promise<Victim> {
    const proxy = await openCutProxy(join(daemon.workspace.newDirectory("p"), "s"), daemon.address);
    const clients = createClients(proxy.address);
    await clients.version({});
    return {
      clients,
      proxy,
      close: async () => {
        clients.close();
        await proxy.close();
      },
    };
  }

  /** Sends the call, lets it come `delayMs` far, cuts the connection, and sees the client fail. */
  async function cutDuring(send: (clients: RawClients) => Promise<unknown>, delayMs: number): Promise<void> {
    const { clients, proxy, close } = await victim();
    const outcome = send(clients).then(
      () => "answered",
      (error: unknown) => (error instanceof RpcError ? "failed" : Promise.reject(error)),
    );
    const sentBefore = proxy.sent;
    await until("the request to be on its way", () => proxy.sent > sentBefore, { intervalMs: 1 });
    await delay(delayMs);
    proxy.cut();
    expect(["answered", "failed"]).toContain(await outcome);
    await close();
  }

  /**
   * The id is not stuck: whatever became of the call, its task can be ended and the id used again. While the
   * call is still under way in the daemon, either may be refused for a moment.
   */
  async function expectUsable(id: string): Promise<void> {
    const again = await until(`${id} to be usable again`, async () => {
      try {
        await endTask(daemon, namespace, id);
        await daemon.clients.containers.delete({ id }, call).catch(ignoreNotFound);
        return await createTask(daemon, namespace, { id, args: ["/bin/true"] });
      } catch (error) {
        if (error instanceof RpcError) return undefined;
        throw error;
      }
    });
    await again.start();
    expect(await again.wait()).toBe(0);
    await again.remove();
  }

  it("in Create, at any moment of it, leaves no half-made task", { timeout: 120_000 }, async () => {
    for (let delayMs = 0; delayMs <= 60; delayMs += 6) {
      const id = `create${delayMs}`;
      await createContainer(daemon, namespace, { id, args: ["/bin/sleep", "1000"] });
      await cutDuring((clients) => clients.tasks.create({ containerId: id }, call), delayMs);
      await expectUsable(id);
    }
    await expectNoLeaks(daemon, before, keptShim, 40_000);
  });

  it("in Start, at any moment of it, leaves a task that can be ended", { timeout: 120_000 }, async () => {
    for (let delayMs = 0; delayMs <= 30; delayMs += 3) {
      const id = `start${delayMs}`;
      await createContainer(daemon, namespace, { id, args: ["/bin/sleep", "1000"] });
      await daemon.clients.tasks.create({ containerId: id }, call);
      await cutDuring((clients) => clients.tasks.start({ containerId: id }, call), delayMs);
      await expectUsable(id);
    }
    await expectNoLeaks(daemon, before, keptShim, 40_000);
  });

  it("in Create with FIFOs that nobody reads, leaves nothing after the io timeout", {
    timeout: 120_000,
  }, async () => {
    const directory = daemon.workspace.newDirectory("f");
    const stdout = makeFifo(join(directory, "out"));
    const stderr = makeFifo(join(directory, "err"));
    await createContainer(daemon, namespace, { id: "unread", args: ["/bin/true"] });
    await cutDuring((clients) => clients.tasks.create({ containerId: "unread", stdout, stderr }, call), 150);
    await until(
      "the create to be over",
      async () => {
        await endTask(daemon, namespace, "unread").catch(() => {});
        const tasks = await daemon.clients.tasks.list({}, call);
        return tasks.tasks.length === 0 && takeLeakSnapshot(daemon).runtimeStates.length === 0;
      },
      { timeoutMs: 45_000, intervalMs: 250 },
    );
    await daemon.clients.containers.delete({ id: "unread" }, call);
    await expectNoLeaks(daemon, before, keptShim, 40_000);
  });

  it("in Wait, many at once, does not disturb the task or another waiter", { timeout: 60_000 }, async () => {
    const task = await createTask(daemon, namespace, { id: "awaited", args: ["/bin/sleep", "1000"] });
    await task.start();
    const staying = task.wait();
    await Promise.all(
      Array.from({ length: 40 }, () =>
        cutDuring((clients) => clients.tasks.wait({ containerId: "awaited" }, call), 20),
      ),
    );
    await task.kill(9);
    expect(await staying).toBe(137);
    await task.remove();
    await expectNoLeaks(daemon, before, keptShim);
  });

  it("in Subscribe, many at once, frees their connections and the others get their events", {
    timeout: 60_000,
  }, async () => {
    const staying = await daemon.clients.subscribe([]);
    const fdsBefore = countFds(daemon.pid);
    const victims = await Promise.all(Array.from({ length: 20 }, () => victim()));
    const streams = await Promise.all(victims.map(({ clients }) => clients.subscribe([])));
    expect(countFds(daemon.pid)).toBeGreaterThanOrEqual(fdsBefore + 20);
    for (const { proxy } of victims) proxy.cut();
    await until("connections to be freed", () => countFds(daemon.pid) <= fdsBefore + 2);
    const task = await createTask(daemon, namespace, { id: "told", args: ["/bin/true"] });
    await task.start();
    await staying.next("exit", (event) => event.topic === "/tasks/exit" && event.namespace === namespace);
    await task.remove();
    for (const stream of [...streams, staying]) stream.close();
    for (const { close } of victims) await close();
    await expectNoLeaks(daemon, before, keptShim);
  });

  it("a subscriber that stops reading does not hold up the daemon", { timeout: 60_000 }, async () => {
    const { clients, proxy, close } = await victim();
    const stream = await clients.subscribe([]);
    proxy.stall();
    const event = { typeUrl: "containerd.events.TaskPaused", value: Buffer.alloc(64 << 10) };
    for (let i = 0; i < 300; i++) {
      await daemon.clients.events.publish({ topic: "/tasks/paused", event }, { ...call, timeoutMs: 5_000 });
    }
    expect(await daemon.clients.isServing()).toBe(true);
    proxy.cut();
    stream.close();
    await close();
    await expectNoLeaks(daemon, before, keptShim);
  });
});
