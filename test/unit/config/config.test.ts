import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { loadConfig } from "../../../src/config/config.js";
import { formatDuration, parseDuration } from "../../../src/config/duration.js";
import { renderConfig, renderDefaults } from "../../../src/config/render.js";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "config-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

function load(text: string, overrides: Parameters<typeof loadConfig>[1] = {}) {
  const path = join(directory, "config.toml");
  writeFileSync(path, text);
  return loadConfig({ path, required: true }, overrides);
}
const refused = (text: string): string => {
  try {
    load(text);
  } catch (error) {
    expect(error).toMatchObject({ kind: "invalid-argument" });
    return (error as Error).message;
  }
  throw new Error("was accepted");
};

describe("without a file", () => {
  it("everything has its default, addresses follow from state", () => {
    const { config, unknownKeys } = loadConfig(undefined);
    expect(unknownKeys).toEqual([]);
    expect(config).toMatchObject({
      root: "/var/lib/berth",
      state: "/run/berth",
      grpcAddress: "/run/berth/berth.sock",
      ttrpcAddress: "/run/berth/berth.sock.ttrpc",
      maxRecvBytes: 16 << 20,
      metricsAddress: "",
      logLevel: "info",
      shimCapacity: 256,
      shimGrouping: "packed",
      runtimeConcurrency: availableParallelism() + 1,
    });
    expect(loadConfig(undefined, { state: "/run/other" }).config.grpcAddress).toBe("/run/other/berth.sock");
  });

  it("a missing file is fine unless it was named", () => {
    const path = join(directory, "nope.toml");
    expect(loadConfig({ path, required: false }).config).toEqual(loadConfig(undefined).config);
    expect(() => loadConfig({ path, required: true })).toThrow(
      expect.objectContaining({ kind: "invalid-argument", message: expect.stringContaining(path) }),
    );
  });
});

describe("a file", () => {
  it("made of the printed defaults gives the defaults, and the printed settings give themselves", () => {
    const defaults = load(renderDefaults());
    expect(defaults.unknownKeys).toEqual([]);
    expect(defaults.config).toEqual(loadConfig(undefined).config);
    const changed = load(`
      state = "/run/x"
      [plugins."berth.shim"]
      idle_timeout = "1m30s"
      [plugins."berth.runtimes"]
      "io.containerd.runsc.v1" = "/usr/bin/containerd-shim-runsc-v1"
    `).config;
    expect(changed).toMatchObject({
      shimIdleMs: 90_000,
      runtimes: { "io.containerd.runsc.v1": "/usr/bin/containerd-shim-runsc-v1" },
    });
    expect(load(renderConfig(changed)).config).toEqual(changed);
  });

  it("of Debian's containerd loads, what means nothing here is named", () => {
    const { config, unknownKeys } = load(`
version = 2

[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    [plugins."io.containerd.grpc.v1.cri".cni]
      bin_dir = "/usr/lib/cni"
      conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.internal.v1.opt"]
    path = "/var/lib/containerd/opt"
`);
    expect(config).toEqual(loadConfig(undefined).config);
    expect(unknownKeys).toEqual([
      'plugins."io.containerd.grpc.v1.cri"',
      'plugins."io.containerd.internal.v1.opt"',
    ]);
  });

  it("of containerd 2 loads: version 3, imports, timeouts and all", () => {
    const { config, unknownKeys } = load(`
version = 3
root = '/var/lib/containerd'
state = '/run/containerd'
temp = ''
disabled_plugins = []
imports = ['/etc/containerd/conf.d/*.toml']
oom_score = -999
[grpc]
  address = '/run/containerd/containerd.sock'
  uid = 0
  gid = 998
  tcp_address = ''
[debug]
  address = ''
  level = 'debug'
[timeouts]
  'io.containerd.timeout.shim.load' = '1m'
  'io.containerd.timeout.bolt.open' = '0s'
`);
    expect(config).toMatchObject({
      root: "/var/lib/containerd",
      grpcAddress: "/run/containerd/containerd.sock",
      ttrpcAddress: "/run/containerd/containerd.sock.ttrpc",
      grpcGid: 998,
      oomScore: -999,
      logLevel: "debug",
      shimLoadMs: 60_000,
    });
    expect(unknownKeys).toEqual([
      "temp",
      "disabled_plugins",
      "imports",
      "grpc.tcp_address",
      'timeouts."io.containerd.timeout.bolt.open"',
    ]);
  });

  it("gives way to the command line", () => {
    const { config } = load('root = "/a"\nstate = "/b"\n[debug]\nlevel = "warn"', {
      state: "/c",
      logLevel: "debug",
    });
    expect(config).toMatchObject({
      root: "/a",
      state: "/c",
      grpcAddress: "/c/berth.sock",
      logLevel: "debug",
    });
  });

  it.each([
    ['root = "relative"', 'configuration key root is "relative", expected an absolute path'],
    ["root = 3", "configuration key root is 3, expected an absolute path"],
    ["grpc = 3", "configuration key grpc is 3, expected a table"],
    ["[[grpc]]\nuid = 0", 'configuration key grpc is [{"uid":0}], expected a table'],
    [
      '[grpc]\naddress = "berth.sock"',
      'grpc.address is "berth.sock", expected the absolute path of a unix socket',
    ],
    ['[plugins."berth.shim"]\ncapacity = 0', /plugins\."berth\.shim"\.capacity is 0, expected an integer/],
    ['[plugins."berth.shim"]\ncapacity = 1.5', /capacity is 1.5, expected an integer/],
    [
      '[plugins."berth.shim"]\ngrouping = "none"',
      /grouping is "none", expected one of "packed", "sandbox", "container"/,
    ],
    [
      '[plugins."berth.shim"]\nidle_timeout = 10',
      /idle_timeout is 10, expected a duration such as "5s" or "1m30s"/,
    ],
    ['[plugins."berth.shim"]\nidle_timeout = "10"', /idle_timeout is "10", expected a duration/],
    ['[plugins."berth.runtimes"]\nx = 1', /berth\.runtimes" is \{"x":1\}, expected a table of strings/],
    ["root = ", /config\.toml line 1, column \d+: /],
    [`state = "/${"s".repeat(90)}"`, /too long/],
    [
      `[grpc]\naddress = "/${"s".repeat(101)}"`,
      /grpc\.address .* is too long: the name of a unix socket has at most/,
    ],
    ['root = "/x"\nstate = "/x"', "root and state are both /x, expected two directories"],
  ])("with %j is refused with what would be right", (text, expected) => {
    expect(refused(text)).toMatch(expected);
  });
});

describe("durations", () => {
  it.each([
    ["0", 0],
    ["0s", 0],
    ["5s", 5000],
    ["1m30s", 90_000],
    ["1.5h", 5_400_000],
    [".5s", 500],
    ["1.1s", 1100],
    ["100ms", 100],
    ["250us", 1],
    ["1ns", 1],
    ["", undefined],
    ["5", undefined],
    ["-5s", undefined],
    ["5 s", undefined],
    ["5d", undefined],
    ["s", undefined],
  ])("%j is %j ms", (text, expected) => {
    expect(parseDuration(text)).toBe(expected);
  });

  it("print as what they are read from", () => {
    fc.assert(
      fc.property(fc.nat(10 ** 9), (milliseconds) => {
        expect(parseDuration(formatDuration(milliseconds))).toBe(milliseconds);
      }),
    );
  });
});
