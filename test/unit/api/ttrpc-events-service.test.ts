import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createTtrpcEventsService } from "../../../src/api/ttrpc-events-service.js";
import { createTtrpcApi, type TtrpcApi } from "../../../src/api/ttrpc-server.js";
import { notFound, unavailable } from "../../../src/core/errors.js";
import { silentLogger } from "../../../src/core/logger.js";
import { eventKeyHeader } from "../../../src/wire/forward-method.js";
import { TaskExit } from "../../../src/wire/gen/containerd/events/events.js";
import { ForwardRequest } from "../../../src/wire/gen/containerd/services/events/ttrpc/v1/ttrpc.js";
import { connectTtrpc, type TtrpcClient } from "../../../src/wire/ttrpc/client.js";
import { fakeDirectory, fakeJournal } from "./fakes.js";

const exit = TaskExit.encode(
  TaskExit.fromPartial({
    containerId: "c1",
    id: "c1",
    pid: 9,
    exitStatus: 137,
    exitedAt: { seconds: 1n, nanos: 0 },
  }),
).finish();
const envelope = (over: object = {}) => ({
  timestamp: { seconds: 1n, nanos: 2 },
  namespace: "n1",
  topic: "/tasks/exit",
  event: { typeUrl: "containerd.events.TaskExit", value: Buffer.from(exit) },
  ...over,
});

describe("forwarding events over ttrpc", () => {
  let directory: string;
  let path: string;
  let server: TtrpcApi;
  let client: TtrpcClient;
  let journal: ReturnType<typeof fakeJournal>;
  let containers: ReturnType<typeof fakeDirectory>;
  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), "ttrpc-"));
    path = join(directory, "d.sock.ttrpc");
    journal = fakeJournal();
    containers = fakeDirectory();
    const service = createTtrpcEventsService({
      containers: containers.directory,
      journal: journal.actor,
    });
    server = createTtrpcApi({ log: silentLogger, services: [service] });
    await server.listen({ path, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 });
    client = await connectTtrpc(path);
  });
  afterEach(async () => {
    client.close();
    await server.shutdown();
    rmSync(directory, { recursive: true, force: true });
  });

  const forward = (sent: unknown, key?: string) =>
    client.call(
      "containerd.services.events.ttrpc.v1.Events",
      "Forward",
      ForwardRequest.encode({ envelope: sent as never }).finish(),
      {
        timeoutMs: 2_000,
        metadata: {
          "containerd-namespace-ttrpc": "n1",
          ...(key === undefined ? {} : { [eventKeyHeader]: key }),
        },
      },
    );

  test("the socket is for owner and group only", () => {
    expect(statSync(path).mode & 0o777).toBe(0o660);
  });

  test("an event of a task goes to its container, with its bytes", async () => {
    await forward(envelope());
    expect(containers.shimEvents).toEqual([{ key: { namespace: "n1", id: "c1" }, envelope: envelope() }]);
    expect(journal.published).toEqual([]);
  });

  test("other events, and those of unknown containers, go to the journal", async () => {
    await forward(envelope({ topic: "/sandboxes/exit" }));
    await forward(envelope({ event: { typeUrl: "someone.Else", value: Buffer.from([1]) } }));
    containers.onShimEvent = () => {
      throw notFound("container c1");
    };
    await forward(envelope());
    expect(journal.published.map(({ topic }) => topic)).toEqual([
      "/sandboxes/exit",
      "/tasks/exit",
      "/tasks/exit",
    ]);
  });

  test("a delivery that fails is answered as one, and may be tried again", async () => {
    containers.onShimEvent = () => {
      throw unavailable("restarting");
    };
    await expect(forward(envelope(), "k1")).rejects.toMatchObject({ kind: "unavailable" });
    containers.onShimEvent = () => undefined;
    await forward(envelope(), "k1");
    expect(containers.shimEvents).toHaveLength(2);
    expect(journal.published).toEqual([]);
  });

  test("one key is delivered once, also when its retry overtakes it", async () => {
    let release: () => void = () => undefined;
    containers.onShimEvent = () =>
      new Promise<void>((resolve) => {
        release = resolve;
      });
    const first = forward(envelope(), "k1");
    while (containers.shimEvents.length === 0) await new Promise((resolve) => setImmediate(resolve));
    const retry = forward(envelope(), "k1");
    const other = forward(envelope({ topic: "/other" }), "k2");
    await other;
    release();
    await Promise.all([first, retry]);
    await forward(envelope(), "k1");
    expect(containers.shimEvents).toHaveLength(1);
  });

  test("events without a key are delivered each time", async () => {
    await forward(envelope());
    await forward(envelope());
    expect(containers.shimEvents).toHaveLength(2);
  });

  test.each([
    ["no envelope", undefined],
    ["no namespace", envelope({ namespace: "" })],
    ["no time", envelope({ timestamp: undefined })],
    ["a bad topic", envelope({ topic: "x" })],
    ["no event", envelope({ event: undefined })],
  ])("a forward with %s is refused", async (_, sent) => {
    await expect(forward(sent)).rejects.toMatchObject({ kind: "invalid-argument" });
    expect(containers.shimEvents).toEqual([]);
  });
});
