import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { resolveRuntimeName } from "../../../src/shim-link/runtime-names.js";

const prefix = "failed to start shim: failed to resolve runtime path: ";
let directory: string;
let path: string | undefined;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "berth-names-"));
  path = process.env.PATH;
});
afterEach(() => {
  process.env.PATH = path;
  rmSync(directory, { recursive: true, force: true });
});
const program = (name: string): string => {
  const file = join(directory, name);
  writeFileSync(file, "#!/bin/true\n");
  chmodSync(file, 0o755);
  return file;
};
const refusal = (name: string, configured: ReadonlyMap<string, string> = new Map()): string => {
  try {
    resolveRuntimeName(name, configured);
  } catch (error) {
    expect(error).toMatchObject({ kind: "unknown" });
    return (error as Error).message;
  }
  throw new Error(`${name} was resolved`);
};

describe("a runtime name", () => {
  it.each(["io.containerd.runc.v2", "io.berth.v1"])("%s leads to the built-in shim", (name) => {
    expect(resolveRuntimeName(name, new Map())).toEqual({ builtIn: true });
  });

  it("leads to the binary that containerd's rule gives, found in PATH", () => {
    process.env.PATH = directory;
    const binary = program("containerd-shim-kata-v2");
    expect(resolveRuntimeName("io.containerd.kata.v2", new Map())).toEqual({ builtIn: false, binary });
  });

  it("that is an absolute path is that program", () => {
    const binary = program("my-shim");
    expect(resolveRuntimeName(binary, new Map())).toEqual({ builtIn: false, binary });
  });

  it("that the configuration maps leads there, the built-in ones too", () => {
    const binary = program("other");
    const configured = new Map([["io.containerd.runc.v2", binary]]);
    expect(resolveRuntimeName("io.containerd.runc.v2", configured)).toEqual({ builtIn: false, binary });
  });

  it("is refused in containerd's words when nothing serves it", () => {
    expect(refusal("io.containerd.nosuch.v9")).toBe(
      `${prefix}runtime "io.containerd.nosuch.v9" binary not installed "containerd-shim-nosuch-v9": file does not exist`,
    );
    expect(refusal("/no/such/shim")).toBe(
      `${prefix}invalid custom binary path: stat /no/such/shim: no such file or directory`,
    );
    expect(refusal("x", new Map([["x", "/no/such"]]))).toContain("stat /no/such");
  });

  it.each(["", "runc", "a/b.c", "a..b", ".", "./shim.v1"])("%j is none", (name) => {
    expect(refusal(name)).toBe(
      `${prefix}invalid runtime name ${name}, correct runtime name should be either format like \`io.containerd.runc.v1\` or a full path to the binary`,
    );
  });
});
