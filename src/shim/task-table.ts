/** The tasks of this shim by container id, from the moment their creation begins until they are deleted. */
import { alreadyExists, notFound } from "../core/errors.js";
import type { Exit } from "../core/exit.js";
import type { Task } from "./task.js";

export class TaskTable {
  readonly #tasks = new Map<string, Task | "creating">();
  #onEmpty: () => void = () => undefined;

  /** `listener` runs whenever the last task has gone. */
  whenEmpty(listener: () => void): void {
    this.#onEmpty = listener;
  }

  /** Tasks there are or will be; zero lets the shim end. */
  get size(): number {
    return this.#tasks.size;
  }

  /** Created tasks, oldest first. */
  list(): readonly Task[] {
    return [...this.#tasks.values()].filter((task): task is Task => task !== "creating");
  }

  /** Ids of tasks whose creation goes on. */
  creating(): readonly string[] {
    return [...this.#tasks].filter(([, task]) => task === "creating").map(([id]) => id);
  }

  /** Rejects already-exists for an id that is taken; the id is free again when `make` fails. */
  async create(id: string, make: () => Promise<Task>): Promise<Task> {
    if (this.#tasks.has(id)) throw alreadyExists(`task ${id}`);
    this.#tasks.set(id, "creating");
    try {
      const task = await make();
      this.#tasks.set(id, task);
      return task;
    } catch (error) {
      this.#remove(id);
      throw error;
    }
  }

  find(id: string): Task | undefined {
    const task = this.#tasks.get(id);
    return task === "creating" ? undefined : task;
  }

  get(id: string): Task {
    const task = this.find(id);
    if (task === undefined) throw notFound("container not created");
    return task;
  }

  /** Deletes an exec, or the task when `execId` is "". */
  async delete(id: string, execId: string): Promise<Exit> {
    const task = this.get(id);
    const exit = await task.delete(execId);
    if (execId === "" && this.#tasks.get(id) === task) this.#remove(id);
    return exit;
  }

  #remove(id: string): void {
    this.#tasks.delete(id);
    if (this.#tasks.size === 0) this.#onEmpty();
  }
}
