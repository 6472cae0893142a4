import { describe, expect, it } from "vitest";
import { planStdio } from "../../../src/shim/stdio/stdio-plan.js";

const stdio = (stdout: string, stderr = "", stdin = "", terminal = false) => ({
  stdin,
  stdout,
  stderr,
  terminal,
});

describe("the plan of a process's stdio", () => {
  it.each([
    ["auto", false, "stderr"],
    ["auto", true, "all"],
    ["direct", true, "none"],
    ["pump", false, "all"],
  ] as const)("mode %s with criu present %s pumps: %s", (mode, criu, pump) => {
    expect(planStdio(stdio("/out"), mode, criu).pump).toBe(pump);
  });

  it("always pumps a terminal and ignores its stderr", () => {
    const plan = planStdio(stdio("/out", "/err", "/in", true), "direct", false);
    expect(plan).toMatchObject({
      pump: "all",
      stdin: "/in",
      stdout: { path: "/out" },
      stderr: { kind: "null" },
    });
  });

  it("takes the scheme from stdout only, and a file for both streams", () => {
    expect(planStdio(stdio("/out", "zzz://err"), "auto", false).stderr).toEqual({
      kind: "path",
      path: "zzz://err",
    });
    const file = planStdio(stdio("file:///var/log/a%20b?x=y", "/ignored"), "auto", false);
    expect(file.stdout).toEqual({ kind: "file", path: "/var/log/a b" });
    expect(file.stderr).toEqual(file.stdout);
  });

  it("opens a fifo:// string literally, as containerd does", () => {
    expect(planStdio(stdio("fifo:///x"), "auto", false).stdout).toEqual({ kind: "path", path: "fifo:///x" });
  });

  it("gives a logger its query as keys and values", () => {
    expect(planStdio(stdio("binary:///bin/log?a=b&flag&c=d%20e"), "auto", false).stdout).toEqual({
      kind: "logger",
      program: "/bin/log",
      args: ["a", "b", "flag", "c", "d e"],
    });
  });

  it("refuses schemes that containerd does not know", () => {
    expect(() => planStdio(stdio("zzz:///x"), "auto", false)).toThrow("unknown STDIO scheme zzz");
    expect(() => planStdio(stdio("", "", "", true), "auto", false)).toThrow(
      "failed to start console copy: stat : no such file or directory",
    );
  });
});
