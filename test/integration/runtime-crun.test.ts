/** The same driver with crun: nothing of runc's inner workings is assumed of it. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { installed, unavailable } from "./runtime-fixture.js";

const canRun = unavailable === "" && installed("crun") && existsSync("/sys/fs/cgroup/memory");
if (!canRun) console.warn("SKIPPED: the crun test needs root, crun, busybox and cgroup v1");

it.skipIf(!canRun)(
  "crun carries a container through its life, by its own start and delete",
  async () => {
    const script = fileURLToPath(new URL("runtime-crun-life.ts", import.meta.url));
    // crun 1.8 refuses a machine where cgroup2 is mounted beside v1.
    const line = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$0" --import tsx "$1"';
    const { stdout } = await promisify(execFile)(
      "unshare",
      ["-m", "sh", "-c", line, process.execPath, script],
      {
        timeout: 30_000,
      },
    );
    expect(JSON.parse(stdout)).toEqual({
      created: "created",
      startedBy: "runtime",
      running: "running",
      ownPids: 1,
      pidsLimit: 20,
      execStatus: 3,
      execError: expect.stringMatching(/^OCI runtime exec failed: .*executable file.*not found/),
      paused: "paused",
      exitStatus: 137,
      killError: "process already finished",
      deletedBy: "runtime",
      left: false,
      createError: expect.stringMatching(/^OCI runtime create failed: .*No such file or directory/),
    });
  },
  40_000,
);
