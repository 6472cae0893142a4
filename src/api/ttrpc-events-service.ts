/**
 * containerd.services.events.ttrpc.v1: where shims deliver their events. An event of a task goes to its container's
 * actor, which knows the order and answers once it is stored; any other goes to the journal. The answer is what
 * lets a shim forget the event, so a failure must be answered as one.
 */
import { LRUCache } from "lru-cache";
import type { ContainerDirectory } from "../actors/containers/directory.js";
import { DaemonError } from "../core/errors.js";
import { type ContainerId, identifierProblem, type Namespace, type TaskKey } from "../core/ids.js";
import type { Envelope } from "../ports/event-sink.js";
import { fieldOf } from "../wire/event-payloads.js";
import { eventKeyHeader, forwardMethod } from "../wire/forward-method.js";
import type { TtrpcRegistration } from "../wire/ttrpc/method.js";
import type { ApiDependencies } from "./dependencies.js";
import { envelopeDraft } from "./events-service.js";
import { checkEnvelope } from "./validation.js";

/** Keys of delivered events that are remembered: far more than shims have unacknowledged at a time. */
const rememberedKeys = 65_536;

/**
 * Longer than a shim waits for its answer, and than an event may be held back for its forerunner: so a repeated
 * delivery finds the first one still under way and shares its outcome.
 */
const deliveryTimeoutMs = 30_000;

/** The task that an event is about, or undefined when it is about none. */
function taskOf(envelope: Envelope): TaskKey | undefined {
  if (!envelope.topic.startsWith("/tasks/")) return undefined;
  const id = fieldOf(envelope, ["event", "container_id"]);
  if (id === undefined || identifierProblem(id) !== undefined) return undefined;
  return { namespace: envelope.namespace as Namespace, id: id as ContainerId };
}

export function createTtrpcEventsService({
  containers,
  journal,
}: Pick<ApiDependencies, "journal"> & {
  readonly containers: Pick<ContainerDirectory, "shimEvent">;
}): TtrpcRegistration {
  // A delivery that is still going on is kept as well: a retry that overtakes it waits for the same outcome.
  const deliveries = new LRUCache<string, Promise<void>>({ max: rememberedKeys });

  async function deliver(envelope: Envelope): Promise<void> {
    // Not given the shim's signal: the outcome counts for its retries too.
    const options = { timeoutMs: deliveryTimeoutMs, from: "api" };
    const key = taskOf(envelope);
    if (key !== undefined) {
      try {
        await containers.shimEvent(key, { kind: "shim-event", envelope }, options);
        return;
      } catch (error) {
        // The container's record is gone; subscribers are still told.
        if (!(error instanceof DaemonError) || error.kind !== "not-found") throw error;
      }
    }
    await journal.ask<bigint>((reply) => ({ kind: "publish", envelope, reply }), options);
  }

  async function deliverOnce(key: string, envelope: Envelope): Promise<void> {
    const known = deliveries.get(key);
    if (known !== undefined) return known;
    const delivery = deliver(envelope);
    deliveries.set(key, delivery);
    try {
      await delivery;
    } catch (error) {
      deliveries.delete(key);
      throw error;
    }
  }

  return forwardMethod.handledBy(async (request, call) => {
    const envelope = checkEnvelope(envelopeDraft(request.envelope));
    const key = call.metadata.get(eventKeyHeader)?.[0];
    await (key === undefined ? deliver(envelope) : deliverOnce(key, envelope));
    return {};
  });
}
