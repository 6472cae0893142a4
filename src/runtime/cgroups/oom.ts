/**
 * Notices that the kernel ran out of a container's memory. v1 tells through an eventfd per container; libuv
 * cannot wait on those, so one epoll instance holds them all and is asked, without waiting, by one timer for the
 * whole process. v2 tells through inotify on `memory.events`. Whoever sees the container exit asks `settle`
 * first, so that an out-of-memory kill is known before the exit it caused, however long the timer's turn.
 */
import { type FSWatcher, watch as watchFile } from "node:fs";
import { join } from "node:path";
import { createEpoll, EPOLLIN, type Epoll } from "../../native/epoll.js";
import { createEventFd, drainEventFd } from "../../native/eventfd.js";
import { closeFd, O_RDONLY, openFd } from "../../native/fds.js";
import { parseKeyValues, readCgroupFile, writeCgroupFile } from "./files.js";
import { type CgroupPaths, own } from "./locate.js";

export interface OomWatch {
  /** Reports now what was not reported yet; call it when the container exited, before telling anybody. */
  settle(): void;
  /** Stops watching. Idempotent. */
  close(): void;
}

export interface OomMonitor {
  /** Calls `onOom` for each out-of-memory event. Undefined when the container has no memory cgroup of its own. */
  watch(cgroups: CgroupPaths, onOom: () => void): OomWatch | undefined;
  /** Ends all watches. */
  close(): void;
}

export interface OomMonitorOptions {
  /** How often eventfds are asked, in ms: one system call each time, only while v1 containers are watched. Default 200. */
  readonly pollIntervalMs?: number;
}

/** How many processes of the container the kernel has killed for memory; undefined when it cannot be known. */
export function oomKillCount(cgroups: CgroupPaths): number | undefined {
  const directory = memoryDirectory(cgroups);
  const text = readCgroupFile(directory, cgroups.version === "v1" ? "memory.oom_control" : "memory.events");
  const count = parseKeyValues(text).get("oom_kill");
  return count === undefined ? undefined : Number(count);
}

const memoryDirectory = (cgroups: CgroupPaths): string | undefined =>
  own(cgroups, cgroups.version === "v1" ? cgroups.controllers.memory : cgroups.unified);

/** One per process. */
export function createOomMonitor({ pollIntervalMs = 200 }: OomMonitorOptions = {}): OomMonitor {
  const watches = new Map<number, Notifier>();
  let epoll: Epoll | undefined;
  let timer: NodeJS.Timeout | undefined;
  let lastId = 0;

  const ask = (): void => {
    epoll?.wait(0, (id) => watches.get(id)?.notified());
  };
  const watchEvents = (id: number, directory: string, counter: KillCounter): (() => void) => {
    epoll ??= createEpoll(256);
    const eventFd = subscribe(directory);
    epoll.add(eventFd, EPOLLIN, id);
    timer ??= setInterval(ask, pollIntervalMs).unref();
    watches.set(id, {
      notified() {
        drainEventFd(eventFd);
        // Removing a cgroup signals its eventfds too.
        if (readCgroupFile(directory, "memory.oom_control") !== undefined) counter.eventSeen();
      },
    });
    return () => {
      watches.delete(id);
      epoll?.remove(eventFd);
      closeFd(eventFd);
      if (watches.size > 0) return;
      clearInterval(timer);
      timer = undefined;
    };
  };

  const open = new Set<OomWatch>();
  return {
    watch(cgroups, onOom) {
      const directory = memoryDirectory(cgroups);
      if (directory === undefined || oomKillCount(cgroups) === undefined) return undefined;
      const counter = createKillCounter(cgroups, onOom);
      const stop =
        cgroups.version === "v1"
          ? watchEvents(++lastId, directory, counter)
          : watchModifications(join(directory, "memory.events"), counter);
      const entry: OomWatch = {
        settle() {
          // Events first: each accounts for the kill that the counter already shows.
          ask();
          counter.compare();
        },
        close() {
          if (open.delete(entry)) stop();
        },
      };
      open.add(entry);
      return entry;
    },
    close() {
      for (const entry of [...open]) entry.close();
      epoll?.close();
      epoll = undefined;
    },
  };
}

interface Notifier {
  notified(): void;
}

/** An eventfd that the kernel signals at each out-of-memory event of the v1 cgroup. */
function subscribe(directory: string): number {
  const control = openFd(join(directory, "memory.oom_control"), O_RDONLY);
  try {
    const eventFd = createEventFd();
    try {
      writeCgroupFile(directory, "cgroup.event_control", `${eventFd} ${control}`);
      return eventFd;
    } catch (error) {
      closeFd(eventFd);
      throw error;
    }
  } finally {
    // The kernel keeps its own hold on what was subscribed to.
    closeFd(control);
  }
}

function watchModifications(path: string, counter: KillCounter): () => void {
  const watcher: FSWatcher = watchFile(path, { persistent: false }, () => counter.compare());
  // The file goes away with the cgroup; `settle` has had its say by then.
  watcher.on("error", () => watcher.close());
  return () => watcher.close();
}

interface KillCounter {
  /** The kernel said that memory ran out. */
  eventSeen(): void;
  /** Reports kills that no event stood for. */
  compare(): void;
}

/**
 * Matches events and the kill counter, so that one kill is one report. A v1 event comes just before its kill is
 * counted: it is reported at once, and the count that follows is expected.
 */
function createKillCounter(cgroups: CgroupPaths, onOom: () => void): KillCounter {
  let accounted = oomKillCount(cgroups) ?? 0;
  const compare = (): void => {
    const count = oomKillCount(cgroups);
    if (count === undefined || count <= accounted) return;
    accounted = count;
    onOom();
  };
  return {
    eventSeen() {
      accounted = Math.max(oomKillCount(cgroups) ?? 0, accounted + 1);
      onOom();
    },
    compare,
  };
}
