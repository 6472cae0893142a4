/** containerd.events.* payloads of the events that the daemon itself sends or acts on. */
import { invalidArgument } from "../core/errors.js";
import type { Exit } from "../core/exit.js";
import type { DomainEvent, EventCodec, TaskEvent } from "../ports/event-codec-port.js";
import type { Envelope } from "../ports/event-sink.js";
import type { OpaqueAny } from "../ports/store-port.js";
import { packAny, toAny } from "./any.js";
import * as pb from "./gen/containerd/events/events.js";
import { fromTimestamp, toTimestamp } from "./timestamp.js";

function encode(event: DomainEvent): OpaqueAny {
  switch (event.topic) {
    case "/containers/create": {
      const { id, image, runtime } = event.record;
      const message = { id, image, runtime: { name: runtime.name, options: toAny(runtime.options) } };
      return packAny("containerd.events.ContainerCreate", pb.ContainerCreate, message);
    }
    case "/containers/update": {
      const { id, image, labels, snapshotKey } = event.record;
      const message = { id, image, labels: { ...labels }, snapshotKey };
      return packAny("containerd.events.ContainerUpdate", pb.ContainerUpdate, message);
    }
    case "/containers/delete":
      return packAny("containerd.events.ContainerDelete", pb.ContainerDelete, { id: event.id });
    case "/namespaces/create":
      return packAny("containerd.events.NamespaceCreate", pb.NamespaceCreate, {
        name: event.name,
        labels: { ...event.labels },
      });
    case "/namespaces/update":
      return packAny("containerd.events.NamespaceUpdate", pb.NamespaceUpdate, {
        name: event.name,
        labels: { ...event.labels },
      });
    case "/namespaces/delete":
      return packAny("containerd.events.NamespaceDelete", pb.NamespaceDelete, { name: event.name });
    case "/tasks/exit": {
      const { pid, exitStatus, exitedAt } = event.exit;
      const message = {
        containerId: event.containerId,
        id: event.processId,
        pid,
        exitStatus,
        exitedAt: toTimestamp(exitedAt),
      };
      return packAny("containerd.events.TaskExit", pb.TaskExit, message);
    }
    case "/tasks/delete": {
      const { pid, exitStatus, exitedAt } = event.exit;
      const message = {
        containerId: event.containerId,
        pid,
        exitStatus,
        exitedAt: toTimestamp(exitedAt),
        id: "",
      };
      return packAny("containerd.events.TaskDelete", pb.TaskDelete, message);
    }
  }
}

const exitOf = (message: Pick<pb.TaskExit, "pid" | "exitStatus" | "exitedAt">): Exit => ({
  pid: message.pid,
  exitStatus: message.exitStatus,
  exitedAt: fromTimestamp(message.exitedAt),
});

const decoders: { readonly [T in TaskEvent["topic"]]: (value: Uint8Array) => TaskEvent } = {
  "/tasks/create": (value) => {
    const { containerId, pid } = pb.TaskCreate.decode(value);
    return { topic: "/tasks/create", containerId, pid };
  },
  "/tasks/start": (value) => {
    const { containerId, pid } = pb.TaskStart.decode(value);
    return { topic: "/tasks/start", containerId, pid };
  },
  "/tasks/exec-added": (value) => {
    const { containerId, execId } = pb.TaskExecAdded.decode(value);
    return { topic: "/tasks/exec-added", containerId, execId };
  },
  "/tasks/exec-started": (value) => {
    const { containerId, execId, pid } = pb.TaskExecStarted.decode(value);
    return { topic: "/tasks/exec-started", containerId, execId, pid };
  },
  "/tasks/exit": (value) => {
    const message = pb.TaskExit.decode(value);
    return {
      topic: "/tasks/exit",
      containerId: message.containerId,
      processId: message.id,
      exit: exitOf(message),
    };
  },
  "/tasks/delete": (value) => {
    const message = pb.TaskDelete.decode(value);
    return { topic: "/tasks/delete", containerId: message.containerId, exit: exitOf(message) };
  },
  "/tasks/oom": (value) => ({ topic: "/tasks/oom", containerId: pb.TaskOOM.decode(value).containerId }),
  "/tasks/paused": (value) => ({
    topic: "/tasks/paused",
    containerId: pb.TaskPaused.decode(value).containerId,
  }),
  "/tasks/resumed": (value) => ({
    topic: "/tasks/resumed",
    containerId: pb.TaskResumed.decode(value).containerId,
  }),
  "/tasks/checkpointed": (value) => ({
    topic: "/tasks/checkpointed",
    containerId: pb.TaskCheckpointed.decode(value).containerId,
  }),
};

export const eventCodec: EventCodec = {
  encode,
  decodeTask(envelope: Envelope) {
    if (!Object.hasOwn(decoders, envelope.topic)) return undefined;
    try {
      return decoders[envelope.topic as TaskEvent["topic"]](envelope.event.value);
    } catch (cause) {
      throw invalidArgument(`event of topic ${envelope.topic} does not decode`, { cause });
    }
  },
};
