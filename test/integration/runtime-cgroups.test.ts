/** Cgroups of live runc containers: where they are, freezing, killing, counters, and running out of memory. */
import { existsSync, readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { processStat, sendSignal, signalGroup } from "../../src/native/process.js";
import { locateCgroups } from "../../src/runtime/cgroups/locate.js";
import { createOomMonitor, oomKillCount } from "../../src/runtime/cgroups/oom.js";
import { freeze, frozen, killAll, listPids, signalAll, thaw } from "../../src/runtime/cgroups/processes.js";
import { readStats } from "../../src/runtime/cgroups/stats.js";
import { runCommand } from "../../src/runtime/runtime-command.js";
import { Metrics } from "../../src/wire/gen/io/containerd/cgroups/v1/cgroups.js";
import {
  createContainer,
  type Fixture,
  openFixture,
  type SpecOptions,
  unavailable,
} from "./runtime-fixture.js";

const SIGKILL = 9;
const hasV1 = existsSync("/sys/fs/cgroup/memory/memory.oom_control");
if (!hasV1) console.warn("SKIPPED: cgroup v1 tests need a v1 or hybrid machine");

describe.skipIf(unavailable !== "" || !hasV1)("cgroups of a runc container", () => {
  let fixture: Fixture;
  beforeAll(() => {
    fixture = openFixture();
  });
  afterAll(() => fixture.close());

  const running = async (options: SpecOptions) => {
    const container = fixture.bundle(options);
    const init = await createContainer(fixture, container);
    const cgroups = locateCgroups(init.pid);
    if (cgroups === undefined) throw new Error("init has no cgroups");
    await fixture.runtime.start(container);
    return { ...container, ...init, cgroups };
  };
  const untilPids = async (cgroups: Parameters<typeof listPids>[0], count: number): Promise<number[]> => {
    for (const end = Date.now() + 10_000; ; await new Promise((resolve) => setTimeout(resolve, 5))) {
      const pids = listPids(cgroups);
      if (pids.length === count) return pids;
      expect(Date.now(), `pids ${pids}`).toBeLessThan(end);
    }
  };

  it("each controller's directory is found, and the pids are those that the runtime lists", async () => {
    const container = await running({ args: ["sh", "-c", "sleep 600 & sleep 600; true"] });
    expect(container.cgroups.version).toBe("v1");
    expect(container.cgroups.controllers.memory).toBe(`/sys/fs/cgroup/memory${container.cgroupsPath}`);
    expect(container.cgroups.controllers.pids).toBe(`/sys/fs/cgroup/pids${container.cgroupsPath}`);
    const pids = await untilPids(container.cgroups, 3);
    expect(pids).toEqual([...(await fixture.runtime.ps(container))].sort((a, b) => a - b));
    await killAll(container.cgroups, 5000);
    expect((await container.exited).exitStatus).toBe(137);
  });

  it("freezing stops every process until it is thawed, and the runtime agrees", async () => {
    const container = await running({ args: ["sh", "-c", "while :; do :; done"] });
    await freeze(container.cgroups, 5000);
    expect(frozen(container.cgroups)).toBe(true);
    expect((await fixture.runtime.state(container)).status).toBe("paused");
    const cpu = (): string =>
      readFileSync(`${container.cgroups.controllers.cpuacct}/cpuacct.usage`, "latin1");
    const before = cpu();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(cpu()).toBe(before);
    thaw(container.cgroups);
    expect((await fixture.runtime.state(container)).status).toBe("running");
    await killAll(container.cgroups, 5000);
    await container.exited;
  });

  it("killing all ends a frozen container that has no pid namespace of its own", async () => {
    const container = await running({
      args: ["sh", "-c", "sleep 600 & exec sleep 600"],
      sharePidNamespace: true,
    });
    const [first, second] = await untilPids(container.cgroups, 2);
    await freeze(container.cgroups, 5000);
    await killAll(container.cgroups, 5000);
    await container.exited;
    for (const pid of [first, second])
      expect(processStat(pid as number)?.state ?? "gone").toMatch(/gone|Z|X/);
  });

  it("a signal to all reaches every process and leaves a paused container paused", async () => {
    const container = await running({ args: ["sh", "-c", "sleep 600 & sleep 600 & wait"] });
    const before = await untilPids(container.cgroups, 3);
    await signalAll(container.cgroups, 15, 5000);
    // sh ignores the signal as init of its namespace; its children end and then sh does, too.
    expect((await container.exited).exitStatus).toBeGreaterThanOrEqual(0);
    expect(before).toHaveLength(3);
    const paused = await running({ args: ["sleep", "600"] });
    await freeze(paused.cgroups, 5000);
    await signalAll(paused.cgroups, SIGKILL, 5000);
    expect(frozen(paused.cgroups)).toBe(true);
    thaw(paused.cgroups);
    await paused.exited;
  });

  const runcStats = async (id: string) => {
    const { stdout } = await runCommand(
      { spawn: fixture.reaper.spawn, killGroup: signalGroup },
      {
        binary: "runc",
        args: ["--root", fixture.runtime.root, "events", "--stats", id],
        cwd: "/",
        deadlineMs: 10_000,
      },
    );
    return JSON.parse(stdout).data;
  };

  it("counters are those that runc events --stats reports", async () => {
    const container = await running({ args: ["sleep", "600"], memoryLimit: 64 << 20, pidsLimit: 33 });
    await freeze(container.cgroups, 5000);
    expect(readStats(container.cgroups).typeUrl).toBe("io.containerd.cgroups.v1.Metrics");
    const read = (): Metrics => Metrics.decode(readStats(container.cgroups).value);
    // The container is frozen, but the kernel still settles its accounts for a while: runc's reading counts when
    // ours before and after it are the same.
    let metrics = read();
    let data = await runcStats(container.id);
    for (let attempt = 0; !isDeepStrictEqual(read(), metrics); attempt++) {
      expect(attempt, "the counters never stood still").toBeLessThan(100);
      metrics = read();
      data = await runcStats(container.id);
    }
    expect(metrics.pids).toEqual({ current: BigInt(data.pids.current), limit: 33n });
    expect(metrics.cpu?.usage).toEqual({
      total: BigInt(data.cpu.usage.total),
      kernel: BigInt(data.cpu.usage.kernel),
      user: BigInt(data.cpu.usage.user),
      perCpu: data.cpu.usage.percpu.map(BigInt),
    });
    const raw = data.memory.raw as Record<string, number>;
    const entry = (from: Record<string, number>) => ({
      limit: BigInt(from.limit ?? 0),
      usage: BigInt(from.usage ?? 0),
      max: BigInt(from.max ?? 0),
      failcnt: BigInt(from.failcnt ?? 0),
    });
    expect(metrics.memory).toMatchObject({
      rss: BigInt(raw.rss ?? -1),
      cache: BigInt(raw.cache ?? -1),
      pgFault: BigInt(raw.pgfault ?? -1),
      totalInactiveFile: BigInt(raw.total_inactive_file ?? -1),
      totalActiveAnon: BigInt(raw.total_active_anon ?? -1),
      hierarchicalMemoryLimit: BigInt(64 << 20),
    });
    expect(metrics.memory?.usage).toMatchObject({
      limit: BigInt(64 << 20),
      usage: entry(data.memory.usage).usage,
    });
    expect(metrics.memory?.swap?.limit).toBe(entry(data.memory.swap).limit);
    thaw(container.cgroups);
    sendSignal(container.pid, SIGKILL);
    await container.exited;
    expect(Metrics.decode(readStats(container.cgroups).value).pids?.current).toBe(0n);
    await fixture.runtime.delete({ ...container, force: true });
    expect(Metrics.decode(readStats(container.cgroups).value).pids).toBeUndefined();
  });

  it("running out of memory is reported once, before the exit is told, and counted", async () => {
    // A timer that never fires: only `settle` can report.
    const monitor = createOomMonitor({ pollIntervalMs: 3_600_000 });
    const container = fixture.bundle({ args: ["tail", "/dev/zero"], memoryLimit: 8 << 20 });
    const init = await createContainer(fixture, container);
    const cgroups = locateCgroups(init.pid);
    if (cgroups === undefined) throw new Error("init has no cgroups");
    let reports = 0;
    const watch = monitor.watch(cgroups, () => {
      reports++;
    });
    await fixture.runtime.start(container);
    expect((await init.exited).exitStatus).toBe(137);
    watch?.settle();
    expect(reports).toBe(1);
    watch?.settle();
    expect(reports).toBe(1);
    expect(oomKillCount(cgroups)).toBe(1);
    // Removing the cgroup signals the eventfd as well: that is not a report.
    await fixture.runtime.delete({ ...container, force: true });
    watch?.settle();
    expect(reports).toBe(1);
    monitor.close();
  });

  it("running out of memory is reported while the container lives on", async () => {
    const monitor = createOomMonitor({ pollIntervalMs: 10 });
    const container = fixture.bundle({
      args: ["sh", "-c", "tail /dev/zero; exec sleep 600"],
      memoryLimit: 8 << 20,
    });
    const init = await createContainer(fixture, container);
    const cgroups = locateCgroups(init.pid);
    if (cgroups === undefined) throw new Error("init has no cgroups");
    const reported = new Promise<void>((resolve) => {
      monitor.watch(cgroups, resolve);
    });
    await fixture.runtime.start(container);
    await reported;
    expect(processStat(init.pid)?.state).not.toBe("Z");
    sendSignal(init.pid, SIGKILL);
    await init.exited;
    monitor.close();
  });
});
