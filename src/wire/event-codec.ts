/** The events that the daemon itself sends or acts on, in the daemon's own words on one side. */
import type { Exit } from "../core/exit.js";
import type { DomainEvent, EventCodec, TaskEvent } from "../ports/event-codec-port.js";
import type { OpaqueAny } from "../ports/store-port.js";
import { toAny } from "./any.js";
import { type EventPayload, eventTopics, packEvent, unpackEvent } from "./event-payloads.js";
import { fromTimestamp, toTimestamp } from "./timestamp.js";

function encode(event: DomainEvent): OpaqueAny {
  switch (event.topic) {
    case "/containers/create": {
      const { id, image, runtime } = event.record;
      return packEvent("ContainerCreate", {
        id,
        image,
        runtime: { name: runtime.name, options: toAny(runtime.options) },
      });
    }
    case "/containers/update": {
      const { id, image, labels, snapshotKey } = event.record;
      return packEvent("ContainerUpdate", { id, image, labels: { ...labels }, snapshotKey });
    }
    case "/containers/delete":
      return packEvent("ContainerDelete", { id: event.id });
    case "/namespaces/create":
      return packEvent("NamespaceCreate", { name: event.name, labels: { ...event.labels } });
    case "/namespaces/update":
      return packEvent("NamespaceUpdate", { name: event.name, labels: { ...event.labels } });
    case "/namespaces/delete":
      return packEvent("NamespaceDelete", { name: event.name });
    case "/tasks/exit":
      return packEvent("TaskExit", {
        containerId: event.containerId,
        id: event.processId,
        ...wireExit(event.exit),
      });
    case "/tasks/delete":
      return packEvent("TaskDelete", { containerId: event.containerId, id: "", ...wireExit(event.exit) });
  }
}

const wireExit = ({ pid, exitStatus, exitedAt }: Exit) => ({
  pid,
  exitStatus,
  exitedAt: toTimestamp(exitedAt),
});

function taskEvent(event: EventPayload): TaskEvent | undefined {
  switch (event.name) {
    case "TaskCreate":
    case "TaskStart": {
      const topic = event.name === "TaskCreate" ? "/tasks/create" : "/tasks/start";
      return { topic, containerId: event.payload.containerId, pid: event.payload.pid };
    }
    case "TaskExecAdded":
      return {
        topic: "/tasks/exec-added",
        containerId: event.payload.containerId,
        execId: event.payload.execId,
      };
    case "TaskExecStarted": {
      const { containerId, execId, pid } = event.payload;
      return { topic: "/tasks/exec-started", containerId, execId, pid };
    }
    case "TaskExit": {
      const { containerId, id, pid, exitStatus, exitedAt } = event.payload;
      const exit = { pid, exitStatus, exitedAt: fromTimestamp(exitedAt) };
      return { topic: "/tasks/exit", containerId, processId: id, exit };
    }
    case "TaskDelete": {
      const { containerId, pid, exitStatus, exitedAt } = event.payload;
      return {
        topic: "/tasks/delete",
        containerId,
        exit: { pid, exitStatus, exitedAt: fromTimestamp(exitedAt) },
      };
    }
    case "TaskOOM":
      return { topic: "/tasks/oom", containerId: event.payload.containerId };
    case "TaskPaused":
      return { topic: "/tasks/paused", containerId: event.payload.containerId };
    case "TaskResumed":
      return { topic: "/tasks/resumed", containerId: event.payload.containerId };
    case "TaskCheckpointed":
      return { topic: "/tasks/checkpointed", containerId: event.payload.containerId };
    default:
      return undefined;
  }
}

export const eventCodec: EventCodec = {
  encode,
  decodeTask({ topic, event }) {
    const unpacked = unpackEvent(event);
    // A payload under a topic that is not its own says nothing about a task.
    return unpacked === undefined || eventTopics[unpacked.name] !== topic ? undefined : taskEvent(unpacked);
  },
};
