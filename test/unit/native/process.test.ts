import { mkdtempSync, readdirSync, readFileSync, readlinkSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { instantToMs } from "../../../src/core/exit.js";
import {
  closeFd,
  makePipe,
  POLLIN,
  pollFd,
  readFd,
  setCloseOnExec,
  writeFd,
} from "../../../src/native/fds.js";
import * as processes from "../../../src/native/process.js";
import { createReaper, type Reaper, type WaitStatus } from "../../../src/native/reaper.js";

const nullStdio = ["null", "null", "null"] as const;
const SIGKILL = 9;
let reaper: Reaper;
let before: number;
const openFds = (): number => readdirSync("/proc/self/fd").length;

beforeEach(() => {
  before = openFds();
  reaper = createReaper({ safetyIntervalMs: 100 });
});

afterEach(() => {
  reaper.close();
  expect(openFds()).toBe(before);
});

/** Runs a shell line with its output in a pipe; answers the output and the exit. */
async function shell(line: string, options: { cwd?: string; env?: Record<string, string> } = {}) {
  const [read, write] = makePipe();
  const child = reaper.spawn(["/bin/sh", "-c", line], { stdio: ["null", write, write], ...options });
  closeFd(write);
  const status = await child.exited;
  const buffer = Buffer.alloc(65536);
  const output = buffer.toString("utf8", 0, readFd(read, buffer));
  closeFd(read);
  return { child, status, output };
}

const untilExit = (pid: number, since?: number): Promise<WaitStatus> =>
  new Promise((resolve) => reaper.watch(pid, resolve, since));

describe("spawn", () => {
  it("an exit code comes back with the time of reaping", async () => {
    const started = Date.now();
    const { status, child } = await shell("exit 7");
    expect(status).toMatchObject({ pid: child.pid, exitStatus: 7, signalled: false });
    expect(instantToMs(status.reapedAt)).toBeGreaterThanOrEqual(started);
    expect(instantToMs(status.reapedAt)).toBeLessThanOrEqual(Date.now());
  });

  it("a signal comes back as 128 plus its number", async () => {
    expect((await shell("kill -9 $$")).status).toMatchObject({ exitStatus: 137, signalled: true });
  });

  it("the child leads its own process group, in the given directory, with only the given environment", async () => {
    const directory = realpathSync(mkdtempSync(join(tmpdir(), "berth-spawn-")));
    const { output, child } = await shell('cut -d" " -f5 /proc/$$/stat; pwd; /usr/bin/env', {
      cwd: directory,
      env: { NAME: "value" },
    });
    rmSync(directory, { recursive: true });
    const [group, cwd, ...env] = output.trim().split("\n");
    expect(Number(group)).toBe(child.pid);
    expect(cwd).toBe(directory);
    expect(env.filter((line) => !/^(PWD|_|SHLVL|OLDPWD)=/.test(line))).toEqual(["NAME=value"]);
  });

  it("no descriptor of ours reaches the child, and no signal is ignored or blocked there", async () => {
    const [read, write] = makePipe();
    setCloseOnExec(read, false);
    const child = reaper.spawn(["/bin/sleep", "600"], { stdio: nullStdio });
    expect(readdirSync(`/proc/${child.pid}/fd`)).toEqual(["0", "1", "2"]);
    const status = readFileSync(`/proc/${child.pid}/status`, "latin1");
    expect(status).toMatch(/^SigIgn:\t0{16}$/m);
    expect(status).toMatch(/^SigBlk:\t0{16}$/m);
    processes.sendSignal(child.pid, SIGKILL);
    await child.exited;
    closeFd(read);
    closeFd(write);
  });

  it("a program that does not exist throws ENOENT and leaves no child", () => {
    expect(() => reaper.spawn(["/proc/no-such-program"], { stdio: nullStdio })).toThrow(
      expect.objectContaining({ code: "ENOENT" }),
    );
    expect(processes.waitChild(processes.P_ALL, 0)).toBe("no-child");
  });

  it("a hundred children that end at once are all reported", async () => {
    const children = Array.from({ length: 100 }, (_, index) =>
      reaper.spawn(["/bin/sh", "-c", `exit ${index}`], { stdio: nullStdio }),
    );
    const statuses = await Promise.all(children.map((child) => child.exited));
    expect(statuses.map((status) => status.exitStatus)).toEqual(children.map((_, index) => index));
  });

  it("killing the group ends the child's own children too", async () => {
    const [read, write] = makePipe();
    const child = reaper.spawn(["/bin/sh", "-c", "sleep 600 & echo $!; wait"], {
      stdio: ["null", write, "null"],
    });
    closeFd(write);
    const buffer = Buffer.alloc(32);
    const grandchild = Number(buffer.toString("latin1", 0, readFd(read, buffer)));
    expect(processes.signalGroup(child.pid, SIGKILL)).toBe(true);
    await child.exited;
    // The grandchild held the pipe's other end: end of file says that it is gone.
    expect(readFd(read, buffer)).toBe(0);
    closeFd(read);
    expect(processes.processStat(grandchild)?.state ?? "Z").toMatch(/[ZX]/);
  });

  it("signalling a group that has nobody left answers false", async () => {
    const { child } = await shell("exit 0");
    expect(processes.signalGroup(child.pid, SIGKILL)).toBe(false);
  });

  it("more descriptors than three are placed by position, whatever their numbers are here", async () => {
    const [read, write] = makePipe();
    const [extraRead, extraWrite] = makePipe();
    // The sources' numbers overlap the targets' when this process has few descriptors open.
    const child = reaper.spawn(["/bin/sh", "-c", "echo to-four >&4; read line <&3; echo got $line"], {
      stdio: ["null", write, "null", extraRead, write],
    });
    closeFd(write);
    writeFd(extraWrite, Buffer.from("line\n"));
    await child.exited;
    const buffer = Buffer.alloc(64);
    expect(buffer.toString("latin1", 0, readFd(read, buffer))).toBe("to-four\ngot line\n");
    for (const fd of [read, extraRead, extraWrite]) closeFd(fd);
  });

  it("a child can get our standard streams in another order", async () => {
    const [read, write] = makePipe();
    const swapped = reaper.spawn(["/bin/sh", "-c", "readlink /proc/$$/fd/0 >&3"], {
      stdio: [1, 0, "null", write],
    });
    closeFd(write);
    await swapped.exited;
    const buffer = Buffer.alloc(256);
    const target = buffer.toString("latin1", 0, readFd(read, buffer)).trim();
    expect(target).toBe(readlinkSync("/proc/self/fd/1"));
    closeFd(read);
  });
});

describe("the reaper", () => {
  it("an exit that nobody watches yet waits for its watcher", async () => {
    const pid = processes.spawnProcess({
      path: "/bin/sh",
      args: ["-c", "exit 3"],
      stdio: nullStdio,
      env: [],
    });
    while (reaper.stats.parked === 0) await new Promise((resolve) => process.once("SIGCHLD", resolve));
    expect(await untilExit(pid)).toMatchObject({ pid, exitStatus: 3 });
    expect(reaper.stats.parked).toBe(0);
  });

  it("a parked exit from before the mark belongs to an earlier owner of the pid", async () => {
    const pid = processes.spawnProcess({ path: "/bin/true", args: [], stdio: nullStdio, env: [] });
    while (reaper.stats.parked === 0) await new Promise((resolve) => process.once("SIGCHLD", resolve));
    const mark = reaper.mark();
    let called = false;
    const stop = reaper.watch(
      pid,
      () => {
        called = true;
      },
      mark,
    );
    await new Promise((resolve) => setImmediate(resolve));
    expect(called).toBe(false);
    stop();
  });

  it("parked exits are bounded: the oldest goes first and is counted", async () => {
    reaper.close();
    reaper = createReaper({ parkedLimit: 2, safetyIntervalMs: 50 });
    const pids = [1, 2, 3].map((code) =>
      processes.spawnProcess({ path: "/bin/sh", args: ["-c", `exit ${code}`], stdio: nullStdio, env: [] }),
    );
    while (reaper.mark() < 3) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(reaper.stats).toEqual({ reaped: 3, parked: 2, parkedDropped: 1 });
    for (const pid of pids) reaper.watch(pid, () => {});
    expect(reaper.stats.parked).toBe(0);
  });

  it("a pid has one watcher, and one that stopped is not called", async () => {
    const child = processes.spawnProcess({
      path: "/bin/sh",
      args: ["-c", "read x"],
      stdio: nullStdio,
      env: [],
    });
    let called = false;
    const stop = reaper.watch(child, () => {
      called = true;
    });
    expect(() => reaper.watch(child, () => {})).toThrow(/watched already/);
    stop();
    processes.sendSignal(child, SIGKILL);
    await untilExit(child);
    expect(called).toBe(false);
  });

  it("a watcher that throws does not keep others from their exits", async () => {
    reaper.close();
    const errors: unknown[] = [];
    reaper = createReaper({ onListenerError: (error) => errors.push(error) });
    const first = processes.spawnProcess({ path: "/bin/sleep", args: ["600"], stdio: nullStdio, env: [] });
    reaper.watch(first, () => {
      throw new Error("from the watcher");
    });
    const second = reaper.spawn(["/bin/sleep", "600"], { stdio: nullStdio });
    processes.sendSignal(first, SIGKILL);
    processes.sendSignal(second.pid, SIGKILL);
    expect((await second.exited).exitStatus).toBe(137);
    while (errors.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(String(errors[0])).toContain("from the watcher");
  });

  it("told to reap its own only, it leaves other children to whoever started them", async () => {
    reaper.close();
    reaper = createReaper({ scope: "own" });
    const foreign = processes.spawnProcess({ path: "/bin/true", args: [], stdio: nullStdio, env: [] });
    const child = reaper.spawn(["/bin/true"], { stdio: nullStdio });
    await child.exited;
    let status = processes.waitChild(processes.P_PID, foreign);
    while (status === undefined) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      status = processes.waitChild(processes.P_PID, foreign);
    }
    expect(status).toMatchObject({ pid: foreign, exitStatus: 0 });
  });
});

describe("signals and pids", () => {
  it("refuses the pids that mean everybody", () => {
    for (const pid of [0, -1, Number.NaN, 1.5]) expect(() => processes.sendSignal(pid, 0)).toThrow(/EINVAL/);
    for (const group of [0, 1, -5]) expect(() => processes.signalGroup(group, 0)).toThrow(/EINVAL/);
  });

  it("a pidfd is readable once its process exited, and signals it only", async () => {
    const child = reaper.spawn(["/bin/sleep", "600"], { stdio: nullStdio });
    const pidfd = processes.openPidfd(child.pid) as number;
    expect(pollFd(pidfd, POLLIN)).toBe(0);
    expect(processes.signalPidfd(pidfd, SIGKILL)).toBe(true);
    await child.exited;
    expect(pollFd(pidfd, POLLIN) & POLLIN).toBe(POLLIN);
    expect(processes.signalPidfd(pidfd, SIGKILL)).toBe(false);
    closeFd(pidfd);
    expect(processes.openPidfd(child.pid)).toBeUndefined();
  });

  it("a start time tells one owner of a pid from the next", () => {
    expect(processes.processStartTicks(process.pid)).toBeGreaterThan(0);
    expect(processes.processStat(process.pid)).toMatchObject({ parentPid: process.ppid });
    expect(processes.processStartTicks(2 ** 22 + 1)).toBeUndefined();
  });

  it("the name in a stat line may hold spaces and parentheses", () => {
    const rest = Array.from({ length: 50 }, (_, index) => String(index + 4)).join(" ");
    const stat = processes.parseProcessStat(`42 (a) b (c)) Z 7 ${rest.slice(2)}\n`);
    expect(stat).toMatchObject({ state: "Z", parentPid: 7 });
  });

  it("the subreaper flag and the memory-kill score can be read back", () => {
    const score = processes.oomScoreAdjustment("self");
    expect(score).toBe(Number(readFileSync("/proc/self/oom_score_adj", "latin1")));
    processes.setOomScoreAdjustment("self", score);
    processes.becomeSubreaper();
    expect(processes.isSubreaper()).toBe(true);
  });
});
