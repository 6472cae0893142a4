/** The OCI runtime driver and its shortcuts against real runc. */
import { appendFileSync, chmodSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { silentLogger } from "../../src/core/logger.js";
import { closeFd, makePipe, readFd, setNonblocking } from "../../src/native/fds.js";
import { processStat, sendSignal, signalGroup } from "../../src/native/process.js";
import { receiveTerminal, setWindowSize, windowSize } from "../../src/native/pty.js";
import { createOciRuntime } from "../../src/runtime/oci-runtime.js";
import { deleteStopped } from "../../src/runtime/quick-delete.js";
import { createRuntimeProbe, type RuntimeProbe } from "../../src/runtime/runtime-probe.js";
import { startContainer } from "../../src/runtime/start-gate.js";
import { createContainer, type Fixture, nullStdio, openFixture, unavailable } from "./runtime-fixture.js";

const SIGKILL = 9;

describe.skipIf(unavailable !== "")("the runc driver", () => {
  let fixture: Fixture;
  let probe: RuntimeProbe;

  beforeAll(() => {
    fixture = openFixture();
    probe = createRuntimeProbe({ spawn: fixture.reaper.spawn, killGroup: signalGroup });
  });
  afterAll(() => fixture.close());

  const untilState = async (call: { id: string; bundle: string }, wanted: string): Promise<void> => {
    for (const end = Date.now() + 10_000; Date.now() < end; ) {
      if ((await fixture.runtime.state(call)).status === wanted) return;
    }
    throw new Error(`container never became ${wanted}`);
  };

  it("create, start, exec, kill and delete carry a container through its life", async () => {
    const container = fixture.bundle({ args: ["sleep", "600"] });
    const init = await createContainer(fixture, container);
    expect(readFileSync(container.pidFile, "latin1")).toBe(String(init.pid));
    expect(await fixture.runtime.state(container)).toMatchObject({ status: "created", pid: init.pid });
    await fixture.runtime.start(container);
    await untilState(container, "running");
    expect(await fixture.runtime.ps(container)).toEqual([init.pid]);

    const [read, write] = makePipe();
    const processFile = join(container.bundle, "exec.json");
    writeFileSync(
      processFile,
      JSON.stringify({ args: ["echo", "hello"], cwd: "/", user: { uid: 0, gid: 0 }, env: ["PATH=/bin"] }),
    );
    const since = fixture.reaper.mark();
    const { pid } = await fixture.runtime.exec({
      ...container,
      processFile,
      pidFile: join(container.bundle, "e1.pid"),
      stdio: ["null", write, write],
    });
    closeFd(write);
    const exit = await new Promise((resolve) => fixture.reaper.watch(pid, resolve, since));
    expect(exit).toMatchObject({ pid, exitStatus: 0 });
    const buffer = Buffer.alloc(64);
    expect(buffer.toString("latin1", 0, readFd(read, buffer))).toBe("hello\n");
    closeFd(read);

    await fixture.runtime.pause(container);
    expect((await fixture.runtime.state(container)).status).toBe("paused");
    await fixture.runtime.resume(container);
    await fixture.runtime.update({ ...container, resources: Buffer.from('{"pids":{"limit":77}}') });
    expect(readFileSync(`/sys/fs/cgroup/pids${container.cgroupsPath}/pids.max`, "latin1").trim()).toBe("77");
    await fixture.runtime.kill({ ...container, signal: SIGKILL, all: false });
    expect(await init.exited).toMatchObject({ exitStatus: 137, signalled: true });
    await fixture.runtime.delete({ ...container, force: false });
    await fixture.runtime.delete({ ...container, force: false });
  });

  it("a program that does not exist fails create in runc's words and leaves nothing", async () => {
    const container = fixture.bundle({ args: ["/x"] });
    await expect(createContainer(fixture, container)).rejects.toMatchObject({
      kind: "unknown",
      message:
        'OCI runtime create failed: runc create failed: unable to start container process: exec: "/x": stat /x: no such file or directory',
    });
    expect(existsSync(container.pidFile)).toBe(false);
    expect(existsSync(join(fixture.runtime.root, container.id))).toBe(false);
  });

  it("an error that an earlier call left in log.json is not taken for this call's", async () => {
    const container = fixture.bundle({ args: ["sleep", "600"] });
    appendFileSync(join(container.bundle, "log.json"), '{"level":"error","msg":"an old error","time":"t"}\n');
    const init = await createContainer(fixture, container);
    await fixture.runtime.start(container);
    await expect(fixture.runtime.start(container)).rejects.toThrow(
      "OCI runtime start failed: cannot start an already running container",
    );
    await fixture.runtime.kill({ ...container, signal: SIGKILL, all: false });
    await init.exited;
  });

  it("an exec of a program that does not exist fails in runc's words", async () => {
    const container = fixture.bundle({ args: ["sleep", "600"] });
    const init = await createContainer(fixture, container);
    await fixture.runtime.start(container);
    const processFile = join(container.bundle, "exec.json");
    writeFileSync(
      processFile,
      JSON.stringify({ args: ["nosuch"], cwd: "/", user: { uid: 0, gid: 0 }, env: ["PATH=/bin"] }),
    );
    await expect(
      fixture.runtime.exec({
        ...container,
        processFile,
        pidFile: join(container.bundle, "e.pid"),
        stdio: nullStdio,
      }),
    ).rejects.toThrow(
      'OCI runtime exec failed: exec failed: unable to start container process: exec: "nosuch": executable file not found in $PATH',
    );
    sendSignal(init.pid, SIGKILL);
    await init.exited;
  });

  it("kill answers what it met in containerd's words", async () => {
    const container = fixture.bundle({ args: ["sleep", "600"] });
    await expect(fixture.runtime.kill({ ...container, signal: SIGKILL, all: false })).rejects.toMatchObject({
      kind: "not-found",
      message: "no such container",
    });
    const init = await createContainer(fixture, container);
    await fixture.runtime.start(container);
    await expect(fixture.runtime.kill({ ...container, signal: 77, all: false })).rejects.toMatchObject({
      kind: "unknown",
      message:
        "unknown error after kill: runc did not terminate successfully: exit status 1: unable to signal init: invalid argument\n",
    });
    await fixture.runtime.kill({ ...container, signal: SIGKILL, all: true });
    await init.exited;
    await expect(fixture.runtime.kill({ ...container, signal: SIGKILL, all: false })).rejects.toMatchObject({
      kind: "not-found",
      message: "process already finished",
    });
  });

  it("a runtime binary that does not exist is told as containerd tells it", async () => {
    const container = fixture.bundle({ args: ["true"] });
    const options = {
      root: fixture.runtime.root,
      systemdCgroup: false,
      spawn: fixture.reaper.spawn,
      killGroup: signalGroup,
      log: silentLogger,
    };
    const call = { ...container, stdio: nullStdio };
    const noLog = `unable to retrieve OCI runtime error (open ${container.bundle}/log.json: no such file or directory)`;
    await expect(
      createOciRuntime({ ...options, binary: "/proc/no-such-directory/runc" }).create(call),
    ).rejects.toThrow(
      `OCI runtime create failed: ${noLog}: fork/exec /proc/no-such-directory/runc: no such file or directory`,
    );
    await expect(createOciRuntime({ ...options, binary: "no-such-runc" }).create(call)).rejects.toThrow(
      `OCI runtime create failed: ${noLog}: exec: "no-such-runc": executable file not found in $PATH`,
    );
    await expect(
      createOciRuntime({ ...options, binary: "runc" }).create({
        ...call,
        bundle: "/proc/no-such-bundle",
        logFile: join(container.bundle, "log.json"),
      }),
    ).rejects.toThrow("chdir /proc/no-such-bundle: no such file or directory");
  });

  it("a runtime that hangs is killed with its children at the deadline, and its last log line is told", async () => {
    const container = fixture.bundle({ args: ["true"] });
    const fake = join(fixture.directory, "hanging-runc");
    writeFileSync(
      fake,
      `#!/bin/sh\nwhile [ "$1" != --log ]; do shift; done\necho '{"level":"info","msg":"waiting for the moon"}' >> "$2"\nsleep 600 &\necho $! > ${fixture.directory}/child\nwait\n`,
    );
    chmodSync(fake, 0o755);
    const runtime = createOciRuntime({
      binary: fake,
      root: fixture.runtime.root,
      systemdCgroup: false,
      spawn: fixture.reaper.spawn,
      killGroup: signalGroup,
      log: silentLogger,
    });
    const started = performance.now();
    await expect(runtime.create({ ...container, stdio: nullStdio, deadlineMs: 300 })).rejects.toMatchObject({
      kind: "deadline-exceeded",
      message: expect.stringContaining("waiting for the moon"),
    });
    expect(performance.now() - started).toBeLessThan(2500);
    const child = Number(readFileSync(join(fixture.directory, "child"), "latin1"));
    for (const end = Date.now() + 5000; processStat(child) !== undefined; fixture.reaper.reapNow()) {
      expect(Date.now(), "the hanging runtime's child is still there").toBeLessThan(end);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  });

  it("a terminal arrives through the console socket, with a size that can be set", async () => {
    const container = fixture.bundle({
      args: ["sh", "-c", "stty size; read line; stty size"],
      terminal: true,
    });
    const consoleSocket = join(fixture.directory, "pty.sock");
    const master = new Promise<number>((resolve, reject) => {
      const server = createServer({ pauseOnConnect: true }, (connection) => {
        // node:net has no way to receive descriptors, so read the socket beneath it.
        const { fd } = (connection as unknown as { _handle: { fd: number } })._handle;
        const attempt = (): void => {
          const received = receiveTerminal(fd);
          if (received === undefined) return void setTimeout(attempt, 1);
          connection.destroy();
          server.close();
          resolve(received);
        };
        attempt();
      });
      server.on("error", reject);
      server.listen(consoleSocket);
    });
    await new Promise((resolve) => setImmediate(resolve));
    const since = fixture.reaper.mark();
    const { pid } = await fixture.runtime.create({ ...container, stdio: nullStdio, consoleSocket });
    const exited = new Promise((resolve) => fixture.reaper.watch(pid, resolve, since));
    const fd = await master;
    setNonblocking(fd, true);
    setWindowSize(fd, { columns: 132, rows: 43 });
    expect(windowSize(fd)).toEqual({ columns: 132, rows: 43 });
    await startContainer(fixture.runtime, probe, { ...container, pid });
    let output = "";
    const buffer = Buffer.alloc(4096);
    for (const end = Date.now() + 10_000; !output.includes("43 132"); ) {
      expect(Date.now(), output).toBeLessThan(end);
      const count = readFd(fd, buffer) ?? 0;
      output += buffer.toString("latin1", 0, count);
      if (count === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    sendSignal(pid, SIGKILL);
    await exited;
    closeFd(fd);
  });

  describe("starting through the FIFO", () => {
    it("does what runc start does: state, exec and delete find a running container", async () => {
      const container = fixture.bundle({ args: ["sleep", "600"] });
      const init = await createContainer(fixture, container);
      expect(await startContainer(fixture.runtime, probe, { ...container, pid: init.pid })).toBe("gate");
      expect(await fixture.runtime.state(container)).toMatchObject({ status: "running", pid: init.pid });
      expect(existsSync(join(fixture.runtime.root, container.id, "exec.fifo"))).toBe(false);
      await expect(fixture.runtime.start(container)).rejects.toThrow(
        "cannot start an already running container",
      );
      const processFile = join(container.bundle, "exec.json");
      writeFileSync(
        processFile,
        JSON.stringify({ args: ["true"], cwd: "/", user: { uid: 0, gid: 0 }, env: ["PATH=/bin"] }),
      );
      const since = fixture.reaper.mark();
      const { pid } = await fixture.runtime.exec({
        ...container,
        processFile,
        pidFile: join(container.bundle, "e.pid"),
        stdio: nullStdio,
      });
      expect(await new Promise((resolve) => fixture.reaper.watch(pid, resolve, since))).toMatchObject({
        exitStatus: 0,
      });
      await fixture.runtime.kill({ ...container, signal: SIGKILL, all: false });
      expect((await init.exited).exitStatus).toBe(137);
      expect((await fixture.runtime.state(container)).status).toBe("stopped");
      await fixture.runtime.delete({ ...container, force: false });
      expect(existsSync(join(fixture.runtime.root, container.id))).toBe(false);
    });

    it("a program that ends at once has started", async () => {
      const container = fixture.bundle({ args: ["sh", "-c", "exit 5"] });
      const init = await createContainer(fixture, container);
      expect(await startContainer(fixture.runtime, probe, { ...container, pid: init.pid })).toBe("gate");
      expect((await init.exited).exitStatus).toBe(5);
    });

    it("a second start is refused in runc's words", async () => {
      const container = fixture.bundle({ args: ["sleep", "600"] });
      const init = await createContainer(fixture, container);
      await startContainer(fixture.runtime, probe, { ...container, pid: init.pid });
      await expect(startContainer(fixture.runtime, probe, { ...container, pid: init.pid })).rejects.toThrow(
        "OCI runtime start failed: cannot start an already running container",
      );
      sendSignal(init.pid, SIGKILL);
      await init.exited;
    });

    it("a container whose init was killed before the start is refused in runc's words", async () => {
      const container = fixture.bundle({ args: ["sleep", "600"] });
      const init = await createContainer(fixture, container);
      sendSignal(init.pid, SIGKILL);
      await init.exited;
      await expect(startContainer(fixture.runtime, probe, { ...container, pid: init.pid })).rejects.toThrow(
        "OCI runtime start failed: cannot start a container that has stopped",
      );
    });

    it("a stopped init that cannot open the FIFO ends in deadline-exceeded, and the container can be deleted", async () => {
      const container = fixture.bundle({ args: ["sleep", "600"] });
      const init = await createContainer(fixture, container);
      // Wait until init sleeps in open(2) of the FIFO, then stop it there.
      sendSignal(init.pid, 19);
      const attempt = startContainer(fixture.runtime, probe, {
        ...container,
        pid: init.pid,
        deadlineMs: 200,
      });
      await expect(attempt).rejects.toMatchObject({ kind: "deadline-exceeded" });
      sendSignal(init.pid, SIGKILL);
      await init.exited;
      await fixture.runtime.delete({ ...container, force: true });
    });

    it("poststart hooks are left to the runtime", async () => {
      const hook = { poststart: [{ path: "/bin/true" }] };
      const container = fixture.bundle({ args: ["sleep", "600"], hooks: hook });
      const init = await createContainer(fixture, container);
      expect(await startContainer(fixture.runtime, probe, { ...container, pid: init.pid })).toBe("runtime");
      sendSignal(init.pid, SIGKILL);
      await init.exited;
    });
  });

  describe("deleting without the runtime", () => {
    const stopped = async (options: Parameters<Fixture["bundle"]>[0]) => {
      const container = fixture.bundle(options);
      const init = await createContainer(fixture, container);
      await startContainer(fixture.runtime, probe, { ...container, pid: init.pid });
      sendSignal(init.pid, SIGKILL);
      await init.exited;
      return container;
    };
    const cgroupsOf = (path: string): string[] =>
      ["cpu", "memory", "pids", "freezer", "devices", "systemd", "unified"]
        .map((controller) => `/sys/fs/cgroup/${controller}${path}`)
        .filter((directory) => existsSync(directory));

    it("a stopped container's cgroups and state are gone, and its id is free", async () => {
      const container = await stopped({ args: ["sleep", "600"] });
      expect(cgroupsOf(container.cgroupsPath).length).toBeGreaterThan(0);
      expect(await deleteStopped(fixture.runtime, probe, container)).toBe("quick");
      expect(cgroupsOf(container.cgroupsPath)).toEqual([]);
      expect(existsSync(join(fixture.runtime.root, container.id))).toBe(false);
      await fixture.runtime.create({ ...container, stdio: nullStdio });
    });

    it("a running container is not touched by the shortcut: the runtime ends it", async () => {
      const container = fixture.bundle({ args: ["sleep", "600"] });
      const init = await createContainer(fixture, container);
      expect(await deleteStopped(fixture.runtime, probe, container)).toBe("runtime");
      expect((await init.exited).exitStatus).toBe(137);
    });

    it("poststop hooks and shared pid namespaces are left to the runtime", async () => {
      const marker = join(fixture.directory, "poststop-ran");
      const hooked = await stopped({
        args: ["sleep", "600"],
        hooks: { poststop: [{ path: "/bin/sh", args: ["sh", "-c", `echo ran > ${marker}`] }] },
      });
      expect(await deleteStopped(fixture.runtime, probe, hooked)).toBe("runtime");
      expect(existsSync(marker)).toBe(true);
      const sharing = await stopped({ args: ["sleep", "600"], sharePidNamespace: true });
      expect(await deleteStopped(fixture.runtime, probe, sharing)).toBe("runtime");
    });
  });
});
