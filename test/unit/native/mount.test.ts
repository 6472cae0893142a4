import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  MS_BIND,
  mount,
  mountsUnder,
  parseMountInfo,
  readMountInfo,
  unmount,
  unmountUnder,
} from "../../../src/native/mount.js";

describe("mountinfo", () => {
  it("is parsed with its optional tags, escapes and super options", () => {
    const [first, second, ...rest] = parseMountInfo(
      "36 35 98:0 /mnt1 /mnt\\0402 rw,noatime shared:1 master:2 - ext3 /dev/root rw,errors=continue\n" +
        "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmp\\134fs rw\n" +
        "not a line\n",
    );
    expect(first).toEqual({
      mountId: 36,
      parentId: 35,
      root: "/mnt1",
      target: "/mnt 2",
      options: ["rw", "noatime"],
      tags: ["shared:1", "master:2"],
      type: "ext3",
      source: "/dev/root",
      superOptions: ["rw", "errors=continue"],
    });
    expect(second).toMatchObject({ tags: [], source: "tmp\\fs" });
    expect(rest).toEqual([]);
  });

  it("what is under a path does not include its neighbours with the same beginning", () => {
    const line = (target: string): string => `1 1 0:1 / ${target} rw - tmpfs t rw\n`;
    const mounts = parseMountInfo(["/a/b", "/a/b/c", "/a/bc", "/a"].map(line).join(""));
    expect(mountsUnder("/a/b", mounts).map(({ target }) => target)).toEqual(["/a/b", "/a/b/c"]);
  });
});

describe.skipIf(process.getuid?.() !== 0)("mounting", () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "berth-mount-"));
  });
  afterEach(() => {
    unmountUnder(directory);
    rmSync(directory, { recursive: true });
  });

  it("everything below a path goes, stacked and nested mounts too, and nothing else does", () => {
    const inside = join(directory, "in side");
    const outside = join(directory, "in side2");
    mkdirSync(inside);
    mkdirSync(outside);
    mount("tmpfs", inside, "tmpfs", 0, "size=64k");
    mount("tmpfs", inside, "tmpfs", 0, "size=64k");
    mkdirSync(join(inside, "deep"));
    mount("tmpfs", join(inside, "deep"), "tmpfs", 0, "size=64k");
    mount("tmpfs", outside, "tmpfs", 0, "size=64k");
    expect(mountsUnder(inside)).toHaveLength(3);
    expect(unmountUnder(inside)).toBeGreaterThanOrEqual(2);
    expect(mountsUnder(inside)).toEqual([]);
    expect(unmountUnder(inside)).toBe(0);
    expect(readMountInfo().some(({ target }) => target === outside)).toBe(true);
  });

  it("a link at the path is not followed to what it points at", () => {
    const target = join(directory, "target");
    mkdirSync(target);
    mount("tmpfs", target, "tmpfs", 0, "size=64k");
    symlinkSync(target, join(directory, "link"));
    expect(unmount(join(directory, "link"))).toBe(false);
    expect(mountsUnder(target)).toHaveLength(1);
  });

  it("a busy mount goes lazily", () => {
    writeFileSync(join(directory, "source"), "x");
    mkdirSync(join(directory, "m"));
    mount(directory, join(directory, "m"), "", MS_BIND);
    const before = process.cwd();
    process.chdir(join(directory, "m"));
    try {
      expect(unmount(join(directory, "m"))).toBe(true);
    } finally {
      process.chdir(before);
    }
    expect(existsSync(join(directory, "source"))).toBe(true);
  });

  it("unmounting what is no mount, or is not there, answers false", () => {
    expect(unmount(directory)).toBe(false);
    expect(unmount(join(directory, "missing"))).toBe(false);
  });

  it("a source that does not exist fails with ENOENT", () => {
    expect(() => mount(join(directory, "missing"), directory, "", MS_BIND)).toThrow(
      expect.objectContaining({ code: "ENOENT" }),
    );
  });
});
