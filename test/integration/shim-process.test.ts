/** The shim as a process: its files, its end, its events while no daemon listens, what a failed creation leaves. */

import { execFileSync } from "node:child_process";
import {
  closeSync,
  constants,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { readUndelivered } from "../../src/shim/event-log.js";
import { readExitRecord } from "../../src/shim/exit-record.js";
import { Envelope } from "../../src/wire/gen/containerd/types/types.js";
import { shimMethods, taskMethods } from "../../src/wire/task-methods.js";
import { cgroupDirectories } from "../support/cgroups.js";
import { makeFifo } from "../support/fifo.js";
import { isAlive, listFds, mountsUnder, processFacts } from "../support/proc.js";
import { processAny } from "../support/spec.js";
import { until } from "../support/until.js";
import {
  type BuiltShim,
  buildShim,
  fdsOf,
  type ShimUnderTest,
  type StartOptions,
  startShim,
  statsOf,
  unavailable,
} from "./shim-harness.js";

describe.skipIf(unavailable !== "")("the shim process", () => {
  let built: BuiltShim;
  let shim: ShimUnderTest;
  const begin = async (options: StartOptions = {}): Promise<void> => {
    shim = await startShim(built, options);
  };
  beforeAll(async () => {
    built = await buildShim();
  }, 60_000);
  afterAll(() => built?.remove());
  afterEach(() => shim?.dispose(), 30_000);

  const ended = (): Promise<true> => until("the shim to end", () => !isAlive(shim.pid));

  it("says its version", () => {
    expect(execFileSync(process.execPath, [built.program, "--version"], { encoding: "utf8" })).toMatch(
      /^berth-shim \S+\n$/,
    );
  });

  it("leaves a private socket and a pid file that names this very process", async () => {
    await begin();
    expect(statSync(join(shim.directory, "shim.sock")).mode & 0o777).toBe(0o600);
    const facts = processFacts(shim.pid);
    expect(JSON.parse(readFileSync(join(shim.directory, "pid"), "utf8"))).toMatchObject({
      pid: shim.pid,
      startTicks: Number(facts?.startTicks),
    });
    expect(await shim.call(shimMethods.ping, {})).toMatchObject({
      shimId: "s1",
      pid: shim.pid,
      namespace: shim.namespace,
    });
  });

  it("ends when it is asked to, unless it has tasks", async () => {
    await begin();
    await shim.create({ id: "c1", args: ["sleep", "1000"] });
    await shim.call(taskMethods.shutdown, { id: "c1", now: false });
    process.kill(shim.pid, "SIGTERM");
    process.kill(shim.pid, "SIGHUP");
    await until("the signal to be refused", () => shim.log().includes("signal ignored"));
    expect((await statsOf(shim)).tasks).toBe(1);
    await shim.delete("c1");
    await shim.call(taskMethods.shutdown, { id: "c1", now: false });
    await ended();
    expect(existsSync(join(shim.directory, "shim.sock"))).toBe(false);
    expect(existsSync(join(shim.directory, "pid"))).toBe(false);
    expect(shim.daemon.of("c1").at(-1)).toBe("delete c1 0");
  });

  it("ends politely at SIGTERM when it is empty", async () => {
    await begin();
    process.kill(shim.pid, "SIGTERM");
    await ended();
  });

  it("ends by itself once it has neither tasks nor a daemon", async () => {
    await begin({ args: ["--orphan-timeout", "300"] });
    await shim.create({ id: "c1", args: ["sleep", "1000"] });
    shim.client.close();
    // A task keeps it alive without any daemon, for longer than the timeout.
    await new Promise((resolve) => setTimeout(resolve, 600));
    expect(isAlive(shim.pid)).toBe(true);
    const other = await shim.connect();
    await taskMethods.delete.call(other, { id: "c1", execId: "" }, { timeoutMs: 10_000 });
    await new Promise((resolve) => setTimeout(resolve, 600));
    expect(isAlive(shim.pid)).toBe(true);
    other.close();
    await ended();
  });

  it("serves a second daemon after the first has vanished, and shows it every task", async () => {
    await begin();
    const pid = await shim.create({ id: "c1", args: ["sleep", "1000"] });
    await shim.start("c1");
    await shim.call(taskMethods.exec, {
      id: "c1",
      execId: "e1",
      terminal: false,
      stdin: "",
      stdout: "",
      stderr: "",
      spec: processAny({ args: ["sleep", "1000"] }),
    });
    shim.client.close();
    const client = await shim.connect();
    const { tasks } = await shimMethods.list.call(client, {}, { timeoutMs: 5000 });
    expect(tasks).toHaveLength(1);
    expect(tasks[0]?.processes.map((state) => [state.id, state.execId, state.pid, state.status])).toEqual([
      ["c1", "", pid, 2],
      ["e1", "e1", 0, 1],
    ]);
    client.close();
  });

  it("keeps events while no daemon listens and delivers them in order when one does, each with its key", async () => {
    await begin({ daemonListens: false });
    for (const id of ["c1", "c2"]) {
      await shim.create({ id, args: ["sh", "-c", "exit 4"] });
      await shim.start(id);
      await shim.wait(id);
      await shim.delete(id);
    }
    expect((await statsOf(shim)).spoolDepth).toBe(8);
    expect(shim.daemon.events).toEqual([]);
    const listening = performance.now();
    await shim.daemon.listen();
    await until("all events", () => shim.daemon.events.length >= 8);
    const [first] = shim.daemon.events;
    expect((first?.at ?? 0) - listening).toBeLessThan(500);
    for (const id of ["c1", "c2"]) {
      expect(shim.daemon.of(id)).toEqual([
        `create ${id}`,
        `start ${id}`,
        `exit ${id} init 4`,
        `delete ${id} 4`,
      ]);
    }
    expect(shim.daemon.events.map((event) => event.key).sort()).toEqual(
      [1, 2, 3, 4, 5, 6, 7, 8].map((sequence) => `s1/${sequence}`),
    );
    expect(new Set(shim.daemon.events.map((event) => event.namespaceHeader))).toEqual(
      new Set([shim.namespace]),
    );
    await until("the spool to empty", async () => (await statsOf(shim)).spoolDepth === 0);
    expect(readUndelivered(join(shim.directory, "spool"))).toEqual([]);
  });

  it("leaves undelivered events and the true exit on disk when it is killed", async () => {
    await begin({ daemonListens: false });
    const pid = await shim.create({ id: "c1", args: ["sh", "-c", "exit 4"] });
    await shim.start("c1");
    await shim.wait("c1");
    process.kill(shim.pid, "SIGKILL");
    await ended();
    const left = readUndelivered(join(shim.directory, "spool"));
    expect(left.map(({ sequence, envelope }) => [sequence, Envelope.decode(envelope).topic])).toEqual([
      [1, "/tasks/create"],
      [2, "/tasks/start"],
      [3, "/tasks/exit"],
    ]);
    const bundle = join(shim.workspace.directory, "b/c1");
    expect(readExitRecord(bundle, "")).toMatchObject({ pid, exitStatus: 4 });
  });

  it("goes on through a daemon that dies between two events", async () => {
    await begin();
    await shim.create({ id: "c1", args: ["sleep", "1000"] });
    await shim.daemon.saw("create c1");
    await shim.daemon.close();
    await shim.start("c1");
    await shim.kill("c1", 9);
    await shim.wait("c1");
    await shim.daemon.listen();
    await shim.daemon.saw("exit c1 init 137");
    expect(shim.daemon.of("c1")).toEqual(["create c1", "start c1", "exit c1 init 137"]);
    await shim.delete("c1");
  });

  const failures: Record<string, { request: Parameters<ShimUnderTest["create"]>[0]; message: RegExp }> = {
    "the program does not exist": {
      request: { id: "bad", args: ["/nope"] },
      message: /^OCI runtime create failed: .*exec: "\/nope": stat \/nope: no such file or directory/,
    },
    "the rootfs does not exist": {
      request: { id: "bad", args: ["true"], spec: { rootfs: "/nonexistent/rootfs" } },
      message: /^OCI runtime create failed: .*no such file or directory/,
    },
    "the runtime does not exist": {
      request: { id: "bad", args: ["true"], options: { binaryName: "/nonexistent/runc" } },
      message:
        /^OCI runtime create failed: unable to retrieve OCI runtime error \(open .*log\.json: no such file or directory\): fork\/exec \/nonexistent\/runc: no such file or directory$/,
    },
    "a mount fails": {
      request: {
        id: "bad",
        args: ["true"],
        spec: { rootfs: "rootfs" },
        rootfs: [{ type: "bind", source: "/nonexistent", target: "", options: ["bind"] }],
      },
      message: /^failed to mount rootfs component .*: no such file or directory$/,
    },
    "stdout has a scheme that nobody knows": {
      request: { id: "bad", args: ["true"], stdout: "zzz:///x" },
      message: /^failed to create init process I\/O: unknown STDIO scheme zzz$/,
    },
  };
  for (const [what, { request, message }] of Object.entries(failures)) {
    it(`leaves nothing when a creation fails because ${what}, and the id is free at once`, async () => {
      await begin();
      const fds = fdsOf(shim);
      await expect(shim.create(request)).rejects.toMatchObject({
        kind: "unknown",
        message: expect.stringMatching(message),
      });
      await expect(shim.call(taskMethods.state, { id: "bad", execId: "" })).rejects.toThrow(
        "container not created",
      );
      expect(mountsUnder(shim.workspace.directory)).toEqual([]);
      expect(cgroupDirectories(shim.namespace)).toEqual([]);
      expect(shim.workspace.processes().filter((pid) => pid !== shim.pid)).toEqual([]);
      const runtimeRoot = join(shim.workspace.directory, "runtime", shim.namespace);
      expect(existsSync(runtimeRoot) ? readdirSync(runtimeRoot) : []).toEqual([]);
      expect(fdsOf(shim)).toEqual(fds);
      expect(await shim.create({ id: "bad", args: ["true"] })).toBeGreaterThan(0);
      await shim.delete("bad");
      await shim.daemon.saw("delete bad 0");
      expect(shim.daemon.of("bad")).toEqual(["create bad", "exit bad init 137", "delete bad 0"]);
    });
  }

  it("fails a creation whose client never opens its FIFO, and leaves nothing", async () => {
    await begin({ args: ["--open-timeout", "300", "--stdio-mode", "pump"] });
    const stdout = makeFifo(join(shim.workspace.directory, "nobody-reads"));
    await expect(shim.create({ id: "c1", args: ["true"], stdout })).rejects.toMatchObject({
      kind: "deadline-exceeded",
    });
    expect(shim.workspace.processes().filter((pid) => pid !== shim.pid)).toEqual([]);
    expect(cgroupDirectories(shim.namespace)).toEqual([]);
  });

  it("tells an exit in time although its client has stopped reading, and frees everything at Delete", async () => {
    await begin({
      args: ["--stdio-mode", "pump", "--drain-timeout", "200", "--delete-drain-timeout", "600"],
    });
    const stdout = makeFifo(join(shim.workspace.directory, "slow"));
    // Held open, never read: FIFO, pump and pipe fill up.
    const holder = openSync(stdout, constants.O_RDWR | constants.O_NONBLOCK);
    try {
      await shim.create({ id: "c1", args: ["cat", "/dev/zero"], stdout });
      await shim.start("c1");
      await until("the pump to be full", async () => (await statsOf(shim)).pumpStreams > 0);
      await shim.kill("c1", 9);
      const killedAt = performance.now();
      expect(await shim.wait("c1")).toBe(137);
      expect(performance.now() - killedAt).toBeLessThan(2000);
      await shim.daemon.saw("exit c1 init 137");
      await shim.delete("c1");
    } finally {
      closeSync(holder);
    }
    const stats = await statsOf(shim);
    expect(stats).toMatchObject({
      stdioProcesses: 0,
      pumpStreams: 0,
      streamTotals: { undrainedProcesses: 1 },
    });
    expect(shim.log()).toContain("output did not drain in time");
    expect(listFds(shim.pid).filter((target) => target === stdout)).toEqual([]);
  });

  it("ends a runtime that hangs at its deadline, tells the caller, and serves others meanwhile", async () => {
    await begin({ args: ["--runtime-timeout", "1500"] });
    const hanging = join(shim.workspace.directory, "hanging-runtime");
    writeFileSync(
      hanging,
      '#!/bin/sh\nfor a in "$@"; do [ "$a" = create ] && exec sleep 1000; done\nexec runc "$@"\n',
      {
        mode: 0o755,
      },
    );
    const stuck = shim.create({ id: "stuck", args: ["true"], options: { binaryName: hanging } });
    const settled = expect(stuck).rejects.toMatchObject({ kind: "deadline-exceeded" });
    await shim.create({ id: "c1", args: ["true"] });
    await shim.start("c1");
    expect(await shim.wait("c1")).toBe(0);
    await shim.delete("c1");
    await settled;
    expect(shim.workspace.processes().filter((pid) => pid !== shim.pid)).toEqual([]);
  });

  const hasCrun = existsSync("/usr/bin/crun");
  it.skipIf(!hasCrun)("runs containers with crun", async () => {
    // crun wants either pure hierarchy; the hybrid's v2 mount is hidden in a mount namespace of the shim's own.
    const hide = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"';
    await begin({ runtime: "crun", launcher: ["unshare", "-m", "sh", "-c", hide, "sh"] });
    const pid = await shim.create({ id: "c1", args: ["sh", "-c", "sleep 1000"] });
    expect(await shim.start("c1")).toBe(pid);
    await shim.call(taskMethods.exec, {
      id: "c1",
      execId: "e1",
      terminal: false,
      stdin: "",
      stdout: "",
      stderr: "",
      spec: processAny({ args: ["sh", "-c", "exit 6"] }),
    });
    await shim.start("c1", "e1");
    expect(await shim.wait("c1", "e1")).toBe(6);
    await shim.delete("c1", "e1");
    await shim.call(taskMethods.pause, { id: "c1" });
    await shim.call(taskMethods.resume, { id: "c1" });
    await shim.kill("c1", 9);
    expect(await shim.wait("c1")).toBe(137);
    await shim.delete("c1");
    await expect(shim.create({ id: "c2", args: ["/nope"] })).rejects.toThrow(
      /OCI runtime create failed: .*no such file/i,
    );
    await shim.daemon.saw("delete c1 137");
  });
});
