/** Checks a history of task events against the order that clients rely on, and against what shims sent. */
import type { TaskEvent } from "../../src/ports/event-codec-port.js";

export interface Seen {
  /** `<namespace>/<id>` of the container. */
  readonly key: string;
  readonly event: TaskEvent;
}

interface Life {
  readonly pid: number;
  started: boolean;
  exited: boolean;
  readonly added: Set<string>;
  readonly running: Set<string>;
}

/** One sentence for each thing that is wrong. */
export function checkHistory(history: readonly Seen[], emitted: readonly Seen[]): string[] {
  const faults: string[] = [];
  const lives = new Map<string, Life>();
  const begun = new Set<string>();
  for (const { key, event } of history) {
    const fault = (what: string): void => void faults.push(`${key}: ${event.topic} ${what}`);
    const life = lives.get(key);
    if (event.topic === "/tasks/create") {
      if (life !== undefined) fault(`of ${event.pid} while ${life.pid} has not been deleted`);
      lives.set(key, { pid: event.pid, started: false, exited: false, added: new Set(), running: new Set() });
      begun.add(`${key}/${event.pid}`);
      continue;
    }
    if (life === undefined) {
      fault("without a create");
      continue;
    }
    if (life.exited && event.topic !== "/tasks/delete") fault("after the exit");
    checkWithin(life, event, fault);
    if (event.topic === "/tasks/delete") lives.delete(key);
  }
  for (const [key, { pid }] of lives) faults.push(`${key}: ${pid} was never deleted`);
  return [...faults, ...checkComplete(history, emitted, begun)];
}

function checkWithin(life: Life, event: TaskEvent, fault: (what: string) => void): void {
  switch (event.topic) {
    case "/tasks/start":
      if (life.started || life.pid !== event.pid) fault(`of ${event.pid} in the life of ${life.pid}`);
      life.started = true;
      return;
    case "/tasks/exec-added":
      life.added.add(event.execId);
      return;
    case "/tasks/exec-started":
      if (!life.added.has(event.execId)) fault(`of ${event.execId} before it was added`);
      life.running.add(event.execId);
      return;
    case "/tasks/exit":
      if (event.processId === event.containerId) {
        if (life.pid !== event.exit.pid) fault(`of ${event.exit.pid} in the life of ${life.pid}`);
        if (life.running.size > 0) fault(`before those of ${[...life.running].join(" ")}`);
        life.exited = true;
      } else {
        if (!life.running.has(event.processId)) fault(`of ${event.processId}, which does not run`);
        life.running.delete(event.processId);
        life.added.delete(event.processId);
      }
      return;
    case "/tasks/delete":
      if (!life.exited) fault("before the exit");
      if (life.pid !== event.exit.pid) fault(`of ${event.exit.pid} in the life of ${life.pid}`);
      return;
    default:
  }
}

/** What a shim sent of a life that clients saw begin, they saw as a whole, and once. */
function checkComplete(
  history: readonly Seen[],
  emitted: readonly Seen[],
  begun: ReadonlySet<string>,
): string[] {
  const counts = new Map<string, number>();
  for (const seen of history) {
    const name = identity(seen);
    if (name !== undefined) counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  const faults: string[] = [];
  const lifeOf = new Map<string, number>();
  for (const seen of emitted) {
    if (seen.event.topic === "/tasks/create") lifeOf.set(seen.key, seen.event.pid);
    const name = identity(seen);
    if (name === undefined || !begun.has(`${seen.key}/${lifeOf.get(seen.key)}`)) continue;
    const count = counts.get(name) ?? 0;
    if (count !== 1) faults.push(`${name} was seen ${count} times`);
  }
  return faults;
}

/** What names an event for good; nothing for those that may well repeat. */
function identity({ key, event }: Seen): string | undefined {
  switch (event.topic) {
    case "/tasks/create":
    case "/tasks/start":
      return `${key} ${event.topic} ${event.pid}`;
    case "/tasks/exec-started":
      return `${key} ${event.topic} ${event.execId} ${event.pid}`;
    case "/tasks/exit":
      return `${key} ${event.topic} ${event.processId} ${event.exit.pid}`;
    case "/tasks/delete":
      return `${key} ${event.topic} ${event.exit.pid}`;
    default:
      return undefined;
  }
}
