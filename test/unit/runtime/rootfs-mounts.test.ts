import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  MS_BIND,
  MS_NODEV,
  MS_NOSUID,
  MS_PRIVATE,
  MS_RDONLY,
  MS_REC,
  mountsUnder,
  unmountUnder,
} from "../../../src/native/mount.js";
import {
  commonDirectory,
  mountRootfs,
  parseMountOptions,
  unmountRootfs,
} from "../../../src/runtime/rootfs-mounts.js";

describe("mount options", () => {
  it("words become flags, later words undo earlier ones, the rest is the file system's", () => {
    expect(parseMountOptions(["rbind", "ro", "nosuid", "nodev", "dev"])).toEqual({
      flags: MS_BIND | MS_REC | MS_RDONLY | MS_NOSUID,
      data: [],
    });
    expect(parseMountOptions(["ro", "rw", "rprivate", "lowerdir=/a:/b", "userxattr"])).toEqual({
      flags: MS_PRIVATE | MS_REC,
      data: ["lowerdir=/a:/b", "userxattr"],
    });
    expect(parseMountOptions(["defaults", "toString", "nodev"])).toEqual({
      flags: MS_NODEV,
      data: ["toString"],
    });
  });

  it("the directory that all layers share is the deepest one, on a name's boundary", () => {
    expect(commonDirectory(["/s/1/fs", "/s/2/fs"])).toBe("/s");
    expect(commonDirectory(["/s/12/fs", "/s/1/fs"])).toBe("/s");
    expect(commonDirectory(["/a/x", "/b/x"])).toBe("/");
    expect(commonDirectory(["/a/b/c"])).toBe("/a/b");
  });
});

describe.skipIf(process.getuid?.() !== 0)("rootfs mounts", () => {
  let directory: string;
  let rootfs: string;
  const make = (name: string, file?: string): string => {
    const path = join(directory, name);
    mkdirSync(path, { recursive: true });
    if (file !== undefined) writeFileSync(join(path, file), name);
    return path;
  };
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "berth-rootfs-"));
    rootfs = make("rootfs");
  });
  afterEach(() => {
    unmountUnder(directory);
    rmSync(directory, { recursive: true });
  });

  it("a read-only bind cannot be written through", () => {
    const source = make("source", "file");
    mountRootfs([{ type: "bind", source, target: "", options: ["rbind", "ro"] }], rootfs);
    expect(readFileSync(join(rootfs, "file"), "utf8")).toBe("source");
    expect(() => writeFileSync(join(rootfs, "file"), "y")).toThrow(/EROFS/);
    writeFileSync(join(source, "file"), "still writable at its source");
    unmountRootfs(rootfs);
    expect(mountsUnder(rootfs)).toEqual([]);
    unmountRootfs(rootfs);
  });

  it("an overlay of two layers shows both and keeps writes in its upper one", () => {
    const [one, two, upper, work] = [make("l1", "a"), make("l2", "b"), make("upper"), make("work")];
    const options = [`lowerdir=${one}:${two}`, `upperdir=${upper}`, `workdir=${work}`];
    mountRootfs([{ type: "overlay", source: "overlay", target: "", options }], rootfs);
    expect([existsSync(join(rootfs, "a")), existsSync(join(rootfs, "b"))]).toEqual([true, true]);
    writeFileSync(join(rootfs, "new"), "x");
    expect(readFileSync(join(upper, "new"), "utf8")).toBe("x");
  });

  it("an overlay whose layers do not fit into one page of options still mounts", () => {
    const base = "some-rather-long-directory-name-for-layers";
    const layers = Array.from({ length: 90 }, (_, index) => make(`${base}/${index}/fs`, `file-${index}`));
    const options = [`lowerdir=${layers.join(":")}`, `upperdir=${make("upper")}`, `workdir=${make("work")}`];
    expect(options.join(",").length).toBeGreaterThan(4096);
    mountRootfs([{ type: "overlay", source: "overlay", target: "", options }], rootfs);
    for (const index of [0, 45, 89]) expect(existsSync(join(rootfs, `file-${index}`))).toBe(true);
  });

  it("a mount with a target goes below the rootfs, and never out of it through a link", () => {
    const image = make("image");
    mkdirSync(join(image, "mnt"));
    symlinkSync("/", join(image, "escape"));
    const bind = (source: string, target: string) => ({ type: "bind", source, target, options: ["bind"] });
    mountRootfs([bind(image, ""), bind(make("extra", "inner"), "mnt")], rootfs);
    expect(existsSync(join(rootfs, "mnt", "inner"))).toBe(true);
    unmountRootfs(rootfs);
    expect(() => mountRootfs([bind(image, ""), bind(make("extra"), "escape/tmp")], rootfs)).toThrow(
      /leads out of/,
    );
    expect(mountsUnder(rootfs)).toEqual([]);
  });

  it("a source that is missing fails in containerd's words and takes the earlier mounts off", () => {
    const mounts = [
      { type: "bind", source: make("source", "file"), target: "", options: ["rbind"] },
      { type: "bind", source: "/no/such/source", target: "", options: ["rbind", "ro"] },
    ];
    expect(() => mountRootfs(mounts, rootfs)).toThrow(
      "failed to mount rootfs component &{bind /no/such/source [rbind ro]}: no such file or directory",
    );
    expect(mountsUnder(rootfs)).toEqual([]);
  });
});
