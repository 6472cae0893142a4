/**
 * Keeps a container's events in the order that clients rely on, whatever order they arrive in:
 * create < start < exec-added < exec-started < exit of the exec < exit of init < delete, and a delete before
 * the next create. An event whose forerunner has not come yet is held; `releaseAll` lets held ones go when the
 * forerunner seems lost, because a late event is better than none.
 */
import type { TaskEvent } from "../../ports/event-codec-port.js";

/** Most events that are held for one container; beyond it the oldest goes out, in order or not. */
const holdLimit = 1024;

export class EventOrder<E> {
  #alive = false;
  #started = false;
  #exited = false;
  readonly #execsAdded = new Set<string>();
  readonly #execsRunning = new Set<string>();
  #held: Array<{ readonly event: TaskEvent; readonly item: E }> = [];
  /** A start was asked for, so an exit has to wait for the start event. */
  #startExpected = false;
  readonly #execStartsExpected = new Set<string>();

  get holding(): boolean {
    return this.#held.length > 0;
  }

  /** The delete event of the present incarnation is still to come. */
  get awaitingDelete(): boolean {
    return this.#alive && this.#exited;
  }

  /** The delete event is not coming any more: the next create need not wait for it. */
  giveUpOnDelete(): void {
    if (this.awaitingDelete) this.#forget();
  }

  expectStart(execId: string): void {
    if (execId === "") this.#startExpected = true;
    else this.#execStartsExpected.add(execId);
  }

  /** The start failed: no start event will come. Returns what may go out now. */
  startFailed(execId: string): E[] {
    if (execId === "") this.#startExpected = false;
    else this.#execStartsExpected.delete(execId);
    return this.#drain([]);
  }

  /** Joins a task in the middle of its life: everything that should have come before counts as seen. */
  resume(task: {
    readonly started: boolean;
    readonly exited: boolean;
    readonly runningExecs: readonly string[];
  }): void {
    this.#alive = true;
    this.#started = task.started;
    this.#exited = task.exited;
    for (const execId of task.runningExecs) {
      this.#execsAdded.add(execId);
      this.#execsRunning.add(execId);
    }
  }

  /** Takes one event; returns those that may go out now, in order. */
  offer(event: TaskEvent, item: E): E[] {
    this.#held.push({ event, item });
    const ready = this.#drain([]);
    if (this.#held.length > holdLimit) {
      const oldest = this.#held.shift();
      if (oldest !== undefined) {
        this.#record(oldest.event);
        return this.#drain([...ready, oldest.item]);
      }
    }
    return ready;
  }

  /** Lets everything go that is held, best order first. */
  releaseAll(): E[] {
    const released = [...this.#held].sort((a, b) => rank(a.event) - rank(b.event));
    this.#held = [];
    for (const { event } of released) this.#record(event);
    return released.map(({ item }) => item);
  }

  #drain(ready: E[]): E[] {
    for (let index = 0; index < this.#held.length; ) {
      const entry = this.#held[index];
      if (entry === undefined || !this.#mayGo(entry.event)) {
        index++;
        continue;
      }
      this.#held.splice(index, 1);
      this.#record(entry.event);
      ready.push(entry.item);
      index = 0; // what it allows may stand before it
    }
    return ready;
  }

  #mayGo(event: TaskEvent): boolean {
    switch (event.topic) {
      case "/tasks/create":
        return !this.#alive;
      case "/tasks/exec-started":
        return this.#execsAdded.has(event.execId);
      case "/tasks/exit":
        if (event.processId !== event.containerId) {
          return !this.#execStartsExpected.has(event.processId) || this.#execsRunning.has(event.processId);
        }
        return this.#alive && (this.#started || !this.#startExpected) && this.#execsRunning.size === 0;
      case "/tasks/delete":
        return this.#exited;
      default:
        return this.#alive;
    }
  }

  #record(event: TaskEvent): void {
    switch (event.topic) {
      case "/tasks/create":
        this.#forget();
        this.#alive = true;
        return;
      case "/tasks/start":
        this.#started = true;
        return;
      case "/tasks/exec-added":
        this.#execsAdded.add(event.execId);
        return;
      case "/tasks/exec-started":
        this.#execStartsExpected.delete(event.execId);
        this.#execsRunning.add(event.execId);
        return;
      case "/tasks/exit":
        if (event.processId === event.containerId) {
          this.#exited = true;
        } else {
          this.#execsAdded.delete(event.processId);
          this.#execsRunning.delete(event.processId);
          this.#execStartsExpected.delete(event.processId);
        }
        return;
      case "/tasks/delete":
        this.#forget();
        return;
      default:
        return;
    }
  }

  #forget(): void {
    this.#alive = false;
    this.#started = false;
    this.#exited = false;
    this.#startExpected = false;
    this.#execsAdded.clear();
    this.#execsRunning.clear();
    this.#execStartsExpected.clear();
  }
}

const ranks: Record<TaskEvent["topic"], number> = {
  "/tasks/create": 0,
  "/tasks/start": 1,
  "/tasks/exec-added": 2,
  "/tasks/exec-started": 3,
  "/tasks/oom": 4,
  "/tasks/paused": 4,
  "/tasks/resumed": 4,
  "/tasks/checkpointed": 4,
  "/tasks/exit": 5,
  "/tasks/delete": 7,
};

const rank = (event: TaskEvent): number =>
  event.topic === "/tasks/exit" && event.processId === event.containerId ? 6 : ranks[event.topic];
