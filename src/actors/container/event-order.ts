/**
 * Keeps a container's events in the order that clients rely on, whatever order they arrive in:
 * create < start < exec-added < exec-started < exit of the exec < exit of init < delete, and all of one life
 * before the next create. A life is known by the pid of its init. An event whose forerunner has not come yet is
 * held; `releaseHeld` lets it go when the forerunner seems lost, because a late event is better than none.
 */
import type { TaskEvent } from "../../ports/event-codec-port.js";

/** Most events that are held for one container; beyond it the oldest goes out, in order or not. */
const holdLimit = 1024;
/** Exits of execs that are remembered, to know a repeated one. */
const rememberedExits = 256;

interface Held<E> {
  readonly event: TaskEvent;
  readonly item: E;
}

/** What went out of one life, from create to delete. */
class Life {
  created = false;
  started = false;
  exited = false;
  /** A start was asked for, so an exit has to wait for the start event. */
  startExpected = false;
  readonly execsAdded = new Set<string>();
  /** With their pids. */
  readonly execsRunning = new Map<string, number>();
  readonly execStartsExpected = new Set<string>();
  readonly execExits = new Set<string>();

  constructor(
    readonly pid: number,
    /** Taken up in its middle: nobody knows what went out before, so that is not waited for. */
    public joined = false,
  ) {}
}

/** What a life that was taken up in its middle has behind it. */
export interface JoinedLife {
  readonly pid: number;
  readonly started: boolean;
  readonly exited: boolean;
  readonly runningExecs: readonly { readonly execId: string; readonly pid: number }[];
}

export class EventOrder<E> {
  /** Whose events go out now. */
  #life: Life | undefined;
  /** Born, but its create event has not gone out: it has not come, or the life before is not over. */
  #next: Life | undefined;
  /** The life before. */
  #last: { readonly pid: number; readonly deleted: boolean } | undefined;
  #held: Held<E>[] = [];
  /** What is awaited has been waited for long enough. */
  #overdue = false;
  readonly #onDuplicate: (item: E) => void;

  /** `onDuplicate` gets events that went out already and will not again. */
  constructor(onDuplicate: (item: E) => void) {
    this.#onDuplicate = onDuplicate;
  }

  get holding(): boolean {
    return this.#held.length > 0;
  }

  /** Something is awaited: a forerunner of a held event, or the rest of a life other than that of `pid`. */
  unsettled(pid: number | undefined): boolean {
    return this.holding || [this.#life, this.#next].some((life) => life !== undefined && life.pid !== pid);
  }

  /** Events of a task that is gone are still to come, and have not been waited for in vain. */
  get owes(): boolean {
    return !this.#overdue && (this.#life !== undefined || this.#next !== undefined);
  }

  /** The task of this pid was made: its create event comes or has come. Returns what may go out now. */
  born(pid: number): E[] {
    if (this.#life?.pid === pid || this.#next?.pid === pid || this.#last?.pid === pid) return [];
    this.#next = new Life(pid);
    return this.#drain();
  }

  /** Joins a task in the middle of its life. Returns what may go out now. */
  join(task: JoinedLife): E[] {
    // What went out is known better here; only what an earlier incarnation waited for is not.
    const known = [this.#life, this.#next].find((life) => life?.pid === task.pid);
    if (known !== undefined) {
      known.startExpected = false;
      known.execStartsExpected.clear();
      return this.#drain();
    }
    const life = new Life(task.pid, true);
    life.started = task.started;
    life.exited = task.exited;
    for (const { execId, pid } of task.runningExecs) {
      life.execsAdded.add(execId);
      life.execsRunning.set(execId, pid);
    }
    this.#life = life;
    this.#next = undefined;
    return this.#drain();
  }

  expectStart(execId: string): void {
    const life = this.#next ?? this.#life;
    if (execId === "") {
      if (life !== undefined) life.startExpected = true;
    } else life?.execStartsExpected.add(execId);
  }

  /** The start failed: no start event will come. Returns what may go out now. */
  startFailed(execId: string): E[] {
    const life = this.#next ?? this.#life;
    if (execId === "") {
      if (life !== undefined) life.startExpected = false;
    } else life?.execStartsExpected.delete(execId);
    return this.#drain();
  }

  /** True when the delete event of this life went out. */
  deleted(pid: number): boolean {
    return this.#last?.pid === pid && this.#last.deleted;
  }

  /** True when init's exit event of this life went out. */
  exited(pid: number): boolean {
    return this.deleted(pid) || (this.#life?.pid === pid && this.#life.exited);
  }

  /** Takes one event; returns those that may go out now, in order. */
  offer(event: TaskEvent, item: E): E[] {
    this.#held.push({ event, item });
    const ready = this.#drain();
    if (this.#held.length > holdLimit) {
      const oldest = this.#held.shift();
      if (oldest !== undefined) {
        this.#record(oldest.event);
        return [...ready, oldest.item, ...this.#drain()];
      }
    }
    return ready;
  }

  /** Init's pid of the life whose events go out now. */
  get present(): number | undefined {
    return this.#life?.pid;
  }

  /** Execs of that life whose start went out and whose exit did not, with their pids. */
  runningExecs(pid: number): ReadonlyMap<string, number> {
    return this.#life?.pid === pid ? this.#life.execsRunning : new Map();
  }

  /** The end of this life is told by the daemon: no delete event will come. Returns what may go out now. */
  closed(pid: number): E[] {
    if (this.#next?.pid === pid) this.#next = undefined;
    if (this.#life?.pid === pid) this.#life = undefined;
    this.#last = { pid, deleted: true };
    this.#overdue = false;
    return this.#drain();
  }

  /** This life is over, as far as anybody knows; what still comes of it goes straight through. */
  giveUp(pid: number): E[] {
    if (this.#life?.pid === pid) this.#end(this.#life, false);
    return this.#drain();
  }

  /** Gives back what is held without letting it out. */
  abandon(): E[] {
    const held = this.#held.map(({ item }) => item);
    this.#held = [];
    return held;
  }

  /** Lets everything go that is held, best order first. */
  releaseHeld(): E[] {
    this.#overdue = true;
    const present = this.#life?.pid;
    // Whatever has no pid belongs to the present life, or to the first that comes.
    const later = (event: TaskEvent): number => {
      const pid = pidOf(event);
      return pid === undefined || pid === present || present === undefined ? 0 : 1;
    };
    const sorted = [...this.#held].sort(
      (a, b) => later(a.event) - later(b.event) || rank(a.event) - rank(b.event),
    );
    this.#held = [];
    const released: E[] = [];
    for (const { event, item } of sorted) {
      if (this.#isDuplicate(event)) {
        this.#onDuplicate(item);
        continue;
      }
      this.#record(event);
      released.push(item);
    }
    return released;
  }

  #drain(): E[] {
    const ready: E[] = [];
    for (let index = 0; index < this.#held.length; ) {
      const entry = this.#held[index] as Held<E>;
      if (this.#isDuplicate(entry.event)) {
        this.#held.splice(index, 1);
        this.#onDuplicate(entry.item);
      } else if (this.#mayGo(entry.event)) {
        this.#held.splice(index, 1);
        this.#record(entry.event);
        ready.push(entry.item);
        index = 0; // what it allows may stand before it
      } else index++;
    }
    return ready;
  }

  #mayGo(event: TaskEvent): boolean {
    const life = this.#life;
    const pid = pidOf(event);
    // Of a life that was given up.
    if (pid !== undefined && pid === this.#last?.pid) return true;
    if (event.topic === "/tasks/create") return life === undefined || life.pid === event.pid;
    if (life === undefined || (pid !== undefined && pid !== life.pid)) return false;
    switch (event.topic) {
      case "/tasks/exec-started":
        return life.joined || life.execsAdded.has(event.execId);
      case "/tasks/exit": {
        const { processId } = event;
        if (processId === event.containerId)
          return (life.started || life.joined || !life.startExpected) && life.execsRunning.size === 0;
        if (life.execsRunning.has(processId)) return true;
        return !life.execStartsExpected.has(processId) && (life.joined || life.execsAdded.has(processId));
      }
      case "/tasks/delete":
        return life.exited;
      default:
        return true;
    }
  }

  #isDuplicate(event: TaskEvent): boolean {
    const pid = pidOf(event);
    if (pid !== undefined && this.deleted(pid)) return true;
    const life = this.#life;
    if (life === undefined) return false;
    switch (event.topic) {
      case "/tasks/create":
        return life.created && life.pid === event.pid;
      case "/tasks/start":
        return life.started && !life.joined && life.pid === event.pid;
      case "/tasks/exit":
        if (event.processId === event.containerId)
          return life.exited && !life.joined && life.pid === event.exit.pid;
        return life.execExits.has(`${event.processId}/${event.exit.pid}`);
      default:
        return false;
    }
  }

  #record(event: TaskEvent): void {
    const pid = pidOf(event);
    if (pid !== undefined && pid === this.#last?.pid) return;
    if (pid !== undefined && pid !== this.#life?.pid) this.#beginLife(event, pid);
    const life = this.#life;
    if (life === undefined) return;
    switch (event.topic) {
      case "/tasks/create":
        life.created = true;
        return;
      case "/tasks/start":
        life.started = true;
        return;
      case "/tasks/exec-added":
        life.execsAdded.add(event.execId);
        return;
      case "/tasks/exec-started":
        life.execStartsExpected.delete(event.execId);
        life.execsRunning.set(event.execId, event.pid);
        return;
      case "/tasks/exit":
        if (event.processId === event.containerId) life.exited = true;
        else this.#recordExecExit(life, event.processId, event.exit.pid);
        return;
      case "/tasks/delete":
        this.#end(life, true);
        return;
      default:
        return;
    }
  }

  #beginLife(event: TaskEvent, pid: number): void {
    if (this.#life !== undefined) this.#end(this.#life, false);
    this.#life = this.#next?.pid === pid ? this.#next : new Life(pid);
    if (this.#life === this.#next) this.#next = undefined;
    // Its create was not waited for, so neither is the rest.
    if (event.topic !== "/tasks/create") this.#life.joined = true;
  }

  #recordExecExit(life: Life, execId: string, pid: number): void {
    life.execsAdded.delete(execId);
    life.execsRunning.delete(execId);
    life.execStartsExpected.delete(execId);
    life.execExits.add(`${execId}/${pid}`);
    if (life.execExits.size > rememberedExits) {
      const [oldest] = life.execExits;
      if (oldest !== undefined) life.execExits.delete(oldest);
    }
  }

  #end(life: Life, deleted: boolean): void {
    this.#overdue = false;
    this.#last = { pid: life.pid, deleted };
    this.#life = undefined;
  }
}

/** Init's pid, where the event tells it: it names the life. */
function pidOf(event: TaskEvent): number | undefined {
  switch (event.topic) {
    case "/tasks/create":
    case "/tasks/start":
      return event.pid;
    case "/tasks/exit":
      return event.processId === event.containerId ? event.exit.pid : undefined;
    case "/tasks/delete":
      return event.exit.pid;
    default:
      return undefined;
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
