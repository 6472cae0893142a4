/** Event envelopes between the wire and the rooms; Subscribe, Publish, Forward and the shim's spool share them. */
import type { Envelope } from "../ports/event-sink.js";
import { fromAny, toAny } from "./any.js";
import type { Envelope as WireEnvelope } from "./gen/containerd/types/types.js";
import { fromTimestamp, toTimestamp } from "./timestamp.js";

export const toWireEnvelope = (envelope: Envelope): WireEnvelope => ({
  timestamp: toTimestamp(envelope.timestamp),
  namespace: envelope.namespace,
  topic: envelope.topic,
  event: toAny(envelope.event),
});

/** An absent event becomes one without type and bytes. */
export const fromWireEnvelope = (envelope: WireEnvelope): Envelope => ({
  timestamp: fromTimestamp(envelope.timestamp),
  namespace: envelope.namespace,
  topic: envelope.topic,
  event: fromAny(envelope.event) ?? { typeUrl: "", value: new Uint8Array(0) },
});
