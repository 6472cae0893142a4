/** A container's annotation decides whether its output is pumped or the client's FIFO itself. */
import { readlinkSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Daemon, startDaemon } from "../support/daemon.js";
import { containerSpec, jsonAny, specTypeUrl } from "../support/spec.js";
import { createTask } from "../support/tasks.js";

let daemon: Daemon;
beforeAll(async () => {
  daemon = await startDaemon({ kind: "berthd" });
});
afterAll(async () => {
  await daemon.dispose();
});

const specWith = (id: string, mode: string) =>
  jsonAny(specTypeUrl, {
    ...containerSpec({
      rootfs: daemon.workspace.rootfs,
      cgroupsPath: `/n/${id}`,
      args: ["/bin/sleep", "100"],
    }),
    annotations: { "io.berth.stdio.mode": mode },
  });

describe("the stdio annotation", () => {
  it.each([
    ["pump", /^pipe:/, /^pipe:/],
    ["direct", /-out$/, /-err$/],
    ["auto", /-out$/, /^pipe:/],
  ])("%s decides what the process has as stdout and stderr", async (mode, stdout, stderr) => {
    const id = `annotated-${mode}`;
    const task = await createTask(daemon, "n", {
      id,
      args: [],
      spec: specWith(id, mode),
      fifos: daemon.workspace.directory,
    });
    await task.start();
    expect(readlinkSync(`/proc/${task.pid}/fd/1`)).toMatch(stdout);
    expect(readlinkSync(`/proc/${task.pid}/fd/2`)).toMatch(stderr);
    await task.remove();
  });

  it("refuses a mode that it does not know, and says which there are", async () => {
    await expect(
      createTask(daemon, "n", { id: "odd", args: [], spec: specWith("odd", "sideways") }),
    ).rejects.toThrow(/io\.berth\.stdio\.mode is "sideways", expected one of auto, direct, pump/);
  });
});
