/** The order in which a task's life is told, and what is undone when a step of it fails. */
import { existsSync } from "node:fs";
import { afterEach, expect, it } from "vitest";
import { parseExecId } from "../../../src/core/ids.js";
import { exitRecordPath, readExitRecord } from "../../../src/shim/exit-record.js";
import { type FakeWorld, fakeWorld, gate, initPid, settle } from "./task-fakes.js";

const stdio = { stdin: "", stdout: "/o", stderr: "", terminal: false };
const processJson = Buffer.from("{}");
const e1 = parseExecId("e1");
const never = new AbortController().signal;

let world: FakeWorld;
afterEach(() => world.cleanUp());

it("tells create, start, exit and delete in this order and answers waiters and Delete alike", async () => {
  world = fakeWorld();
  const task = await world.createTask();
  const waiting = task.wait("", never);
  await task.start("");
  world.reap(initPid, 7);
  expect(await waiting).toMatchObject({ exitStatus: 7, exitedAt: { seconds: 1n, nanos: initPid } });
  expect(await task.delete("")).toEqual({
    pid: initPid,
    exitStatus: 7,
    exitedAt: { seconds: 1n, nanos: initPid },
  });
  expect(world.events).toEqual(["create", "start 100", "exit init 100 7", "delete 100 7"]);
  expect(world.calls).toEqual([
    "mount",
    "open",
    "create",
    "start",
    "checkOom",
    "closeOom",
    "delete false",
    "unmount",
  ]);
  expect(world.streams.map((streams) => streams.closed)).toEqual([1]);
});

it("tells the start before an exit that beats the start's outcome", async () => {
  world = fakeWorld();
  const task = await world.createTask();
  const starting = gate();
  world.answers.set("start", () => starting.promise);
  const started = task.start("");
  await settle();
  world.reap(initPid, 0);
  await settle();
  expect(world.events).toEqual(["create"]);
  expect(task.status).toBe("created");
  starting.open();
  expect(await started).toBe(initPid);
  await settle();
  expect(world.events).toEqual(["create", "start 100", "exit init 100 0"]);
});

it("tells the exit alone when init dies and its start fails", async () => {
  world = fakeWorld();
  const task = await world.createTask();
  const starting = gate();
  world.answers.set("start", () => starting.promise);
  const started = task.start("");
  await settle();
  world.reap(initPid, 1);
  starting.fail(new Error("container process is already dead"));
  await expect(started).rejects.toThrow("already dead");
  await settle();
  expect(world.events).toEqual(["create", "exit init 100 1"]);
  await expect(task.start("")).rejects.toThrow("cannot start a stopped process");
});

it("takes an exit that was reaped before the runtime had said the pid", async () => {
  world = fakeWorld();
  const create = world.context.runtime.create;
  world.context.runtime.create = async (streams) => {
    const pid = await create(streams);
    world.reap(pid, 2);
    return pid;
  };
  const task = await world.createTask();
  await settle();
  expect(task.status).toBe("stopped");
  expect(world.events).toEqual(["create", "exit init 100 2"]);
});

it("holds init's exit until every running exec's exit is told", async () => {
  world = fakeWorld();
  const task = await world.createTask();
  await task.start("");
  task.exec(e1, processJson, stdio);
  const execPid = await task.start("e1");
  world.reap(initPid, 137);
  await settle();
  expect(task.status).toBe("running");
  await expect(task.kill("", 15, false)).rejects.toThrow("process already finished");
  world.reap(execPid, 137);
  await settle();
  expect(world.events.slice(-2)).toEqual(["exit e1 200 137", "exit init 100 137"]);
});

it("holds init's exit for an exec whose start is under way, and not for ever", async () => {
  world = fakeWorld();
  const task = await world.createTask();
  await task.start("");
  task.exec(e1, processJson, stdio);
  const execing = gate();
  world.answers.set("exec", () => execing.promise);
  const starting = task.start("e1");
  await settle();
  world.reap(initPid, 0);
  await settle();
  expect(task.status).toBe("running");
  world.clock.advance(world.context.limits.exitHoldMs);
  await settle();
  expect(task.status).toBe("stopped");
  execing.fail(new Error("container is gone"));
  await expect(starting).rejects.toThrow("container is gone");
  expect(world.clock.timers).toBe(0);
});

it("kills what init leaves behind when the pid namespace is shared", async () => {
  world = fakeWorld({ sharesPidNamespace: true });
  const task = await world.createTask();
  await task.start("");
  task.exec(e1, processJson, stdio);
  await task.start("e1");
  world.reap(initPid, 0);
  await settle();
  expect(world.calls).toContain("signalAll 9");
  expect(world.events.slice(-2)).toEqual(["exit e1 200 137", "exit init 100 0"]);
});

it("tells an exit only when its output has drained", async () => {
  world = fakeWorld();
  const task = await world.createTask();
  await task.start("");
  const draining = gate();
  const [streams] = world.streams;
  if (streams === undefined) throw new Error("no streams");
  streams.drained = draining.promise;
  world.reap(initPid, 0);
  await settle();
  expect(world.events).not.toContain("exit init 100 0");
  const deleting = task.delete("");
  draining.open();
  await deleting;
  expect(world.events.slice(-2)).toEqual(["exit init 100 0", "delete 100 0"]);
});

it("kills a created task on Delete, tells its exit, and answers zeros as containerd does", async () => {
  world = fakeWorld();
  const task = await world.createTask();
  expect(await task.delete("")).toMatchObject({
    pid: initPid,
    exitStatus: 0,
    exitedAt: { seconds: -62135596800n },
  });
  expect(world.events).toEqual(["create", "exit init 100 137", "delete 100 0"]);
});

it("leaves the true exit on disk before it is told, and takes an exec's away with the exec", async () => {
  world = fakeWorld();
  const task = await world.createTask();
  await task.start("");
  task.exec(e1, processJson, stdio);
  world.reap(await task.start("e1"), 5);
  expect(readExitRecord(world.bundle, "e1")).toEqual({
    pid: 200,
    exitStatus: 5,
    exitedAt: { seconds: 1n, nanos: 200 },
  });
  await settle();
  await task.delete("e1");
  expect(existsSync(exitRecordPath(world.bundle, "e1"))).toBe(false);
  world.reap(initPid, 9);
  expect(readExitRecord(world.bundle, "")).toMatchObject({ pid: initPid, exitStatus: 9 });
});

it("thaws what was paused when init dies", async () => {
  world = fakeWorld();
  const task = await world.createTask();
  await task.start("");
  await task.pause();
  world.reap(initPid, 137);
  await settle();
  expect(world.calls).toContain("resume");
  expect(world.events.slice(-2)).toEqual(["paused", "exit init 100 137"]);
});

it("starts execs side by side and lets signals through meanwhile", async () => {
  world = fakeWorld();
  const task = await world.createTask();
  await task.start("");
  const ids = ["a", "b", "c"].map((id) => parseExecId(id));
  for (const id of ids) task.exec(id, processJson, stdio);
  const execing = gate();
  world.answers.set("exec", () => execing.promise);
  const starting = ids.map((id) => task.start(id));
  await settle();
  expect(world.calls.filter((call) => call.startsWith("exec"))).toEqual(["exec a", "exec b", "exec c"]);
  await task.kill("", 15, false);
  expect(world.calls).toContain("signal 100 15");
  execing.open();
  expect((await Promise.all(starting)).sort()).toEqual([200, 201, 202]);
});

it("restores at Start a task that was created from a checkpoint", async () => {
  world = fakeWorld({ checkpoint: "/images" });
  const task = await world.createTask();
  expect(task.pid).toBe(0);
  expect(task.status).toBe("created");
  expect(() => task.exec(e1, processJson, stdio)).toThrow("cannot exec in a created state");
  expect(await task.start("")).toBe(initPid);
  world.reap(initPid, 0);
  await settle();
  expect(world.events).toEqual(["create", "start 100", "exit init 100 0"]);
});

it("forgets a waiter whose call has ended", async () => {
  world = fakeWorld();
  const task = await world.createTask();
  const call = new AbortController();
  const waiting = task.wait("", call.signal);
  call.abort();
  await expect(waiting).rejects.toMatchObject({ kind: "cancelled" });
});

for (const step of ["mount", "open", "create"]) {
  it(`undoes everything when ${step} fails, and returns that error unchanged`, async () => {
    world = fakeWorld();
    const cause = new Error(`${step} failed`);
    world.answers.set(step, () => Promise.reject(cause));
    await expect(world.createTask()).rejects.toBe(cause);
    const undone = world.calls.slice(world.calls.indexOf(step) + 1);
    expect(undone).toEqual(step === "create" ? ["delete true", "unmount"] : ["unmount"]);
    expect(world.streams.every((streams) => streams.closed === 1)).toBe(true);
    expect(world.events).toEqual([]);
  });
}

it("kills and deletes the container whose client never opened its streams", async () => {
  world = fakeWorld();
  const { open } = world.context.stdio;
  world.context.stdio.open = async (...request) => {
    const streams = await open(...request);
    streams.childReady = () => Promise.reject(new Error("nobody there"));
    return streams;
  };
  await expect(world.createTask()).rejects.toThrow("nobody there");
  expect(world.calls.slice(-3)).toEqual(["signal 100 9", "delete true", "unmount"]);
  expect(world.alive.size).toBe(0);
  expect(world.events).toEqual([]);
});

it("keeps the task when the runtime cannot delete it, so that Delete can be tried again", async () => {
  world = fakeWorld();
  const task = await world.createTask();
  await task.start("");
  world.reap(initPid, 0);
  await settle();
  world.answers.set("delete", () => Promise.reject(new Error("failed to delete task: busy")));
  await expect(task.delete("")).rejects.toThrow("busy");
  expect(task.status).toBe("stopped");
  world.answers.delete("delete");
  expect(await task.delete("")).toMatchObject({ pid: initPid });
});
