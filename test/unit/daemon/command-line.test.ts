import { describe, expect, it } from "vitest";
import { defaultConfigPath, parseCommandLine, usage } from "../../../src/daemon/command-line.js";

const refusal = (...args: string[]): string => {
  try {
    parseCommandLine(args);
  } catch (error) {
    expect(error).toMatchObject({ kind: "invalid-argument" });
    return (error as Error).message;
  }
  throw new Error(`${args.join(" ")} was taken`);
};

describe("the command line of berthd", () => {
  it("without words serves, with the default file if there is one", () => {
    expect(parseCommandLine([])).toEqual({
      kind: "serve",
      configFile: { path: defaultConfigPath, required: false },
      overrides: {},
    });
  });

  it("is that with which dockerd starts its containerd", () => {
    expect(
      parseCommandLine(["--config", "/var/run/docker/containerd/containerd.toml", "--log-level", "info"]),
    ).toEqual({
      kind: "serve",
      configFile: { path: "/var/run/docker/containerd/containerd.toml", required: true },
      overrides: { logLevel: "info" },
    });
  });

  it("knows containerd's short and long flags, with and without an equals sign", () => {
    expect(
      parseCommandLine([
        "-c",
        "/c",
        "--root=/r",
        "--state",
        "/s",
        "-a",
        "/a.sock",
        "-l",
        "warning",
        "--metrics-address",
        ":1",
      ]),
    ).toEqual({
      kind: "serve",
      configFile: { path: "/c", required: true },
      overrides: { root: "/r", state: "/s", grpcAddress: "/a.sock", logLevel: "warn", metricsAddress: ":1" },
    });
    expect(parseCommandLine(["-l", "panic"])).toMatchObject({ overrides: { logLevel: "fatal" } });
  });

  it.each([
    [["--help"], "help"],
    [["-h", "--root", "x"], "help"],
    [["-v"], "version"],
    [["config", "default"], "config-default"],
    [["--root", "/r", "config", "dump"], "config-dump"],
  ] as const)("%j asks for %s", (args, kind) => {
    expect(parseCommandLine(args).kind).toBe(kind);
  });

  it.each([
    [["--nonsense"], /nonsense.*see berthd --help/],
    [["--root"], /root.*see berthd --help/],
    [["publish"], /^unknown command "publish"; see berthd --help$/],
    [["--root", "here"], /^--root is "here", expected an absolute path$/],
    [["--state", ""], /^--state is "", expected an absolute path$/],
    [["-l", "loud"], /^--log-level is "loud", expected one of trace, debug, info, warn, error, fatal$/],
  ] as const)("%j is refused with a sentence", (args, message) => {
    expect(refusal(...args)).toMatch(message);
  });

  it("is described in full", () => {
    for (const flag of [
      "--config",
      "--root",
      "--state",
      "--address",
      "--metrics-address",
      "--log-level",
      "--version",
    ])
      expect(usage).toContain(flag);
  });
});
