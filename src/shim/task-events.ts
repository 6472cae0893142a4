/** The events of one task as containerd's shim sends them: topic and payload. Order and delivery are others' business. */
import type { Exit } from "../core/exit.js";
import type { Mount, Stdio } from "../ports/shim-port.js";
import * as pb from "../wire/gen/containerd/events/events.js";
import type { EventPublisher } from "./ports.js";

interface Encoder<T> {
  encode(message: T): { finish(): Uint8Array };
}

export class TaskEvents {
  readonly #publisher: EventPublisher;
  readonly #containerId: string;

  constructor(publisher: EventPublisher, containerId: string) {
    this.#publisher = publisher;
    this.#containerId = containerId;
  }

  created(task: {
    readonly bundle: string;
    readonly rootfs: readonly Mount[];
    readonly stdio: Stdio;
    readonly checkpoint: string;
    readonly pid: number;
  }): void {
    this.#publish("/tasks/create", "TaskCreate", pb.TaskCreate, {
      containerId: this.#containerId,
      bundle: task.bundle,
      rootfs: task.rootfs.map((mount) => ({ ...mount, options: [...mount.options] })),
      io: { ...task.stdio },
      checkpoint: task.checkpoint,
      pid: task.pid,
    });
  }

  started(pid: number): void {
    this.#publish("/tasks/start", "TaskStart", pb.TaskStart, { containerId: this.#containerId, pid });
  }

  execAdded(execId: string): void {
    const event = { containerId: this.#containerId, execId };
    this.#publish("/tasks/exec-added", "TaskExecAdded", pb.TaskExecAdded, event);
  }

  execStarted(execId: string, pid: number): void {
    const event = { containerId: this.#containerId, execId, pid };
    this.#publish("/tasks/exec-started", "TaskExecStarted", pb.TaskExecStarted, event);
  }

  /** `id` is the container's for init, the exec's for an exec. */
  exited(id: string, exit: Exit): void {
    this.#publish("/tasks/exit", "TaskExit", pb.TaskExit, { containerId: this.#containerId, id, ...exit });
  }

  paused(): void {
    this.#publish("/tasks/paused", "TaskPaused", pb.TaskPaused, { containerId: this.#containerId });
  }

  resumed(): void {
    this.#publish("/tasks/resumed", "TaskResumed", pb.TaskResumed, { containerId: this.#containerId });
  }

  outOfMemory(): void {
    this.#publish("/tasks/oom", "TaskOOM", pb.TaskOOM, { containerId: this.#containerId });
  }

  deleted(exit: Exit): void {
    const event = { containerId: this.#containerId, id: "", ...exit };
    this.#publish("/tasks/delete", "TaskDelete", pb.TaskDelete, event);
  }

  #publish<T>(topic: string, name: string, encoder: Encoder<T>, message: T): void {
    this.#publisher.publish(this.#containerId, topic, {
      typeUrl: `containerd.events.${name}`,
      value: encoder.encode(message).finish(),
    });
  }
}
