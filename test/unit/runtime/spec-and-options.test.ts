import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  decodeOptions,
  driverOptions,
  optionsToJson,
  readOptions,
  writeOptions,
} from "../../../src/runtime/options.js";
import { parseVersion } from "../../../src/runtime/runtime-probe.js";
import { parseSpec, processDocument, specProblem } from "../../../src/runtime/spec.js";
import { Options } from "../../../src/wire/gen/containerd/runc/v1/runc.js";

const facts = (document: unknown) => parseSpec(Buffer.from(JSON.stringify(document)));

describe("spec facts", () => {
  it("a full spec yields what the shim needs", () => {
    const spec = facts({
      process: { args: ["sh", "-c", "true"], terminal: true, consoleSize: { width: 80, height: 24 } },
      root: { path: "rootfs" },
      hooks: { poststart: [{ path: "/h" }], poststop: [] },
      annotations: { "io.kubernetes.cri.sandbox-id": "s1" },
      linux: {
        cgroupsPath: "/a/b",
        namespaces: [{ type: "pid" }, { type: "user" }],
        uidMappings: [
          { containerID: 1, hostID: 7, size: 1 },
          { containerID: 0, hostID: 100000, size: 65536 },
        ],
        gidMappings: [{ containerID: 0, hostID: 200000, size: 65536 }],
      },
    });
    expect(spec).toEqual({
      args: ["sh", "-c", "true"],
      rootPath: "rootfs",
      terminal: true,
      consoleSize: { columns: 80, rows: 24 },
      hooks: new Set(["poststart"]),
      privatePidNamespace: true,
      mappedRoot: { uid: 100000, gid: 200000 },
      cgroupsPath: "/a/b",
      annotations: { "io.kubernetes.cri.sandbox-id": "s1" },
    });
    expect(specProblem(spec)).toBeUndefined();
  });

  it("a pid namespace that is shared by path, or absent, is not private", () => {
    const namespaces = (list: unknown[]) => facts({ linux: { namespaces: list } }).privatePidNamespace;
    expect(namespaces([{ type: "pid", path: "/proc/1/ns/pid" }])).toBe(false);
    expect(namespaces([{ type: "mount" }])).toBe(false);
    expect(namespaces([{ type: "pid", path: "" }])).toBe(true);
  });

  it("Go's null lists count as empty", () => {
    const spec = facts({
      process: { args: null },
      hooks: { prestart: null },
      annotations: null,
      linux: { namespaces: null },
    });
    expect(spec).toMatchObject({ args: [], annotations: {}, privatePidNamespace: false });
    expect(spec.hooks.size).toBe(0);
  });

  it("what is missing is said in a sentence", () => {
    expect(specProblem(facts({ process: { args: ["a"] } }))).toBe("the spec has no root.path");
    expect(specProblem(facts({ root: { path: "r" } }))).toBe("the spec has no process.args");
  });

  it("bytes that are no spec are invalid-argument", () => {
    for (const text of ["", "{", "[]", "null", "7", '{"root":{"path":7}}', '{"linux":{"namespaces":7}}'])
      expect(() => parseSpec(Buffer.from(text)), text).toThrow(
        expect.objectContaining({ kind: "invalid-argument" }),
      );
  });

  it("an exec's process keeps every field but terminal", () => {
    const document = { args: ["a"], terminal: true, cwd: "/", unknownField: { x: [1] } };
    const bytes = processDocument(Buffer.from(JSON.stringify(document)), false);
    expect(JSON.parse(bytes.toString())).toEqual({ ...document, terminal: false });
    expect(() => processDocument(Buffer.from("null"), false)).toThrow(/not a JSON object/);
  });
});

describe("runtime options", () => {
  const any = (typeUrl: string, options: Partial<Options>) => ({
    typeUrl,
    value: Options.encode(Options.fromPartial(options)).finish(),
  });

  it("absent and empty options are the defaults, a foreign type is refused", () => {
    expect(decodeOptions(undefined)).toEqual(Options.fromPartial({}));
    expect(decodeOptions({ typeUrl: "anything", value: new Uint8Array() })).toEqual(Options.fromPartial({}));
    expect(() => decodeOptions(any("runtimeoptions.v1.Options", { root: "/x" }))).toThrow(
      expect.objectContaining({ kind: "invalid-argument" }),
    );
    expect(() =>
      decodeOptions({ typeUrl: "containerd.runc.v1.Options", value: Buffer.from([0xff]) }),
    ).toThrow(expect.objectContaining({ kind: "invalid-argument" }));
    expect(decodeOptions(any("types.containerd.io/containerd.runc.v1.Options", { root: "/x" })).root).toBe(
      "/x",
    );
  });

  it("the driver's root is that of the options, by namespace", () => {
    const defaults = { binary: "runc", root: "/run/default" };
    expect(driverOptions(Options.fromPartial({}), "moby", defaults)).toMatchObject({
      binary: "runc",
      root: "/run/default/moby",
    });
    const docker = Options.fromPartial({
      binaryName: "crun",
      root: "/var/run/docker/runtime-runc",
      systemdCgroup: true,
    });
    expect(driverOptions(docker, "moby", defaults)).toMatchObject({
      binary: "crun",
      root: "/var/run/docker/runtime-runc/moby",
      systemdCgroup: true,
    });
  });

  it("options.json is as containerd writes it and reads back equal", () => {
    const bundle = mkdtempSync(join(tmpdir(), "berth-options-"));
    try {
      expect(readOptions(bundle)).toBeUndefined();
      expect(optionsToJson(Options.fromPartial({}))).toBe("{}");
      const options = Options.fromPartial({ binaryName: "runc", root: "/r", ioUid: 5, noPivotRoot: true });
      writeOptions(bundle, options);
      expect(readFileSync(join(bundle, "options.json"), "utf8")).toBe(
        '{"no_pivot_root":true,"io_uid":5,"binary_name":"runc","root":"/r"}',
      );
      expect(statSync(join(bundle, "options.json")).mode & 0o777).toBe(0o600);
      expect(readFileSync(join(bundle, "runtime"), "utf8")).toBe("runc");
      expect(readOptions(bundle)).toEqual(options);
      writeFileSync(join(bundle, "options.json"), "{");
      expect(() => readOptions(bundle)).toThrow(expect.objectContaining({ kind: "internal" }));
    } finally {
      rmSync(bundle, { recursive: true });
    }
  });
});

describe("the runtime's name", () => {
  it("is read from its version line, and anything else is other", () => {
    expect(parseVersion("runc version 1.1.5+ds1\ncommit: x\n")).toEqual({
      kind: "runc",
      version: "1.1.5+ds1",
    });
    expect(parseVersion("crun version 1.8.1\n")).toEqual({ kind: "crun", version: "1.8.1" });
    expect(parseVersion("runsc version release-2024\n").kind).toBe("other");
    expect(parseVersion("wrapper around runc version 1.1\n").kind).toBe("other");
  });
});
