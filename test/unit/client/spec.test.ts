import { describe, expect, it } from "vitest";
import { applyWishes, defaultSpec, mergeEnv, resourcesOf } from "../../../src/client/spec.js";

const base = defaultSpec("default", "c1", "/rootfs");

describe("the default spec", () => {
  it("isolates the container as containerd's own tool does", () => {
    expect(base.linux?.namespaces?.map(({ type }) => type)).toEqual([
      "pid",
      "ipc",
      "uts",
      "mount",
      "network",
    ]);
    expect(base.process.capabilities?.bounding).toHaveLength(14);
    expect(base.process.capabilities).not.toHaveProperty("ambient");
    expect(base.process.rlimits).toEqual([{ type: "RLIMIT_NOFILE", hard: 1024, soft: 1024 }]);
    expect(base.process.noNewPrivileges).toBe(true);
    expect(base.linux?.resources?.devices).toEqual([{ allow: false, access: "rwm" }]);
    expect(base.linux?.cgroupsPath).toBe("/default/c1");
    expect(base.mounts?.map(({ destination }) => destination)).toEqual([
      "/proc",
      "/dev",
      "/dev/pts",
      "/dev/shm",
      "/dev/mqueue",
      "/sys",
      "/run",
    ]);
    expect(base.linux?.maskedPaths).toContain("/proc/kcore");
    expect(base.linux?.readonlyPaths).toContain("/proc/sys");
  });

  it("is not touched by wishes applied to it", () => {
    const before = structuredClone(base);
    applyWishes(base, { terminal: true, env: ["A=1"], memoryBytes: 1, mounts: [{ destination: "/x" }] });
    expect(base).toEqual(before);
  });
});

describe("wishes", () => {
  it("set exactly what they name", () => {
    const spec = applyWishes(base, {
      args: ["sh"],
      env: ["PATH=/only", "A=1"],
      cwd: "/tmp",
      user: { uid: 7, gid: 8 },
      hostname: "boat",
      terminal: true,
      consoleSize: { width: 80, height: 24 },
      readonlyRootfs: true,
      memoryBytes: 1024,
      cpus: 1.5,
      pidsLimit: 9,
    });
    expect(spec.process).toMatchObject({
      args: ["sh"],
      env: ["PATH=/only", "A=1", "TERM=xterm"],
      cwd: "/tmp",
      user: { uid: 7, gid: 8 },
      terminal: true,
      consoleSize: { width: 80, height: 24 },
    });
    expect(spec.hostname).toBe("boat");
    expect(spec.root).toEqual({ path: "/rootfs", readonly: true });
    expect(spec.linux?.resources).toEqual({
      devices: [{ allow: false, access: "rwm" }],
      memory: { limit: 1024 },
      cpu: { quota: 150_000, period: 100_000 },
      pids: { limit: 9 },
    });
  });

  it("change nothing when there are none", () => {
    expect(applyWishes(base, { terminal: false })).toEqual(base);
  });

  it("keep a TERM that the user chose", () => {
    expect(applyWishes(base, { terminal: true, env: ["TERM=dumb"] }).process.env).toEqual([
      expect.stringMatching(/^PATH=/),
      "TERM=dumb",
    ]);
  });
});

it("later environment entries win in place", () => {
  expect(mergeEnv(["A=1", "B=2"], ["A=3", "C=4=5"])).toEqual(["A=3", "B=2", "C=4=5"]);
});

it("a quota never goes below what the kernel takes", () => {
  expect(resourcesOf({ cpus: 0.001 })).toEqual({ cpu: { quota: 1_000, period: 100_000 } });
  expect(resourcesOf({})).toEqual({});
});
