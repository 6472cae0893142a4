/** One subscription as a test sees it: everything received so far, decoded, and waits for what is to come. */
import type { Client, ClientReadableStream } from "@grpc/grpc-js";
import * as payloads from "../../src/wire/gen/containerd/events/events.js";
import { EventsService, SubscribeRequest } from "../../src/wire/gen/containerd/services/events/v1/events.js";
import type { Envelope as WireEnvelope } from "../../src/wire/gen/containerd/types/types.js";
import { until } from "./until.js";

export interface ReceivedEvent {
  readonly topic: string;
  readonly namespace: string;
  readonly typeUrl: string;
  /** The decoded payload, or undefined for a type that this file does not know. */
  readonly payload: Readonly<Record<string, unknown>> | undefined;
  /** When it reached this process, by performance.now(). */
  readonly receivedAtMs: number;
}

export interface EventStream {
  /** In the order of arrival. */
  readonly received: readonly ReceivedEvent[];
  /** Set when the server ended the stream. */
  readonly ended: string | undefined;
  /** Resolves with the first event, past or future, that `matches`. */
  next(what: string, matches: (event: ReceivedEvent) => boolean, timeoutMs?: number): Promise<ReceivedEvent>;
  /** Cancels the subscription. */
  close(): void;
}

type Decoder = { decode(value: Uint8Array): object };
const decoders: Readonly<Record<string, Decoder>> = Object.fromEntries(
  Object.entries(payloads).flatMap(([name, value]) =>
    typeof value === "object" && value !== null && "decode" in value
      ? [[`containerd.events.${name}`, value as Decoder] as const]
      : [],
  ),
);

let probes = 0;

/**
 * The server answers nothing before the first event, so the subscription is proven by one: `publish` sends a
 * probe that the stream lets through whatever the filters of the test, and it is left out of `received`.
 */
export async function openEventStream(
  client: Client,
  filters: readonly string[],
  publish: (topic: string, namespace: string) => Promise<unknown>,
): Promise<EventStream> {
  const probeTopic = `/probe/p${process.pid}x${probes++}`;
  const withProbe = filters.length === 0 ? [] : [...filters, `topic==${JSON.stringify(probeTopic)}`];
  const received: ReceivedEvent[] = [];
  const listeners = new Set<() => void>();
  let proven = false;
  let ended: string | undefined;
  const stream: ClientReadableStream<WireEnvelope> = client.makeServerStreamRequest(
    EventsService.subscribe.path,
    EventsService.subscribe.requestSerialize,
    EventsService.subscribe.responseDeserialize,
    SubscribeRequest.fromPartial({ filters: withProbe }),
  );
  const wake = (): void => {
    for (const listener of listeners) listener();
  };
  stream.on("data", (envelope: WireEnvelope) => {
    if (envelope.topic === probeTopic) {
      proven = true;
    } else if (!envelope.topic.startsWith("/probe/")) {
      const typeUrl = envelope.event?.typeUrl ?? "";
      const decoded = decoders[typeUrl]?.decode(envelope.event?.value ?? Buffer.alloc(0));
      received.push({
        topic: envelope.topic,
        namespace: envelope.namespace,
        typeUrl,
        payload: decoded as Readonly<Record<string, unknown>> | undefined,
        receivedAtMs: performance.now(),
      });
    }
    wake();
  });
  stream.on("error", (error) => {
    ended = error.message;
    wake();
  });
  stream.on("end", () => {
    ended ??= "end of stream";
    wake();
  });
  await until(
    "the subscription to be in place",
    async () => {
      if (ended !== undefined) throw new Error(`subscription ended: ${ended}`);
      if (!proven) await publish(probeTopic, "probe");
      return proven;
    },
    { intervalMs: 10 },
  );
  return {
    received,
    get ended() {
      return ended;
    },
    next: (what, matches, timeoutMs = 20_000) =>
      new Promise((resolve, reject) => {
        const settle = (finish: () => void): void => {
          clearTimeout(timer);
          listeners.delete(look);
          finish();
        };
        let seen = 0;
        const look = (): void => {
          while (seen < received.length) {
            const event = received[seen++] as ReceivedEvent;
            if (!matches(event)) continue;
            settle(() => resolve(event));
            return;
          }
          if (ended !== undefined) settle(() => reject(new Error(`no ${what}: stream ended: ${ended}`)));
        };
        const timer = setTimeout(
          () =>
            settle(() =>
              reject(
                new Error(`no ${what} in ${timeoutMs} ms; got ${received.map((e) => e.topic).join(" ")}`),
              ),
            ),
          timeoutMs,
        );
        listeners.add(look);
        look();
      }),
    close: () => {
      stream.removeAllListeners();
      stream.on("error", () => {});
      stream.cancel();
    },
  };
}
