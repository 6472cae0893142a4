/** The payloads of events that actors send and read, apart from their encoding. */
import type { Exit, Instant } from "../core/exit.js";
import type { Envelope } from "./event-sink.js";
import type { ContainerRecord, OpaqueAny } from "./store-port.js";

type Labels = Readonly<Record<string, string>>;

export type DomainEvent =
  | { readonly topic: "/containers/create"; readonly record: ContainerRecord }
  | { readonly topic: "/containers/update"; readonly record: ContainerRecord }
  | { readonly topic: "/containers/delete"; readonly id: string }
  | { readonly topic: "/namespaces/create"; readonly name: string; readonly labels: Labels }
  | { readonly topic: "/namespaces/update"; readonly name: string; readonly labels: Labels }
  | { readonly topic: "/namespaces/delete"; readonly name: string }
  | {
      readonly topic: "/tasks/exit";
      readonly containerId: string;
      readonly processId: string;
      readonly exit: Exit;
    }
  | { readonly topic: "/tasks/delete"; readonly containerId: string; readonly exit: Exit };

/** What a shim's event says about its task, as far as the task's actor needs it. */
export type TaskEvent =
  | { readonly topic: "/tasks/create"; readonly containerId: string; readonly pid: number }
  | { readonly topic: "/tasks/start"; readonly containerId: string; readonly pid: number }
  | { readonly topic: "/tasks/exec-added"; readonly containerId: string; readonly execId: string }
  | {
      readonly topic: "/tasks/exec-started";
      readonly containerId: string;
      readonly execId: string;
      readonly pid: number;
    }
  | {
      readonly topic: "/tasks/exit";
      readonly containerId: string;
      readonly processId: string;
      readonly exit: Exit;
    }
  | {
      readonly topic: "/tasks/oom" | "/tasks/paused" | "/tasks/resumed" | "/tasks/checkpointed";
      readonly containerId: string;
    }
  | { readonly topic: "/tasks/delete"; readonly containerId: string; readonly exit: Exit };

export interface EventCodec {
  encode(event: DomainEvent): OpaqueAny;
  /** undefined for an event that is no task's, or whose payload is not what its topic says. */
  decodeTask(envelope: Envelope): TaskEvent | undefined;
}

export const envelopeOf = (
  namespace: string,
  event: DomainEvent,
  codec: EventCodec,
  timestamp: Instant,
): Envelope => ({
  timestamp,
  namespace,
  topic: event.topic,
  event: codec.encode(event),
});
