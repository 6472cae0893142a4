/** Options.shim_cgroup: the shim's own memory and time are counted where the client says. */
import { existsSync, mkdirSync, readFileSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Options } from "../../src/wire/gen/containerd/runc/v1/runc.js";
import { type Daemon, startDaemon } from "../support/daemon.js";
import { createTask } from "../support/tasks.js";
import { until } from "../support/until.js";

const mountPoint = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"].find((directory) =>
  existsSync(join(directory, "cgroup.procs")),
);
const cgroup = `/berth-shim-cgroup-${process.pid}`;
const directory = join(mountPoint ?? "/nowhere", cgroup);

let daemon: Daemon;
beforeAll(async () => {
  mkdirSync(directory);
  daemon = await startDaemon({ kind: "berthd", config: '[plugins."berth.shim"]\nidle_timeout = "100ms"\n' });
});
afterAll(async () => {
  await daemon.dispose();
  await until("the cgroup to be empty", () => readFileSync(join(directory, "cgroup.procs"), "utf8") === "");
  rmdirSync(directory);
});

const optionsWith = (shimCgroup: string) => ({
  typeUrl: "containerd.runc.v1.Options",
  value: Buffer.from(Options.encode(Options.fromPartial({ shimCgroup })).finish()),
});

describe("the option shim_cgroup", () => {
  it("moves the shim there before its container starts", async () => {
    const task = await createTask(daemon, "n", {
      id: "counted",
      args: ["/bin/sleep", "100"],
      runtimeOptions: optionsWith(cgroup),
    });
    const [shim = 0] = readFileSync(join(directory, "cgroup.procs"), "utf8").split("\n").map(Number);
    expect(readFileSync(`/proc/${shim}/cmdline`, "utf8")).toContain("berth-shim");
    await task.remove();
  });

  it("fails the create when there is no such cgroup, and leaves nothing", async () => {
    const create = createTask(daemon, "other", {
      id: "lost",
      args: ["/bin/true"],
      runtimeOptions: optionsWith("/no/such/cgroup"),
    });
    await expect(create).rejects.toThrow(/failed to join shim_cgroup \/no\/such\/cgroup: no such cgroup/);
  });
});
