import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { containerFor, logLabel, type RunOptions, runtimeFor, specFor } from "../../../src/cli/run-plan.js";
import { Options } from "../../../src/wire/gen/containerd/runc/v1/runc.js";

let directory: string;
let rootfs: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "berth-run-plan-"));
  rootfs = join(directory, "rootfs");
  mkdirSync(join(rootfs, "etc"), { recursive: true });
  writeFileSync(join(directory, "file"), "");
});
afterAll(() => rmSync(directory, { recursive: true }));

const plan = (options: RunOptions, args: readonly string[] = ["true"]) =>
  specFor("default", "c1", options, args, undefined);
const container = (options: RunOptions) =>
  containerFor("default", "c1", { rootfs, ...options }, ["true"], undefined);

describe("what run refuses before any call is made", () => {
  it.each<[string, () => unknown, RegExp]>([
    ["no directory at all", () => plan({}), /either --rootfs DIR or --bundle DIR/],
    ["two directories", () => plan({ rootfs, bundle: directory }), /either --rootfs DIR or --bundle DIR/],
    ["a missing rootfs", () => plan({ rootfs: "/no/such" }), /^rootfs \/no\/such does not exist$/],
    ["a rootfs that is a file", () => plan({ rootfs: join(directory, "file") }), /is not a directory$/],
    ["no command", () => plan({ rootfs }, []), /say what to run/],
    ["a bundle without config.json", () => plan({ bundle: rootfs }), /cannot read config\.json/],
    ["a relative --cwd", () => plan({ rootfs, cwd: "tmp" }), /--cwd tmp is not an absolute path/],
    ["an unknown user", () => plan({ rootfs, user: "nobody-here" }), /no user "nobody-here"/],
    [
      "a missing volume",
      () => plan({ rootfs, volume: [{ destination: "/x", source: "/no/such" }] }),
      /does not exist/,
    ],
    ["-d with -t", () => container({ detach: true, tty: true }), /-d leaves the container alone/],
    ["-d with --rm", () => container({ detach: true, rm: true }), /--rm needs somebody who waits/],
    [
      "-t with --log",
      () => container({ tty: true, log: join(directory, "l") }),
      /cannot be combined with --log/,
    ],
    [
      "a log in no directory",
      () => container({ log: "/no/such/dir/l" }),
      /the log's directory \/no\/such\/dir does not exist/,
    ],
    [
      "a missing runtime binary",
      () => container({ runtime: "/no/such/runc" }),
      /runtime \/no\/such\/runc does not exist/,
    ],
  ])("%s", (_name, refused, message) => {
    expect(refused).toThrow(message);
  });
});

describe("what run asks for", () => {
  it("takes a bundle's spec, its relative root made absolute, and puts the flags on top", () => {
    const bundle = join(directory, "bundle");
    mkdirSync(join(bundle, "fs"), { recursive: true });
    const config = {
      ociVersion: "1.0.2",
      process: { user: { uid: 5, gid: 5 }, args: ["old"], cwd: "/", env: ["A=1", "B=2"], terminal: true },
      root: { path: "fs" },
      hooks: { prestart: [] },
      linux: {
        resources: { memory: { limit: 1 }, cpu: { shares: 7 } },
        seccomp: { defaultAction: "SCMP_ACT_ALLOW" },
      },
    };
    writeFileSync(join(bundle, "config.json"), JSON.stringify(config));
    const spec = specFor("ns", "c1", { bundle, env: ["B=3"], memory: 9, cpus: 0.5 }, [], undefined);
    expect(spec).toMatchObject({
      process: { args: ["old"], env: ["A=1", "B=3"], user: { uid: 5 } },
      root: { path: join(bundle, "fs") },
      hooks: { prestart: [] },
      linux: {
        resources: { memory: { limit: 9 }, cpu: { shares: 7, quota: 50_000, period: 100_000 } },
        seccomp: { defaultAction: "SCMP_ACT_ALLOW" },
      },
    });
    // The task's terminal flag and the spec's must agree, or the runtime refuses.
    expect(spec.process).not.toHaveProperty("terminal");
  });

  it("remembers the log in a label, absolute", () => {
    expect(container({ log: join(directory, "x/../l") }).labels).toEqual({
      [logLabel]: join(directory, "l"),
    });
  });

  it.each([
    [undefined, undefined, "io.containerd.runc.v2", undefined],
    ["io.containerd.runsc.v1", undefined, "io.containerd.runsc.v1", undefined],
    ["crun", undefined, "io.containerd.runc.v2", { binaryName: "crun", root: "" }],
    [undefined, "/run/elsewhere", "io.containerd.runc.v2", { binaryName: "", root: "/run/elsewhere" }],
  ])("runtime %s with root %s", (name, root, expected, options) => {
    const runtime = runtimeFor(name, root);
    expect(runtime.name).toBe(expected);
    if (options === undefined) expect(runtime.options).toBeUndefined();
    else {
      expect(runtime.options?.typeUrl).toBe("containerd.runc.v1.Options");
      expect(Options.decode(runtime.options?.value ?? Buffer.of())).toMatchObject(options);
    }
  });
});
