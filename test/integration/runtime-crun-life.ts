/**
 * One container's life under crun, told as one line of JSON. A program of its own: crun needs a mount namespace
 * where no cgroup2 is mounted beside v1, and the reaper needs a process without child_process.
 */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { sendSignal, signalGroup } from "../../src/native/process.js";
import { locateCgroups } from "../../src/runtime/cgroups/locate.js";
import { listPids } from "../../src/runtime/cgroups/processes.js";
import { readStats } from "../../src/runtime/cgroups/stats.js";
import { deleteStopped } from "../../src/runtime/quick-delete.js";
import { createRuntimeProbe } from "../../src/runtime/runtime-probe.js";
import { startContainer } from "../../src/runtime/start-gate.js";
import { Metrics } from "../../src/wire/gen/io/containerd/cgroups/v1/cgroups.js";
import { createContainer, nullStdio, openFixture } from "./runtime-fixture.js";

const fixture = openFixture("crun");
const { runtime, reaper } = fixture;
const probe = createRuntimeProbe({ spawn: reaper.spawn, killGroup: signalGroup });
const messageOf = (attempt: Promise<unknown>): Promise<string> =>
  attempt.then(
    () => "succeeded",
    (error: Error) => error.message,
  );

async function life(): Promise<Record<string, unknown>> {
  const container = fixture.bundle({ args: ["sleep", "600"], pidsLimit: 20 });
  const init = await createContainer(fixture, container);
  const created = (await runtime.state(container)).status;
  const startedBy = await startContainer(runtime, probe, { ...container, pid: init.pid });
  const running = (await runtime.state(container)).status;
  const cgroups = locateCgroups(init.pid);
  if (cgroups === undefined) throw new Error("no cgroups");
  const ownPids = listPids(cgroups).length;
  const pidsLimit = Number(Metrics.decode(readStats(cgroups).value).pids?.limit);

  const processFile = join(container.bundle, "exec.json");
  const process = { args: ["sh", "-c", "exit 3"], cwd: "/", user: { uid: 0, gid: 0 }, env: ["PATH=/bin"] };
  writeFileSync(processFile, JSON.stringify(process));
  const pidFile = join(container.bundle, "e1.pid");
  const since = reaper.mark();
  const { pid } = await runtime.exec({ ...container, processFile, pidFile, stdio: nullStdio });
  const execStatus = await new Promise((resolve) =>
    reaper.watch(pid, ({ exitStatus }) => resolve(exitStatus), since),
  );
  writeFileSync(processFile, JSON.stringify({ ...process, args: ["nosuch"] }));
  const execError = await messageOf(runtime.exec({ ...container, processFile, pidFile, stdio: nullStdio }));

  await runtime.pause(container);
  const paused = (await runtime.state(container)).status;
  await runtime.resume(container);
  sendSignal(init.pid, 9);
  const { exitStatus } = await init.exited;
  const killError = await messageOf(runtime.kill({ ...container, signal: 9, all: false }));
  const deletedBy = await deleteStopped(runtime, probe, container);
  const left = existsSync(join(runtime.root, container.id));
  await runtime.delete({ ...container, force: true });
  const missing = fixture.bundle({ args: ["/x"] });
  const createError = await messageOf(createContainer(fixture, missing));
  return {
    created,
    startedBy,
    running,
    ownPids,
    pidsLimit,
    execStatus,
    execError,
    paused,
    exitStatus,
    killError,
    deletedBy,
    left,
    createError,
  };
}

// Waiting for an exit keeps no process alive by itself; the shim has its sockets for that.
const keepAlive = setInterval(() => {}, 60_000);
try {
  console.log(JSON.stringify(await life()));
} finally {
  await fixture.close();
  clearInterval(keepAlive);
}
