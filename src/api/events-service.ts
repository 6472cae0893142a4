/** containerd.services.events.v1: publishing to and subscribing at the journal. */
import type { handleServerStreamingCall } from "@grpc/grpc-js";
import { DaemonError, unavailable } from "../core/errors.js";
import { type Instant, instantFromMs } from "../core/exit.js";
import type { Namespace } from "../core/ids.js";
import { fromAny } from "../wire/any.js";
import { adaptEvent } from "../wire/event-payloads.js";
import {
  type EventsServer,
  EventsService,
  type SubscribeRequest,
} from "../wire/gen/containerd/services/events/v1/events.js";
import type { Envelope as WireEnvelope } from "../wire/gen/containerd/types/types.js";
import { type ApiDependencies, askOptionsOf } from "./dependencies.js";

import { looseFilters } from "./filtering.js";
import { Subscriber } from "./subscriber.js";
import type { ApiCall, CallWrappers } from "./unary.js";
import { checkEnvelope, checkTopic, type EnvelopeDraft } from "./validation.js";

/** The generated definition, but Subscribe takes messages that are encoded already. */
export const eventsDefinition = {
  ...EventsService,
  subscribe: { ...EventsService.subscribe, responseSerialize: (encoded: Buffer): Buffer => encoded },
} as const;

export type EventsImplementation = Omit<EventsServer, "subscribe"> & {
  readonly subscribe: handleServerStreamingCall<SubscribeRequest, Buffer>;
};

/** The time is passed on as it was sent, not normalised: forwarded events keep their bytes. */
export const envelopeDraft = (envelope: WireEnvelope | undefined): EnvelopeDraft | undefined =>
  envelope === undefined ? undefined : { ...envelope, event: fromAny(envelope.event) };

function publisherOf(call: ApiCall<unknown>): Namespace {
  try {
    return call.namespace;
  } catch (error) {
    if (!(error instanceof DaemonError)) throw error;
    throw new DaemonError(error.kind, `failed publishing event: ${error.message}`, { cause: error });
  }
}

export function createEventsService(
  { journal, limits, clock }: ApiDependencies,
  { unary, serverStream }: CallWrappers,
): EventsImplementation {
  const { quick } = askOptionsOf(limits);
  const now = (): Instant => instantFromMs(clock.now());

  return {
    publish: unary(async (call) => {
      const { topic, event } = call.request;
      const namespace = publisherOf(call);
      checkTopic(topic);
      const envelope = checkEnvelope({ timestamp: now(), namespace, topic, event: fromAny(event) });
      await journal.ask<bigint>((reply) => ({ kind: "publish", envelope, reply }), quick(call.signal));
      return {};
    }),

    forward: unary(async ({ request, signal }) => {
      const envelope = checkEnvelope(envelopeDraft(request.envelope));
      await journal.ask<bigint>((reply) => ({ kind: "publish", envelope, reply }), quick(signal));
      return {};
    }),

    subscribe: serverStream<SubscribeRequest, Buffer>(
      async ({ request, signal }, stream) => {
        const context = "subscription error: failed parsing subscription filters: ";
        const matches = looseFilters(request.filters, context);
        const subscriber = new Subscriber(stream, limits.subscriberQueue, signal);
        // Not given the client's signal: only with the id in hand can the subscription be taken back.
        const id = await journal.ask<number>(
          (reply) => ({
            kind: "subscribe",
            sink: subscriber,
            matches: (envelope) => matches(adaptEvent(envelope)),
            reply,
          }),
          { timeoutMs: limits.askTimeoutMs, from: "api" },
        );
        try {
          await subscriber.ended;
        } catch (error) {
          // A stopped daemon must not look cancelled: dockerd would take that for its own shutdown.
          throw signal.aborted || error instanceof DaemonError ? error : unavailable(String(error));
        } finally {
          journal.tell({ kind: "unsubscribe", id }, "api");
        }
      },
      { subscription: true },
    ),
  };
}
