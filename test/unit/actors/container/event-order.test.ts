import { describe, expect, it } from "vitest";
import { EventOrder } from "../../../../src/actors/container/event-order.js";
import { zeroInstant } from "../../../../src/core/exit.js";
import type { TaskEvent } from "../../../../src/ports/event-codec-port.js";

const containerId = "c";
const exitOf = (pid: number) => ({ pid, exitStatus: 0, exitedAt: zeroInstant });
const created = (pid: number): TaskEvent => ({ topic: "/tasks/create", containerId, pid });
const started = (pid: number): TaskEvent => ({ topic: "/tasks/start", containerId, pid });
const exited = (pid: number): TaskEvent => ({
  topic: "/tasks/exit",
  containerId,
  processId: containerId,
  exit: exitOf(pid),
});
const deleted = (pid: number): TaskEvent => ({ topic: "/tasks/delete", containerId, exit: exitOf(pid) });
const paused: TaskEvent = { topic: "/tasks/paused", containerId };
const execAdded = (execId: string): TaskEvent => ({ topic: "/tasks/exec-added", containerId, execId });
const execStarted = (execId: string, pid: number): TaskEvent => ({
  topic: "/tasks/exec-started",
  containerId,
  execId,
  pid,
});
const execExited = (execId: string, pid: number): TaskEvent => ({
  topic: "/tasks/exit",
  containerId,
  processId: execId,
  exit: exitOf(pid),
});

const nameOf = (event: TaskEvent): string => {
  const what = "execId" in event ? event.execId : "processId" in event ? event.processId : "";
  const pid = "pid" in event ? event.pid : "exit" in event ? event.exit.pid : "";
  return [event.topic.slice("/tasks/".length), what === containerId ? "" : what, pid]
    .filter((part) => part !== "")
    .join(" ");
};

function createOrder() {
  const duplicates: string[] = [];
  const order = new EventOrder<string>((item) => duplicates.push(item));
  return {
    order,
    duplicates,
    /** What goes out when these come in, one after the other. */
    offer: (...events: TaskEvent[]): string[] => events.flatMap((event) => order.offer(event, nameOf(event))),
  };
}

/** A life of a task whose start the daemon asked for. */
function livingTask(pid: number) {
  const living = createOrder();
  living.order.born(pid);
  living.order.expectStart("");
  living.offer(created(pid));
  return living;
}

describe("the order of a container's events", () => {
  it("is kept when it is right", () => {
    const { order, offer, duplicates } = createOrder();
    order.born(1);
    const events = [created(1), started(1), execAdded("e"), execStarted("e", 2), execExited("e", 2)];
    expect(offer(...events, paused, exited(1), deleted(1))).toEqual([
      "create 1",
      "start 1",
      "exec-added e",
      "exec-started e 2",
      "exit e 2",
      "paused",
      "exit 1",
      "delete 1",
    ]);
    expect(order.unsettled(undefined)).toBe(false);
    expect(duplicates).toEqual([]);
  });

  it.each([
    ["an exit waits for the start that was asked for", [exited(1), started(1)], ["start 1", "exit 1"]],
    ["a delete waits for the exit", [started(1), deleted(1), exited(1)], ["start 1", "exit 1", "delete 1"]],
    [
      "an exec's start waits for the exec",
      [started(1), execStarted("e", 2), execAdded("e")],
      ["start 1", "exec-added e", "exec-started e 2"],
    ],
    [
      "an exec's exit waits for the exec",
      [started(1), execExited("e", 2), execAdded("e")],
      ["start 1", "exec-added e", "exit e 2"],
    ],
    [
      "init's exit waits for those of running execs",
      [started(1), execAdded("e"), execStarted("e", 2), exited(1), execExited("e", 2)],
      ["start 1", "exec-added e", "exec-started e 2", "exit e 2", "exit 1"],
    ],
  ] as const)("is mended: %s", (_title, arriving, leaving) => {
    expect(livingTask(1).offer(...arriving)).toEqual(leaving);
  });

  it("holds everything until the create has come", () => {
    const { order, offer } = createOrder();
    order.born(1);
    expect(offer(started(1), exited(1), deleted(1))).toEqual([]);
    expect(order.holding).toBe(true);
    expect(offer(created(1))).toEqual(["create 1", "start 1", "exit 1", "delete 1"]);
  });

  it("does not let an exit wait for a start that failed", () => {
    const { order, offer } = livingTask(1);
    expect(offer(exited(1))).toEqual([]);
    expect(order.startFailed("")).toEqual(["exit 1"]);
  });

  it("lets an exec's exit wait for its start only when that was asked for", () => {
    const { order, offer } = livingTask(1);
    offer(started(1), execAdded("e"), execAdded("f"));
    order.expectStart("e");
    expect(offer(execExited("e", 2), execExited("f", 3))).toEqual(["exit f 3"]);
    expect(offer(execStarted("e", 2))).toEqual(["exec-started e 2", "exit e 2"]);
  });

  it("keeps lives apart: nothing of the next comes before the last of this one", () => {
    const { order, offer } = livingTask(1);
    offer(started(1));
    order.born(2);
    expect(order.owes).toBe(true);
    expect(offer(created(2), started(2))).toEqual([]);
    expect(offer(exited(1))).toEqual(["exit 1"]);
    expect(offer(deleted(1))).toEqual(["delete 1", "create 2", "start 2"]);
    expect(order.unsettled(2)).toBe(false);
  });

  it("lets nothing go twice that has a name of its own", () => {
    const { offer, duplicates } = livingTask(1);
    expect(offer(created(1), started(1), started(1), execAdded("e"), execStarted("e", 2))).toHaveLength(3);
    expect(offer(execExited("e", 2), execExited("e", 2), exited(1), exited(1))).toEqual([
      "exit e 2",
      "exit 1",
    ]);
    expect(offer(deleted(1), deleted(1), exited(1), created(1))).toEqual(["delete 1"]);
    expect(duplicates).toEqual([
      "create 1",
      "start 1",
      "exit e 2",
      "exit 1",
      "delete 1",
      "exit 1",
      "create 1",
    ]);
  });

  it("takes an exec with a used id for a new one", () => {
    const { offer } = livingTask(1);
    offer(started(1), execAdded("e"), execStarted("e", 2), execExited("e", 2));
    expect(offer(execAdded("e"), execStarted("e", 3), execExited("e", 3))).toHaveLength(3);
  });

  it("lets held events go, best order first, when their forerunner seems lost", () => {
    const { order, offer } = livingTask(1);
    offer(deleted(1), execExited("e", 2), exited(1));
    expect(order.releaseHeld()).toEqual(["exit e 2", "exit 1", "delete 1"]);
    expect(order.holding).toBe(false);
    expect(order.unsettled(undefined)).toBe(false);
  });

  it("lets what comes of a life that was given up straight through", () => {
    const { order, offer } = livingTask(1);
    expect(order.unsettled(undefined)).toBe(true);
    order.giveUp(1);
    expect(order.unsettled(undefined)).toBe(false);
    expect(offer(created(2), exited(1), deleted(1))).toEqual(["create 2", "exit 1", "delete 1"]);
  });

  it("begins the next life when the daemon itself has told the end of this one", () => {
    const { order, offer, duplicates } = livingTask(1);
    order.born(2);
    offer(created(2));
    expect(order.closed(1)).toEqual(["create 2"]);
    expect(order.deleted(1)).toBe(true);
    expect(offer(exited(1))).toEqual([]);
    expect(duplicates).toEqual(["exit 1"]);
  });

  it("joins a task in its middle without waiting for what must have been", () => {
    const { order, offer } = createOrder();
    order.join({ pid: 1, started: true, exited: false, runningExecs: [{ execId: "e", pid: 2 }] });
    expect(offer(exited(1))).toEqual([]);
    expect([...order.runningExecs(1)]).toEqual([["e", 2]]);
    expect(offer(execExited("e", 2))).toEqual(["exit e 2", "exit 1"]);
    expect(offer(deleted(1))).toEqual(["delete 1"]);
  });

  it("still takes what an earlier daemon never heard of a task that it joins", () => {
    const { order, offer } = createOrder();
    order.join({ pid: 1, started: true, exited: true, runningExecs: [] });
    expect(offer(created(1), started(1), exited(1), deleted(1))).toEqual([
      "create 1",
      "start 1",
      "exit 1",
      "delete 1",
    ]);
  });

  it("remembers what went out when it joins a task that it knows", () => {
    const { order, offer, duplicates } = livingTask(1);
    offer(started(1), exited(1));
    order.join({ pid: 1, started: true, exited: true, runningExecs: [] });
    expect(order.exited(1)).toBe(true);
    expect(offer(exited(1), deleted(1))).toEqual(["delete 1"]);
    expect(duplicates).toEqual(["exit 1"]);
  });

  it("never holds more than a bounded number", () => {
    const { order, offer } = createOrder();
    order.born(1);
    const out = Array.from({ length: 5000 }, (_, n) => offer(execStarted(`e${n}`, n))).flat();
    expect(out.length).toBeGreaterThan(3900);
    expect(order.abandon().length).toBeLessThan(1100);
    expect(order.holding).toBe(false);
  });
});
