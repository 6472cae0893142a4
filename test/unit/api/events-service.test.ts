import { connect as connectHttp2, type IncomingHttpHeaders } from "node:http2";
import { connect } from "node:net";
import type { ClientReadableStream } from "@grpc/grpc-js";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Envelope } from "../../../src/ports/event-sink.js";
import { TaskOOM } from "../../../src/wire/gen/containerd/events/events.js";
import { EventsService as E } from "../../../src/wire/gen/containerd/services/events/v1/events.js";
import { Envelope as WireEnvelope } from "../../../src/wire/gen/containerd/types/types.js";
import { endOf, type Harness, startApi } from "./harness.js";

const envelope = (over: Partial<Envelope> = {}): Envelope => ({
  timestamp: { seconds: 1n, nanos: 2 },
  namespace: "n1",
  topic: "/tasks/oom",
  event: {
    typeUrl: "containerd.events.TaskOOM",
    value: TaskOOM.encode({ containerId: "c1" }).finish(),
  },
  ...over,
});
const pattern = "^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$";

/** A subscription whose flow-control window is never given back until asked: grpc-js's client reads without end. */
function stalledSubscription(socketPath: string) {
  const session = connectHttp2("http://localhost", { createConnection: () => connect(socketPath) });
  const stream = session.request({
    ":method": "POST",
    ":path": E.subscribe.path,
    "content-type": "application/grpc",
    te: "trailers",
  });
  let bytes = 0;
  let trailers: IncomingHttpHeaders = {};
  const arrived = new Set<() => void>();
  stream.on("trailers", (received) => {
    trailers = received;
  });
  const read = (): void => {
    if (stream.listenerCount("data") === 0) {
      stream.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
        for (const look of [...arrived]) look();
      });
    }
  };
  const closed = new Promise<void>((resolve, reject) => {
    stream.once("close", resolve);
    stream.once("error", reject);
  });
  stream.end(Buffer.from([0, 0, 0, 0, 0]));
  return {
    /** Reads until more than `count` bytes have come. */
    until: (count: number): Promise<{ readonly bytes: number }> =>
      new Promise((resolve) => {
        const look = (): void => {
          if (bytes <= count) return;
          arrived.delete(look);
          resolve({ bytes });
        };
        arrived.add(look);
        read();
      }),
    /** Reads to the end. */
    async rest(): Promise<{ readonly trailers: IncomingHttpHeaders; readonly bytes: number }> {
      read();
      await closed;
      session.destroy();
      return { trailers, bytes };
    },
  };
}

const next = <T>(stream: ClientReadableStream<T>): Promise<T> =>
  new Promise((resolve, reject) => {
    stream.once("data", resolve);
    stream.once("error", reject);
  });

describe("publishing", () => {
  let api: Harness;
  beforeEach(async () => {
    api = await startApi();
  });
  afterEach(() => api[Symbol.asyncDispose]());
  const event = { typeUrl: "u", value: Buffer.from([1]) };

  test("publish stamps the time and the namespace of the header", async () => {
    await api.call(E.publish, { topic: "/foo/bar", event });
    expect(api.journal.published).toEqual([
      {
        timestamp: { seconds: 1_700_000_000n, nanos: 123_500_000 },
        namespace: "n1",
        topic: "/foo/bar",
        event,
      },
    ]);
  });

  test("publish says what it failed at without a namespace", async () => {
    expect(await api.failure(E.publish, { topic: "/a", event }, { namespace: null })).toBe(
      "9 failed publishing event: namespace is required: failed precondition",
    );
    expect(await api.failure(E.publish, { topic: "/a", event }, { namespace: "a b" })).toBe(
      `3 failed publishing event: namespace validation: identifier "a b" must match ${pattern}: invalid argument`,
    );
  });

  test.each([
    ["", "must not be empty"],
    ["foo", "must start with '/'"],
    ["/", "must have at least one component"],
    ["/a/", 'failed validation on component "": identifier must not be empty'],
    ["/f o", `failed validation on component "f o": identifier "f o" must match ${pattern}`],
  ])("topic %j is refused", async (topic, text) => {
    expect(await api.failure(E.publish, { topic, event })).toBe(
      `3 envelope topic ${JSON.stringify(topic)}: ${text}: invalid argument`,
    );
  });

  test("forward keeps the envelope as it is and needs no header", async () => {
    const forwarded = WireEnvelope.fromPartial(envelope() as never);
    await api.call(E.forward, { envelope: forwarded }, { namespace: null });
    expect(api.journal.published).toEqual([
      { ...envelope(), event: { ...envelope().event, value: Buffer.from(envelope().event.value) } },
    ]);
  });

  test.each<[string, object, string]>([
    ["no namespace", { namespace: "" }, "event envelope has invalid namespace: identifier must not be empty"],
    ["a bad topic", { topic: "x" }, "envelope topic \"x\": must start with '/'"],
    ["no time", { timestamp: undefined }, "timestamp must be set on forwarded event"],
    [
      "the zero time",
      { timestamp: { seconds: -62135596800n, nanos: 0 } },
      "timestamp must be set on forwarded event",
    ],
    [
      "nothing right",
      { topic: "x", namespace: "", timestamp: undefined },
      "event envelope has invalid namespace: identifier must not be empty",
    ],
  ])("forwarding with %s is refused", async (_, over, text) => {
    const forwarded = { ...envelope(), ...over } as unknown as WireEnvelope;
    expect(await api.failure(E.forward, { envelope: forwarded })).toBe(`3 ${text}: invalid argument`);
  });

  test("forwarding nothing is refused", async () => {
    expect(await api.failure(E.forward, { envelope: undefined })).toMatch(/^3 /);
    const empty = { ...envelope(), event: undefined } as unknown as WireEnvelope;
    expect(await api.failure(E.forward, { envelope: empty })).toMatch(/^3 /);
    expect(api.journal.published).toEqual([]);
  });
});

describe("subscribing", () => {
  let api: Harness;
  beforeEach(async () => {
    api = await startApi({ limits: { subscriberQueue: 50 } });
  });
  afterEach(() => api[Symbol.asyncDispose]());

  test("no header leaves before the first event, which arrives unchanged", async () => {
    const stream = api.open(E.subscribe, { filters: [] }, { namespace: null });
    let headers = false;
    stream.on("metadata", () => {
      headers = true;
    });
    await api.journal.subscribers(1);
    // A round trip on the same connection: anything sent before would have arrived.
    await api
      .call(E.publish, { topic: "/probe", event: { typeUrl: "u", value: Buffer.alloc(0) } })
      .then(() => undefined);
    api.journal.published.length = 0;
    const probe = await next(stream);
    expect(probe.topic).toBe("/probe");
    expect(headers).toBe(true);
    stream.on("error", () => undefined);
    stream.cancel();

    const quiet = api.open(E.subscribe, { filters: ["topic==none"] });
    let quietHeaders = false;
    quiet.on("metadata", () => {
      quietHeaders = true;
    });
    quiet.on("error", () => undefined);
    await api.journal.subscribers(1);
    await api.call(E.publish, { topic: "/probe", event: { typeUrl: "u", value: Buffer.alloc(0) } });
    expect(quietHeaders).toBe(false);
    quiet.cancel();
  });

  test("the bytes of an envelope are the ones that the sender's daemon would have sent", async () => {
    const raw = {
      ...E.subscribe,
      responseSerialize: (bytes: Buffer) => bytes,
      responseDeserialize: (bytes: Buffer) => bytes,
    };
    const stream = api.open(raw, { filters: [] });
    stream.on("error", () => undefined);
    await api.journal.subscribers(1);
    const odd = envelope({ event: { typeUrl: "x", value: Buffer.from([0xff, 0, 1]) } });
    const arrived = next(stream);
    api.journal.publish(odd);
    expect((await arrived).toString("hex")).toBe(
      "0a04080110021202" + "6e31" + "1a0a2f7461736b732f6f6f6d" + "22080a01781203ff0001",
    );
    stream.cancel();
  });

  test("filters choose by namespace, topic and payload", async () => {
    const stream = api.open(E.subscribe, {
      filters: ["namespace==moby,topic~=|^/tasks/|", "event.container_id==c9"],
    });
    const topics: string[] = [];
    stream.on("data", (message: WireEnvelope) => topics.push(`${message.namespace}${message.topic}`));
    stream.on("error", () => undefined);
    await api.journal.subscribers(1);
    api.journal.publish(envelope());
    api.journal.publish(envelope({ namespace: "moby" }));
    api.journal.publish(envelope({ namespace: "moby", topic: "/containers/create" }));
    const value = TaskOOM.encode({ containerId: "c9" }).finish();
    api.journal.publish(envelope({ event: { typeUrl: "containerd.events.TaskOOM", value } }));
    while (topics.length < 2) await new Promise((resolve) => stream.once("data", resolve));
    expect(topics).toEqual(["moby/tasks/oom", "n1/tasks/oom"]);
    stream.cancel();
  });

  test("a bad filter ends the stream with code 2", async () => {
    const end = await endOf(api.open(E.subscribe, { filters: ["a===b"] }));
    expect(end?.message).toBe(
      '2 subscription error: failed parsing subscription filters: filters: parse error: [a >|=|< ==b]: unsupported operator "===": invalid argument',
    );
  });

  test("a client that cancels or vanishes is unsubscribed", async () => {
    const stream = api.open(E.subscribe, { filters: [] });
    stream.on("error", () => undefined);
    await api.journal.subscribers(1);
    stream.cancel();
    await api.journal.subscribers(0);
    const other = api.connect();
    const second = api.open(E.subscribe, { filters: [] }, {}, other);
    second.on("error", () => undefined);
    await api.journal.subscribers(1);
    second.cancel();
    other.close();
    await api.journal.subscribers(0);
    expect(api.api.openCalls).toBeLessThanOrEqual(1);
  });

  test("a subscriber that does not read is cut off with the reason, another one gets everything in order", async () => {
    const event = { typeUrl: "x", value: Buffer.alloc(20_000) };
    const stuck = stalledSubscription(api.path);
    await api.journal.subscribers(1);
    const healthy = api.open(E.subscribe, { filters: [] });
    const seen: number[] = [];
    healthy.on("data", (message: WireEnvelope) => seen.push(message.timestamp?.nanos ?? -1));
    healthy.on("error", () => undefined);
    await api.journal.subscribers(2);
    let sent = 0;
    while (api.journal.sinks.size === 2) {
      api.journal.publish(envelope({ event, timestamp: { seconds: 1n, nanos: sent++ } }));
      while (seen.length < sent) await new Promise((resolve) => healthy.once("data", resolve));
      if (sent > 1_000) throw new Error("nothing stalled");
    }
    expect(seen).toEqual(Array.from({ length: sent }, (_, index) => index));
    // What was under way before is still delivered, then the reason.
    const { trailers, bytes } = await stuck.rest();
    expect(trailers["grpc-status"]).toBe("8");
    expect(decodeURIComponent(String(trailers["grpc-message"]))).toBe(
      "subscriber is too slow: 50 events were waiting for it: resource exhausted",
    );
    expect(bytes).toBeGreaterThan(10 * 20_000);
    expect(bytes).toBeLessThan(40 * 20_000);
    healthy.cancel();
  });

  test("a slow subscriber that catches up loses nothing", async () => {
    const event = { typeUrl: "x", value: Buffer.alloc(10_000) };
    const slow = stalledSubscription(api.path);
    await api.journal.subscribers(1);
    for (let index = 0; index < 60; index += 1) api.journal.publish(envelope({ event }));
    expect(api.journal.sinks.size).toBe(1);
    for (const { sink } of api.journal.sinks.values()) {
      const { bytes } = await slow.until(60 * 10_000);
      expect(bytes).toBeGreaterThan(60 * 10_000);
      sink.end("shutdown");
    }
    expect((await slow.rest()).trailers["grpc-status"]).toBe("14");
  });

  test("a journal that stops ends its subscriptions as unavailable", async () => {
    const ended = endOf(api.open(E.subscribe, { filters: [] }));
    await api.journal.subscribers(1);
    for (const { sink } of api.journal.sinks.values()) sink.end("shutdown");
    expect((await ended)?.message).toBe("14 the event journal stopped: unavailable");
  });
});
