/** Every operation in every state: allowed, or refused in containerd's words and class. */
import { afterEach, describe, expect, it } from "vitest";
import { DaemonError, notFound } from "../../../src/core/errors.js";
import { parseExecId } from "../../../src/core/ids.js";
import type { Task } from "../../../src/shim/task.js";
import { messageWithClass, statusCodes } from "../../../src/wire/status-code.js";
import { type FakeWorld, fakeWorld, gate, initPid, settle } from "./task-fakes.js";

const invalidSignal =
  "unknown error after kill: runc did not terminate successfully: exit status 1: unable to signal init: invalid argument\n";
const stdio = { stdin: "", stdout: "/o", stderr: "", terminal: false };
const e1 = parseExecId("e1");
const processJson = Buffer.from("{}");

let world: FakeWorld;
afterEach(() => world.cleanUp());

type Reach = (task: Task) => Promise<void>;
const reach: Record<string, Reach> = {
  created: async () => {},
  running: async (task) => void (await task.start("")),
  paused: async (task) => {
    await task.start("");
    await task.pause();
  },
  pausing: async (task) => {
    await task.start("");
    world.answers.set("pause", () => gate().promise);
    void task.pause();
    await settle();
  },
  stopped: async (task) => {
    await task.start("");
    world.reap(initPid, 3);
    await settle();
  },
};

/** What a client reads: `ok`, or the status code and the message as it is on the wire. */
async function answer(work: () => unknown): Promise<string> {
  try {
    await work();
    return "ok";
  } catch (error) {
    if (!(error instanceof DaemonError)) throw error;
    const text = error.kind === "unknown" ? error.message : messageWithClass(error);
    return `${statusCodes[error.kind]} ${text}`;
  }
}

const operations: Record<string, (task: Task) => unknown> = {
  start: (task) => task.start(""),
  delete: (task) => task.delete(""),
  pause: (task) => task.pause(),
  resume: (task) => task.resume(),
  update: (task) => task.update(processJson),
  checkpoint: (task) => task.checkpoint({ path: "/x", options: undefined }),
  exec: (task) => task.exec(e1, processJson, stdio),
  kill: (task) => task.kill("", 15, false),
  killAll: (task) => task.kill("", 15, true),
  killZero: (task) => task.kill("", 0, false),
  killInvalid: (task) => task.kill("", 77, false),
  resize: (task) => task.resize("", 80, 24),
  closeStdin: (task) => task.closeStdin(""),
  pids: (task) => task.pids(),
  stats: (task) => task.stats(),
  unknownExec: (task) => task.state("nope"),
};

const finished = "5 process already finished: not found";
const expected: Record<string, Record<string, string>> = {
  created: {
    pause: "2 cannot pause task in created state",
    resume: "2 cannot resume task in created state",
    checkpoint: "2 cannot checkpoint a task in created state",
    killInvalid: `2 ${invalidSignal}`,
  },
  running: {
    start: "2 cannot start a running process",
    delete: "2 cannot delete a running process",
    resume: "2 cannot resume a running process",
    killInvalid: `2 ${invalidSignal}`,
  },
  paused: {
    start: "2 cannot start a paused process",
    delete: "2 cannot delete a paused process",
    pause: "2 cannot pause a paused container",
    exec: "2 cannot exec in a paused state",
    killInvalid: `2 ${invalidSignal}`,
  },
  stopped: {
    start: "2 cannot start a stopped process",
    pause: "2 cannot pause a stopped container",
    resume: "2 cannot resume a stopped container",
    update: "2 cannot update a stopped container",
    checkpoint: "2 cannot checkpoint a stopped container",
    exec: "2 cannot exec in a stopped state",
    kill: finished,
    killZero: finished,
    killInvalid: finished,
  },
};

describe("init", () => {
  for (const [state, refusals] of Object.entries(expected)) {
    for (const [name, operate] of Object.entries(operations)) {
      const wanted =
        name === "unknownExec" ? "5 process does not exist nope: not found" : (refusals[name] ?? "ok");
      it(`${name} of a ${state} task answers ${wanted.trim()}`, async () => {
        world = fakeWorld();
        const task = await world.createTask();
        await reach[state]?.(task);
        expect(task.status).toBe(state);
        expect(await answer(() => operate(task))).toBe(wanted);
      });
    }
  }

  it("reports pausing only while the runtime pauses", async () => {
    world = fakeWorld();
    const task = await world.createTask();
    await reach.pausing?.(task);
    expect(task.status).toBe("pausing");
    expect(await answer(() => task.exec(e1, processJson, stdio))).toBe("2 cannot exec in a paused state");
  });

  it("lets a SIGKILL that comes while it freezes take effect", async () => {
    world = fakeWorld();
    const task = await world.createTask();
    await task.start("");
    const freezing = gate();
    world.answers.set("pause", () => freezing.promise);
    // In a freezer the signal alone ends nothing.
    world.context.runtime.signalInit = async () => true;
    const pausing = task.pause();
    await settle();
    await task.kill("", 9, false);
    expect(world.calls).not.toContain("resume");
    freezing.open();
    await pausing;
    expect(world.calls).toContain("resume");
  });

  it("reaches what outlived init in a shared pid namespace with a kill of all", async () => {
    world = fakeWorld({ sharesPidNamespace: true });
    const task = await world.createTask();
    await reach.stopped?.(task);
    const before = world.calls.filter((call) => call === "signalAll 15").length;
    world.answers.set("signalAll", () => Promise.reject(notFound("process already finished")));
    expect(await answer(() => task.kill("", 15, true))).toBe("ok");
    expect(world.calls.filter((call) => call === "signalAll 15").length).toBe(before + 1);
  });

  it("goes back to running when the runtime cannot pause it", async () => {
    world = fakeWorld();
    const task = await world.createTask();
    await task.start("");
    world.answers.set("pause", () => Promise.reject(new Error("no freezer")));
    expect(await answer(() => task.pause().catch(() => {}))).toBe("ok");
    expect(task.status).toBe("running");
    expect(world.events).not.toContain("paused");
  });

  it("stays created when its start fails, and may be started again", async () => {
    world = fakeWorld();
    const task = await world.createTask();
    world.answers.set("start", () => Promise.reject(new Error("hook failed")));
    await expect(task.start("")).rejects.toThrow("hook failed");
    expect(task.status).toBe("created");
    world.answers.delete("start");
    expect(await task.start("")).toBe(initPid);
  });

  it("thaws a paused container for SIGKILL, as runc does, and for no other signal", async () => {
    world = fakeWorld();
    const task = await world.createTask();
    await reach.paused?.(task);
    await task.kill("", 15, false);
    expect(world.calls).not.toContain("resume");
    await task.kill("", 9, false);
    expect(world.calls).toContain("resume");
    expect(world.events).not.toContain("resumed");
  });
});

const execReach: Record<string, Reach> = {
  created: async () => {},
  running: async (task) => void (await task.start("e1")),
  stopped: async (task) => {
    world.reap(await task.start("e1"), 4);
    await settle();
  },
};
const execOperations: Record<string, (task: Task) => unknown> = {
  start: (task) => task.start("e1"),
  delete: (task) => task.delete("e1"),
  kill: (task) => task.kill("e1", 15, false),
  killInvalid: (task) => task.kill("e1", 77, true),
  resize: (task) => task.resize("e1", 1, 1),
  closeStdin: (task) => task.closeStdin("e1"),
  register: (task) => task.exec(e1, processJson, stdio),
};
const notCreated = "9 process not created: failed precondition";
const execExpected: Record<string, Record<string, string>> = {
  created: { kill: notCreated, killInvalid: notCreated },
  running: {
    start: "2 cannot start a running process",
    delete: "2 cannot delete a running process",
    killInvalid: "2 exec kill error: unknown error after kill: invalid argument",
  },
  stopped: {
    start: "2 cannot start a stopped process",
    kill: finished,
    killInvalid: finished,
    resize: "2 cannot resize a stopped container",
  },
};

describe("exec", () => {
  for (const [state, refusals] of Object.entries(execExpected)) {
    for (const [name, operate] of Object.entries(execOperations)) {
      const wanted = name === "register" ? "6 id e1: already exists" : (refusals[name] ?? "ok");
      it(`${name} of a ${state} exec answers ${wanted}`, async () => {
        world = fakeWorld();
        const task = await world.createTask();
        await task.start("");
        task.exec(e1, processJson, stdio);
        await execReach[state]?.(task);
        expect(task.state("e1").status).toBe(state);
        expect(await answer(() => operate(task))).toBe(wanted);
      });
    }
  }

  it("reports paused while its container is", async () => {
    world = fakeWorld();
    const task = await world.createTask();
    await task.start("");
    task.exec(e1, processJson, stdio);
    await task.start("e1");
    await task.pause();
    expect(task.state("e1").status).toBe("paused");
  });

  it("refuses to start once init is gone", async () => {
    world = fakeWorld();
    const task = await world.createTask();
    await task.start("");
    task.exec(e1, processJson, stdio);
    world.reap(initPid);
    await settle();
    expect(await answer(() => task.start("e1"))).toBe(
      "9 container c1 init process is not running: failed precondition",
    );
    expect(task.state("e1")).toMatchObject({ status: "created", pid: 0 });
  });

  it("stays created with pid 0 when its start fails, answers waiters zeros, and can be deleted", async () => {
    world = fakeWorld();
    const task = await world.createTask();
    await task.start("");
    task.exec(e1, processJson, stdio);
    world.answers.set("exec", () => Promise.reject(new Error("OCI runtime exec failed: no")));
    const waiting = task.wait("e1", new AbortController().signal);
    await expect(task.start("e1")).rejects.toThrow("OCI runtime exec failed: no");
    expect(await waiting).toMatchObject({ exitStatus: 0, exitedAt: { seconds: -62135596800n } });
    expect(task.state("e1")).toMatchObject({ status: "created", pid: 0 });
    expect(world.streams.at(-1)?.closed).toBe(1);
    expect(await task.delete("e1")).toMatchObject({ pid: 0, exitStatus: 0 });
    expect(world.events.filter((event) => event.startsWith("exit"))).toEqual([]);
    task.exec(e1, processJson, stdio);
  });

  it("does not lose a CloseIO that overtakes its start", async () => {
    world = fakeWorld();
    const task = await world.createTask();
    await task.start("");
    task.exec(e1, processJson, stdio);
    task.closeStdin("e1");
    await task.start("e1");
    expect(world.streams.at(-1)?.stdinClosed).toBe(1);
  });

  it("kills the process whose client never met it, and tells of no exit", async () => {
    world = fakeWorld();
    const task = await world.createTask();
    await task.start("");
    task.exec(e1, processJson, stdio);
    const meeting = gate();
    const { open } = world.context.stdio;
    world.context.stdio.open = async (...request) => {
      const streams = await open(...request);
      streams.childReady = () => meeting.promise;
      return streams;
    };
    const starting = task.start("e1");
    await settle();
    meeting.fail(new Error("nobody opened the FIFO"));
    await expect(starting).rejects.toThrow("nobody opened the FIFO");
    expect(world.calls).toContain("signal 200 9");
    expect(world.alive.has(200)).toBe(false);
    expect(world.streams.at(-1)?.closed).toBe(1);
    expect(world.events.filter((event) => event.startsWith("exit"))).toEqual([]);
  });
});
