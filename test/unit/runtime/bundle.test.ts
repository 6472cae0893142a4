import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { mount, mountsUnder, unmountUnder } from "../../../src/native/mount.js";
import {
  bundlePath,
  createBundle,
  listBundles,
  removeBundle,
  sweepBundles,
} from "../../../src/runtime/bundle.js";

const asRoot = process.getuid?.() === 0;
const mode = (path: string): number => statSync(path).mode & 0o7777;
let state: string;

beforeEach(() => {
  state = mkdtempSync(join(tmpdir(), "berth-bundle-"));
});
afterEach(() => {
  if (asRoot) unmountUnder(state);
  rmSync(state, { recursive: true, force: true });
});

const config = Buffer.from('{ "ociVersion":"1.0.2",  "odd": "\\u00e9 spacing kept" }\n');

describe("bundles", () => {
  it("hold the spec's bytes unchanged, with containerd's modes whatever the umask", () => {
    const umask = process.umask(0o077);
    const path = bundlePath(state, "ns", "c1");
    try {
      createBundle({ path, config });
    } finally {
      process.umask(umask);
    }
    expect(readFileSync(join(path, "config.json"))).toEqual(config);
    expect(mode(path)).toBe(0o700);
    expect(mode(join(path, "rootfs"))).toBe(0o711);
    expect(mode(join(state, "tasks", "ns"))).toBe(0o711);
    expect(listBundles(state, "ns")).toEqual(["c1"]);
    expect(listBundles(state, "other")).toEqual([]);
  });

  it.skipIf(!asRoot)("let a mapped root pass", () => {
    const path = bundlePath(state, "ns", "c1");
    createBundle({ path, config, mappedGid: 100000 });
    expect(mode(path)).toBe(0o710);
    expect(statSync(path).gid).toBe(100000);
  });

  it("are made once: a second one of that id is already-exists and leaves the first alone", () => {
    const path = bundlePath(state, "ns", "c1");
    createBundle({ path, config });
    expect(() => createBundle({ path, config: Buffer.from("other") })).toThrow(
      expect.objectContaining({ kind: "already-exists" }),
    );
    expect(readFileSync(join(path, "config.json"))).toEqual(config);
    expect(readdirSync(join(state, "tasks", "ns"))).toEqual(["c1"]);
  });

  it.skipIf(!asRoot)("leave nothing when the disk is full", () => {
    const small = join(state, "small");
    mkdirSync(small);
    mount("tmpfs", small, "tmpfs", 0, "size=8k");
    const path = bundlePath(small, "ns", "c1");
    expect(() => createBundle({ path, config: Buffer.alloc(64 * 1024) })).toThrow(/no space left on device/);
    expect(readdirSync(join(small, "tasks", "ns"))).toEqual([]);
    createBundle({ path, config: Buffer.from("{}") });
  });

  it("are removed with what lies in them, once and again", async () => {
    const path = bundlePath(state, "ns", "c1");
    createBundle({ path, config });
    writeFileSync(join(path, "init.pid"), "1");
    await removeBundle(path);
    expect(readdirSync(join(state, "tasks", "ns"))).toEqual([]);
    await removeBundle(path);
  });

  it.skipIf(!asRoot)("take their mounts off before deleting, so that mounted data survives", async () => {
    const path = bundlePath(state, "ns", "c1");
    createBundle({ path, config });
    const data = join(state, "data");
    mkdirSync(data);
    writeFileSync(join(data, "precious"), "x");
    mount(data, join(path, "rootfs"), "", 4096);
    mkdirSync(join(path, "elsewhere"));
    mount(data, join(path, "elsewhere"), "", 4096);
    await removeBundle(path);
    expect(existsSync(path)).toBe(false);
    expect(readFileSync(join(data, "precious"), "utf8")).toBe("x");
    expect(mountsUnder(path)).toEqual([]);
  });

  it.skipIf(!asRoot)(
    "are found in the mount table also when the state directory is reached through a link",
    async () => {
      const linked = `${state}-link`;
      symlinkSync(state, linked);
      try {
        const path = bundlePath(linked, "ns", "c1");
        createBundle({ path, config });
        mount("tmpfs", join(path, "rootfs"), "tmpfs", 0, "size=64k");
        writeFileSync(join(path, "rootfs", "file"), "x");
        await removeBundle(path);
        expect(existsSync(path)).toBe(false);
      } finally {
        rmSync(linked);
      }
    },
  );

  it("are not removed while somebody's files lie in rootfs itself", async () => {
    const path = bundlePath(state, "ns", "c1");
    createBundle({ path, config });
    writeFileSync(join(path, "rootfs", "file"), "x");
    await expect(removeBundle(path)).rejects.toThrow(
      `failed to remove bundle rootfs: remove ${path}/rootfs: directory not empty`,
    );
    expect(existsSync(join(path, "rootfs", "file"))).toBe(true);
  });

  it("whose creation or removal was cut short are swept, and do not block the id", async () => {
    const path = bundlePath(state, "ns", "c1");
    mkdirSync(join(state, "tasks", "ns", ".c1"), { recursive: true });
    writeFileSync(join(state, "tasks", "ns", ".c1", "config.json"), "half");
    mkdirSync(join(state, "tasks", "ns", ".c2.new-1-0", "rootfs"), { recursive: true });
    createBundle({ path, config });
    await removeBundle(path);
    createBundle({ path, config });
    expect(await sweepBundles(state, "ns")).toEqual([".c2.new-1-0"]);
    expect(readdirSync(join(state, "tasks", "ns"))).toEqual(["c1"]);
    expect(await sweepBundles(state, "missing")).toEqual([]);
    chmodSync(path, 0o700);
  });
});
