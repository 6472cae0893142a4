/** How a shim hands an event to the daemon: containerd's ttrpc Events service, with berth's name for the event. */
import { ForwardRequest } from "./gen/containerd/services/events/ttrpc/v1/ttrpc.js";
import { Empty } from "./gen/google/protobuf/empty.js";
import { ttrpcMethod } from "./ttrpc/method.js";

export const eventsService = "containerd.services.events.ttrpc.v1.Events";
/** Metadata that names an event for good, so that the daemon knows a repeated delivery. Foreign shims send none. */
export const eventKeyHeader = "berth-event-key";

export const forwardMethod = ttrpcMethod(eventsService, "Forward", ForwardRequest, Empty);
