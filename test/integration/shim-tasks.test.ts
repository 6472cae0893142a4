/** Tasks of the built shim with real runc: lives, exit codes, execs, signals, freezing, memory. */
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ProcessDetails } from "../../src/wire/gen/containerd/runc/v1/runc.js";
import { Status } from "../../src/wire/gen/containerd/v1/types/types.js";
import { Metrics } from "../../src/wire/gen/io/containerd/cgroups/v1/cgroups.js";
import { Metrics as MetricsV2 } from "../../src/wire/gen/io/containerd/cgroups/v2/cgroups.js";
import { taskMethods } from "../../src/wire/task-methods.js";
import { cgroupDirectories } from "../support/cgroups.js";
import { makeFifo, readFifo, writeFifo } from "../support/fifo.js";
import { isAlive, mountsUnder } from "../support/proc.js";
import { processAny } from "../support/spec.js";
import { concurrently, until } from "../support/until.js";
import {
  type BuiltShim,
  buildShim,
  fdsOf,
  type ShimUnderTest,
  startShim,
  statsOf,
  unavailable,
} from "./shim-harness.js";

describe.skipIf(unavailable !== "")("a task of the built shim", () => {
  let built: BuiltShim;
  let shim: ShimUnderTest;
  let counter = 0;
  const newId = (): string => `c${++counter}`;

  beforeAll(async () => {
    built = await buildShim();
    shim = await startShim(built);
  }, 60_000);
  afterAll(async () => {
    await shim?.dispose();
    built?.remove();
  }, 60_000);

  const exec = (id: string, execId: string, args: readonly string[], stdout = "") =>
    shim.call(taskMethods.exec, {
      id,
      execId,
      terminal: false,
      stdin: "",
      stdout,
      stderr: "",
      spec: processAny({ args }),
    });
  const state = (id: string, execId = "") => shim.call(taskMethods.state, { id, execId });
  const sleeper = async (): Promise<string> => {
    const id = newId();
    await shim.create({ id, args: ["sleep", "1000"] });
    await shim.start(id);
    return id;
  };
  const end = async (id: string): Promise<void> => {
    await shim.kill(id, 9);
    await shim.wait(id);
    await shim.delete(id);
  };
  /** Runs a shell script to its end; what it printed and its exit status. */
  const run = async (script: string): Promise<{ output: string; status: number }> => {
    const id = newId();
    const fifos = join(shim.workspace.directory, "f");
    mkdirSync(fifos, { recursive: true });
    const stdout = makeFifo(join(fifos, id));
    const reader = readFifo(stdout);
    await shim.create({ id, args: ["sh", "-c", script], stdout, stderr: stdout });
    const waiting = shim.wait(id);
    await shim.start(id);
    const status = await waiting;
    const output = (await reader.end()).toString();
    await shim.delete(id);
    return { output, status };
  };

  it("is created, started, waited for and deleted, and tells so in order", async () => {
    const id = newId();
    const pid = await shim.create({ id, args: ["sh", "-c", "exit 3"] });
    expect(await state(id)).toMatchObject({ id, pid, status: Status.CREATED, exitStatus: 0 });
    expect((await state(id)).exitedAt?.seconds).toBe(-62135596800n);
    const waiting = shim.wait(id);
    expect(await shim.start(id)).toBe(pid);
    expect(await waiting).toBe(3);
    const { exitedAt, ...stopped } = await state(id);
    expect(stopped).toMatchObject({ pid, status: Status.STOPPED, exitStatus: 3 });
    expect(Math.abs(Number(exitedAt?.seconds) - Date.now() / 1000)).toBeLessThan(5);
    expect(await shim.delete(id)).toMatchObject({ pid, exitStatus: 3, exitedAt });
    await shim.daemon.saw(`delete ${id} 3`);
    expect(shim.daemon.of(id)).toEqual([
      `create ${id}`,
      `start ${id}`,
      `exit ${id} init 3`,
      `delete ${id} 3`,
    ]);
    await expect(state(id)).rejects.toMatchObject({ kind: "not-found", message: "container not created" });
  });

  it("gives its output to the client's FIFO to the last byte, then the end of file", async () => {
    const { output, status } = await run("echo out; echo err >&2; seq 1 20000 | tail -1");
    expect(output).toBe("out\nerr\n20000\n");
    expect(status).toBe(0);
  });

  it("reports every exit code from 0 to 255 as it is", async () => {
    const id = await sleeper();
    const codes = Array.from({ length: 256 }, (_, code) => code);
    const seen = await concurrently(4, codes, async (code) => {
      const execId = `e${code}`;
      await exec(id, execId, ["sh", "-c", `exit ${code}`]);
      await shim.start(id, execId);
      const status = await shim.wait(id, execId);
      await shim.delete(id, execId);
      return status;
    });
    expect(seen).toEqual(codes);
    await end(id);
  }, 120_000);

  it("reports 128 + N for a process that signal N ends", async () => {
    for (const signal of [1, 2, 6, 9, 15]) {
      const id = newId();
      // Init of a pid namespace ignores what it has no handler for, so an exec is signalled.
      await shim.create({ id, args: ["sleep", "1000"] });
      await shim.start(id);
      await exec(id, "e", ["sleep", "1000"]);
      await shim.start(id, "e");
      await shim.kill(id, signal, { execId: "e" });
      expect(await shim.wait(id, "e")).toBe(128 + signal);
      await end(id);
    }
  });

  it("runs execs beside init, names them in Pids, and deletes them without an event", async () => {
    const id = await sleeper();
    await exec(id, "e1", ["sleep", "1000"]);
    expect(await state(id, "e1")).toMatchObject({ id: "e1", status: Status.CREATED, pid: 0 });
    const execPid = await shim.start(id, "e1");
    expect(await state(id, "e1")).toMatchObject({ status: Status.RUNNING, pid: execPid });
    const { processes } = await shim.call(taskMethods.pids, { id });
    const infos = processes.map(({ pid, info }) => [pid, info && ProcessDetails.decode(info.value).execId]);
    expect(new Map(infos as [number, string][])).toEqual(
      new Map<number, string | undefined>([
        [(await state(id)).pid, undefined],
        [execPid, "e1"],
      ]),
    );
    await shim.kill(id, 9, { execId: "e1" });
    expect(await shim.wait(id, "e1")).toBe(137);
    expect(await shim.delete(id, "e1")).toMatchObject({ pid: execPid, exitStatus: 137 });
    await end(id);
    await shim.daemon.saw(`delete ${id} 137`);
    expect(shim.daemon.of(id)).toEqual([
      `create ${id}`,
      `start ${id}`,
      `exec-added ${id} e1`,
      `exec-started ${id} e1`,
      `exit ${id} e1 137`,
      `exit ${id} init 137`,
      `delete ${id} 137`,
    ]);
  });

  it("tells the exits of its execs before init's", async () => {
    const id = await sleeper();
    for (const execId of ["a", "b", "c"]) {
      await exec(id, execId, ["sleep", "1000"]);
      await shim.start(id, execId);
    }
    await shim.kill(id, 9);
    expect(await shim.wait(id)).toBe(137);
    await shim.delete(id);
    await shim.daemon.saw(`delete ${id} 137`);
    const told = shim.daemon.of(id).slice(-5);
    expect(told.slice(0, 3).sort()).toEqual(["a", "b", "c"].map((execId) => `exit ${id} ${execId} 137`));
    expect(told.slice(3)).toEqual([`exit ${id} init 137`, `delete ${id} 137`]);
  });

  it("ends the other processes with init when they share the host's pid namespace", async () => {
    const id = newId();
    await shim.create({ id, args: ["sleep", "1000"], spec: { linuxNamespaces: ["mount", "ipc", "uts"] } });
    await shim.start(id);
    await exec(id, "e", ["sleep", "1000"]);
    const execPid = await shim.start(id, "e");
    await shim.kill(id, 15);
    expect(await shim.wait(id)).toBe(143);
    expect(isAlive(execPid)).toBe(false);
    await shim.delete(id);
    await shim.daemon.saw(`delete ${id} 143`);
    expect(shim.daemon.of(id).slice(-3)).toEqual([
      `exit ${id} e 137`,
      `exit ${id} init 143`,
      `delete ${id} 143`,
    ]);
  });

  it("reads its client's input until the client closes it", async () => {
    const id = newId();
    const directory = shim.workspace.newDirectory("io");
    const [stdin, stdout] = [makeFifo(join(directory, "in")), makeFifo(join(directory, "out"))];
    const reader = readFifo(stdout);
    const writer = writeFifo(stdin);
    await shim.create({ id, args: ["cat"], stdin, stdout });
    await shim.start(id);
    writer.write("hello\n");
    await reader.match(/hello/);
    writer.close();
    await shim.call(taskMethods.closeIo, { id, execId: "", stdin: true });
    expect(await shim.wait(id)).toBe(0);
    expect((await reader.end()).toString()).toBe("hello\n");
    await shim.delete(id);
  });

  it("has a terminal of the size that its client asks for", async () => {
    const id = newId();
    const directory = shim.workspace.newDirectory("tty");
    const [stdin, stdout] = [makeFifo(join(directory, "in")), makeFifo(join(directory, "out"))];
    const reader = readFifo(stdout);
    const writer = writeFifo(stdin);
    await shim.create({ id, args: ["sh"], stdin, stdout, terminal: true });
    await shim.start(id);
    await shim.call(taskMethods.resizePty, { id, execId: "", width: 91, height: 33 });
    writer.write("stty size; tty; exit 5\n");
    await reader.match(/33 91/);
    expect(await shim.wait(id)).toBe(5);
    expect((await reader.end()).toString()).toContain("/dev/pts/");
    writer.close();
    await shim.delete(id);
  });

  it("gives an exec a terminal of its own", async () => {
    const id = await sleeper();
    const directory = shim.workspace.newDirectory("tty");
    const [stdin, stdout] = [makeFifo(join(directory, "in")), makeFifo(join(directory, "out"))];
    const reader = readFifo(stdout);
    const writer = writeFifo(stdin);
    // The request decides, whatever the process document says.
    const spec = processAny({ args: ["sh"], terminal: false });
    await shim.call(taskMethods.exec, { id, execId: "t", terminal: true, stdin, stdout, stderr: "", spec });
    await shim.start(id, "t");
    await shim.call(taskMethods.resizePty, { id, execId: "t", width: 77, height: 22 });
    writer.write("stty size; exit 4\n");
    await reader.match(/22 77/);
    expect(await shim.wait(id, "t")).toBe(4);
    await reader.end();
    writer.close();
    expect(await shim.delete(id, "t")).toMatchObject({ exitStatus: 4 });
    await end(id);
  });

  it("stands still while it is paused", async () => {
    const id = newId();
    const directory = shim.workspace.newDirectory("pause");
    const stdout = makeFifo(join(directory, "out"));
    const reader = readFifo(stdout);
    await shim.create({ id, args: ["sh", "-c", "while :; do echo tick; usleep 5000; done"], stdout });
    await shim.start(id);
    await reader.match(/tick/);
    await shim.call(taskMethods.pause, { id });
    expect((await state(id)).status).toBe(Status.PAUSED);
    await expect(shim.call(taskMethods.pause, { id })).rejects.toThrow("cannot pause a paused container");
    const silent = reader.bytes().length;
    // Nothing announces silence: two looks, some twenty ticks apart.
    await new Promise((resolve) => setTimeout(resolve, 100));
    const drift = reader.bytes().length - silent;
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(reader.bytes().length).toBe(silent + drift);
    await shim.call(taskMethods.resume, { id });
    await until("ticks to go on", () => reader.bytes().length > silent + drift);
    expect((await state(id)).status).toBe(Status.RUNNING);
    await shim.call(taskMethods.pause, { id });
    await shim.kill(id, 9);
    expect(await shim.wait(id)).toBe(137);
    await shim.delete(id);
    await shim.daemon.saw(`delete ${id} 137`);
    expect(shim.daemon.of(id)).toEqual([
      `create ${id}`,
      `start ${id}`,
      `paused ${id}`,
      `resumed ${id}`,
      `paused ${id}`,
      `exit ${id} init 137`,
      `delete ${id} 137`,
    ]);
  });

  it("reaches every process with a kill of all", async () => {
    const id = newId();
    const directory = shim.workspace.newDirectory("all");
    const stdout = makeFifo(join(directory, "out"));
    const reader = readFifo(stdout);
    const script =
      'trap "echo init" USR1; (trap "echo child" USR1; echo go; while :; do sleep 1; done) & while :; do sleep 1; done';
    await shim.create({ id, args: ["sh", "-c", script], stdout });
    await shim.start(id);
    await reader.match(/go/);
    await shim.kill(id, 10, { all: true });
    await reader.match(/init/);
    await reader.match(/child/);
    await shim.kill(id, 9, { all: true });
    expect(await shim.wait(id)).toBe(137);
    // As containerd: succeeds although nothing is left.
    await shim.kill(id, 9, { all: true });
    await expect(shim.kill(id, 9)).rejects.toMatchObject({
      kind: "not-found",
      message: "process already finished",
    });
    await shim.delete(id);
  });

  it("is refused a signal that does not exist, in runc's words", async () => {
    const id = await sleeper();
    await expect(shim.kill(id, 77)).rejects.toMatchObject({
      kind: "unknown",
      message:
        "unknown error after kill: runc did not terminate successfully: exit status 1: unable to signal init: invalid argument\n",
    });
    await shim.kill(id, 0);
    await end(id);
  });

  it("answers its cgroup's counters, and takes new limits", async () => {
    const id = await sleeper();
    const { stats } = await shim.call(taskMethods.stats, { id });
    if (stats === undefined) throw new Error("no stats");
    const pids =
      stats.typeUrl === "io.containerd.cgroups.v1.Metrics"
        ? Metrics.decode(stats.value).pids?.current
        : MetricsV2.decode(stats.value).pids?.current;
    expect(Number(pids)).toBe(1);
    const value = Buffer.from(JSON.stringify({ pids: { limit: 17 } }));
    const typeUrl = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
    await shim.call(taskMethods.update, { id, resources: { typeUrl, value }, annotations: {} });
    const files = cgroupDirectories(shim.namespace)
      .map((path) => join(path, "pids.max"))
      .filter(existsSync);
    expect(files.map((path) => readFileSync(path, "utf8").trim())).toContain("17");
    await end(id);
  });

  it("tells that memory ran out before it tells the exit", async () => {
    const id = newId();
    await shim.create({
      id,
      args: ["sh", "-c", "head -c 200m /dev/zero | tail -c 200m >/dev/null; exec tail -c 200m /dev/zero"],
      spec: { memoryLimitBytes: 16 * 1024 * 1024 },
    });
    await shim.start(id);
    await shim.wait(id);
    await shim.delete(id);
    await until("its deletion", () => shim.daemon.of(id).some((event) => event.startsWith("delete")));
    const told = shim.daemon.of(id);
    const oom = told.indexOf(`oom ${id}`);
    expect(oom, told.join(", ")).toBeGreaterThan(0);
    expect(oom).toBeLessThan(told.findIndex((event) => event.startsWith("exit")));
  }, 60_000);

  it("is deleted before it was started, with zeros as containerd answers them", async () => {
    const id = newId();
    const pid = await shim.create({ id, args: ["true"] });
    const deleted = await shim.delete(id);
    expect(deleted).toMatchObject({ pid, exitStatus: 0, exitedAt: { seconds: -62135596800n } });
    expect(isAlive(pid)).toBe(false);
    await shim.daemon.saw(`delete ${id} 0`);
    expect(shim.daemon.of(id)).toEqual([`create ${id}`, `exit ${id} init 137`, `delete ${id} 0`]);
  });

  it("lets its mounts be made and takes them off again", async () => {
    const id = newId();
    const rootfs = [{ type: "bind", source: shim.workspace.rootfs, target: "", options: ["rbind", "ro"] }];
    const path = join(shim.workspace.directory, "b", id);
    await shim.create({ id, args: ["true"], spec: { rootfs: "rootfs" }, rootfs });
    expect(mountsUnder(join(path, "rootfs"))).not.toEqual([]);
    await shim.start(id);
    expect(await shim.wait(id)).toBe(0);
    await shim.delete(id);
    expect(mountsUnder(path)).toEqual([]);
  });

  it("leaves nothing of fifty that ran at once: no process, descriptor, mount, cgroup or runtime state", async () => {
    const before = await statsOf(shim);
    const fdsBefore = fdsOf(shim);
    const ids = Array.from({ length: 50 }, newId);
    await concurrently(4, ids, async (id) => {
      await shim.create({ id, args: ["sh", "-c", "exit 7"] });
    });
    expect((await statsOf(shim)).tasks).toBe(before.tasks + 50);
    const codes = await Promise.all(
      ids.map(async (id) => {
        const waiting = shim.wait(id);
        await shim.start(id);
        return waiting;
      }),
    );
    expect(new Set(codes)).toEqual(new Set([7]));
    await concurrently(8, ids, (id) => shim.delete(id));
    for (const id of ids) await shim.daemon.saw(`delete ${id} 7`);
    for (const id of ids) {
      expect(shim.daemon.of(id)).toEqual([
        `create ${id}`,
        `start ${id}`,
        `exit ${id} init 7`,
        `delete ${id} 7`,
      ]);
    }
    await until("every event to be acknowledged", async () => (await statsOf(shim)).spoolDepth === 0);
    const after = await statsOf(shim);
    expect(after).toMatchObject({
      tasks: before.tasks,
      stdioProcesses: before.stdioProcesses,
    });
    expect(fdsOf(shim)).toEqual(fdsBefore);
    expect(cgroupDirectories(shim.namespace)).toEqual([]);
    expect(mountsUnder(shim.workspace.directory)).toEqual([]);
    const left = shim.workspace.processes().filter((pid) => pid !== shim.pid);
    expect(left).toEqual([]);
  }, 120_000);

  it("keeps quiet on standard output, and its log holds no errors", () => {
    expect(shim.log()).not.toContain("STDOUT");
    expect(
      shim
        .log()
        .split("\n")
        .filter((line) => line.includes('"level":"error"')),
    ).toEqual([]);
  });
});
