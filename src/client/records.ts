/** Containers and tasks as the daemon keeps them, for those who may not look at the wire themselves. */
import { Container } from "../wire/gen/containerd/services/containers/v1/containers.js";
import { type Process, Status } from "../wire/gen/containerd/v1/types/types.js";
import type { Any } from "../wire/gen/google/protobuf/any.js";

export type { Any, Container, Process };

export type TaskState = "unknown" | "created" | "running" | "stopped" | "paused" | "pausing";

const states: Readonly<Record<Status, TaskState>> = {
  [Status.UNKNOWN]: "unknown",
  [Status.CREATED]: "created",
  [Status.RUNNING]: "running",
  [Status.STOPPED]: "stopped",
  [Status.PAUSED]: "paused",
  [Status.PAUSING]: "pausing",
  [Status.UNRECOGNIZED]: "unknown",
};

/** A task's state in one word. */
export const taskState = (task: Process): TaskState => states[task.status] ?? "unknown";

/** A container's record to store; the daemon fills in the times. */
export const newContainer = (fields: {
  readonly id: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly runtime: { readonly name: string; readonly options: Any | undefined };
  readonly spec: Any;
}): Container => Container.fromPartial(fields);
