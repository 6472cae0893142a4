import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { sendSignal } from "../../../src/native/process.js";
import { createReaper } from "../../../src/native/reaper.js";
import { type CgroupPaths, locateCgroups, processDirectory } from "../../../src/runtime/cgroups/locate.js";
import { createOomMonitor, oomKillCount } from "../../../src/runtime/cgroups/oom.js";
import { freeze, killAll, listPids } from "../../../src/runtime/cgroups/processes.js";
import { readStats } from "../../../src/runtime/cgroups/stats.js";
import { parseBlkio } from "../../../src/runtime/cgroups/stats-v1.js";
import { parseIo, parsePressure, readStatsV2 } from "../../../src/runtime/cgroups/stats-v2.js";
import { Metrics } from "../../../src/wire/gen/io/containerd/cgroups/v2/cgroups.js";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "berth-cgroups-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const put = (path: string, text: string): void => {
  const full = join(directory, path);
  mkdirSync(join(full, ".."), { recursive: true });
  writeFileSync(full, text);
};

const locate = (membership: string, mountinfo: string): CgroupPaths | undefined => {
  put("proc/42/cgroup", membership);
  put("proc/self/mountinfo", mountinfo);
  return locateCgroups(42, { procRoot: join(directory, "proc"), pathPrefix: "" });
};
const v1Mounts =
  "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n" +
  "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" +
  "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n";
const v2Mount = (target: string, root = "/"): string =>
  `41 31 0:38 ${root} ${target} rw - cgroup2 cgroup2 rw\n`;

describe("where cgroups are", () => {
  it("v1: co-mounted controllers share a directory, and paths may differ between controllers", () => {
    const cgroups = locate("9:name=systemd:/s\n4:memory:/m/c1\n1:cpu,cpuacct:/d/c1\n", v1Mounts);
    expect(cgroups).toMatchObject({
      version: "v1",
      unified: undefined,
      controllers: {
        cpu: "/sys/fs/cgroup/cpu,cpuacct/d/c1",
        cpuacct: "/sys/fs/cgroup/cpu,cpuacct/d/c1",
        memory: "/sys/fs/cgroup/memory/m/c1",
        "name=systemd": "/sys/fs/cgroup/systemd/s",
      },
    });
  });

  it("hybrid: controllers decide for v1, the unified directory is known beside them", () => {
    const cgroups = locate("4:memory:/c1\n0::/c1\n", v1Mounts + v2Mount("/sys/fs/cgroup/unified"));
    expect(cgroups).toMatchObject({ version: "v1", unified: "/sys/fs/cgroup/unified/c1" });
  });

  it("v2: one directory for all, also with systemd's name only in v1", () => {
    expect(locate("0::/machine.slice/c1\n", v2Mount("/sys/fs/cgroup"))).toMatchObject({
      version: "v2",
      unified: "/sys/fs/cgroup/machine.slice/c1",
      controllers: {},
    });
    const named = locate("1:name=systemd:/\n0::/c1\n", v1Mounts + v2Mount("/sys/fs/cgroup/unified"));
    expect(named?.version).toBe("v2");
  });

  it("a hierarchy mounted from a sub-directory shows paths below it only", () => {
    const cgroups = locate("0::/docker/abc/c1\n", v2Mount("/sys/fs/cgroup", "/docker/abc"));
    expect(cgroups?.unified).toBe("/sys/fs/cgroup/c1");
    expect(locate("0::/other\n", v2Mount("/sys/fs/cgroup", "/docker/abc"))?.unified).toBeUndefined();
  });

  it("a process that is gone has none, and a hierarchy's root is nobody's own", () => {
    expect(locateCgroups(42, { procRoot: directory, pathPrefix: "" })).toBeUndefined();
    const root = locate("4:memory:/\n0::/\n", v1Mounts + v2Mount("/sys/fs/cgroup/unified"));
    expect(processDirectory(root as CgroupPaths)).toBeUndefined();
  });
});

/** A v2 cgroup made of plain files: writes stay, nothing reacts. */
const fakeV2 = (): CgroupPaths => {
  mkdirSync(join(directory, "c1"), { recursive: true });
  return { version: "v2", controllers: {}, unified: join(directory, "c1"), hierarchyRoots: [directory] };
};

describe("processes of a cgroup", () => {
  it("nested cgroups count, foreign and repeated pids do not", () => {
    put("c1/cgroup.procs", "20\n10\n0\n");
    put("c1/inner/deep/cgroup.procs", "30\n10\n");
    expect(listPids(fakeV2())).toEqual([10, 20, 30]);
  });

  it("killing through a hierarchy's root is refused, whatever its cgroup.procs says", async () => {
    const reaper = createReaper();
    const child = reaper.spawn(["/bin/sleep", "600"], { stdio: ["null", "null", "null"] });
    put("cgroup.procs", `${child.pid}\n`);
    const root: CgroupPaths = {
      version: "v2",
      controllers: {},
      unified: directory,
      hierarchyRoots: [directory],
    };
    await expect(killAll(root, 50)).rejects.toMatchObject({ kind: "failed-precondition" });
    await expect(freeze(root, 50)).rejects.toMatchObject({ kind: "failed-precondition" });
    sendSignal(child.pid, 15);
    expect((await child.exited).exitStatus, "ended by our SIGTERM, not by a SIGKILL before it").toBe(143);
    reaper.close();
  });

  it("a cgroup that does not freeze in time is thawed again and told", async () => {
    const cgroups = fakeV2();
    put("c1/cgroup.events", "populated 1\nfrozen 0\n");
    await expect(freeze(cgroups, 30)).rejects.toMatchObject({ kind: "deadline-exceeded" });
    put("c1/cgroup.events", "populated 1\nfrozen 1\n");
    await freeze(cgroups, 30);
  });
});

describe("cgroup v2 counters", () => {
  it("files become containerd's fields; max means none for pids and the largest number for bytes", () => {
    put("c1/pids.current", "3\n");
    put("c1/pids.max", "max\n");
    put(
      "c1/cpu.stat",
      "usage_usec 500\nuser_usec 300\nsystem_usec 200\nnr_periods 4\nnr_throttled 1\nthrottled_usec 9\nnr_bursts 2\nburst_usec 8\n",
    );
    put(
      "c1/cpu.pressure",
      "some avg10=1.50 avg60=0.25 avg300=0.00 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n",
    );
    put(
      "c1/memory.stat",
      "anon 100\nfile 200\nfile_mapped 30\nslab 5\nworkingset_refault_anon 2\nworkingset_refault_file 3\npgfault 9\n",
    );
    put("c1/memory.current", "4096\n");
    put("c1/memory.max", "max\n");
    put("c1/memory.swap.current", "1\n");
    put("c1/memory.swap.max", "2048\n");
    put("c1/memory.peak", "8192\n");
    put("c1/memory.events", "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 6\n");
    put("c1/io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n254:1 \n");
    put("c1/hugetlb.2MB.current", "2\n");
    put("c1/hugetlb.2MB.max", "max\n");
    put("c1/hugetlb.2MB.events", "max 7\n");
    put("c1/hugetlb.2MB.rsvd.current", "2\n");
    put("c1/rdma.current", "mlx4_0 hca_handle=2 hca_object=20\n");
    put("c1/rdma.max", "mlx4_0 hca_handle=max hca_object=max\n");
    const { typeUrl, value } = readStats(fakeV2());
    expect(typeUrl).toBe("io.containerd.cgroups.v2.Metrics");
    const metrics = Metrics.decode(value);
    const max = 2n ** 64n - 1n;
    expect(metrics.pids).toEqual({ current: 3n, limit: 0n });
    expect(metrics.cpu).toEqual({
      usageUsec: 500n,
      userUsec: 300n,
      systemUsec: 200n,
      nrPeriods: 4n,
      nrThrottled: 1n,
      throttledUsec: 9n,
      nrBursts: 2n,
      burstUsec: 8n,
      psi: {
        some: { avg10: 1.5, avg60: 0.25, avg300: 0, total: 77n },
        full: { avg10: 0, avg60: 0, avg300: 0, total: 5n },
      },
    });
    expect(metrics.memory).toMatchObject({
      anon: 100n,
      file: 200n,
      fileMapped: 30n,
      slab: 5n,
      workingsetRefault: 5n,
      pgfault: 9n,
      usage: 4096n,
      usageLimit: max,
      swapUsage: 1n,
      swapLimit: 2048n,
      maxUsage: 8192n,
    });
    expect(metrics.memoryEvents).toEqual({
      low: 1n,
      high: 2n,
      max: 3n,
      oom: 4n,
      oomKill: 5n,
      oomGroupKill: 6n,
    });
    expect(metrics.io?.usage).toContainEqual({
      major: 8n,
      minor: 0n,
      rbytes: 1n,
      wbytes: 2n,
      rios: 3n,
      wios: 4n,
    });
    expect(metrics.hugetlb).toEqual([{ current: 2n, max, pagesize: "2MB", failcnt: 7n }]);
    expect(metrics.rdma?.limit).toEqual([
      { device: "mlx4_0", hcaHandles: 2 ** 32 - 1, hcaObjects: 2 ** 32 - 1 },
    ]);
  });

  it("a cgroup that is gone contributes nothing and does not throw", () => {
    const gone = { ...fakeV2(), unified: "/proc/no-such-cgroup" };
    expect(readStatsV2(gone)).toEqual(Metrics.fromPartial({}));
  });

  it("the machine's own counters are never told as a container's", () => {
    put("pids.current", "4000\n");
    const root: CgroupPaths = {
      version: "v2",
      controllers: {},
      unified: directory,
      hierarchyRoots: [directory],
    };
    expect(readStatsV2(root).pids?.current).toBe(4000n);
    expect(Metrics.decode(readStats(root).value)).toEqual(Metrics.fromPartial({}));
  });

  it("lines that do not fit are left out", () => {
    expect(parseIo("garbage\n8:x rbytes=1\n")).toEqual([]);
    expect(parsePressure("")).toBeUndefined();
    expect(parseBlkio("8:0 Read 12\n8:0 5\nTotal 17\nx\n", new Map([["8:0", "/dev/sda"]]))).toEqual([
      { op: "Read", device: "/dev/sda", major: 8n, minor: 0n, value: 12n },
      { op: "", device: "/dev/sda", major: 8n, minor: 0n, value: 5n },
    ]);
  });
});

describe("out of memory on v2", () => {
  it("a rise of oom_kill is reported once, whether the file or the exit tells", async () => {
    put("c1/memory.events", "oom 0\noom_kill 0\n");
    const cgroups = fakeV2();
    const monitor = createOomMonitor();
    let reports = 0;
    await new Promise<void>((resolve) => {
      const watch = monitor.watch(cgroups, () => {
        reports++;
        watch?.settle();
        watch?.close();
        resolve();
      });
      put("c1/memory.events", "oom 1\noom_kill 1\n");
    });
    expect(reports).toBe(1);
    expect(oomKillCount(cgroups)).toBe(1);
    const second = monitor.watch(cgroups, () => {
      reports++;
    });
    second?.settle();
    expect(reports, "kills from before the watch are not its business").toBe(1);
    put("c1/memory.events", "oom 2\noom_kill 3\n");
    second?.settle();
    second?.settle();
    expect(reports).toBe(2);
    monitor.close();
    expect(createOomMonitor().watch({ ...cgroups, unified: directory }, () => {})).toBeUndefined();
  });
});
