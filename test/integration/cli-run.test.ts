/** What `berth run`, `exec`, `rm` and their kin do to containers of a live daemon, and what they exit with. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { until } from "../support/until.js";
import { type CliHarness, createHarness, daemonKinds } from "./cli-harness.js";

describe.each(daemonKinds())("the berth command on %s", { timeout: 60_000 }, (kind) => {
  let cli: CliHarness;
  let rootfs: string;

  beforeAll(async () => {
    cli = await createHarness(kind);
    rootfs = cli.workspace.rootfs;
  }, 60_000);
  afterAll(() => cli?.dispose(), 60_000);

  const runRm = (...command: readonly string[]) =>
    cli.run("run", "--rm", "--rootfs", rootfs, cli.newId(), "--", ...command);

  it("passes stdout, stderr and the exit status on and removes the container", async () => {
    const result = await runRm("sh", "-c", "echo out; echo err >&2; exit 7");
    expect(result).toEqual({ status: 7, stdout: "out\n", stderr: "err\n" });
    expect(JSON.parse((await cli.run("ps", "-a", "--json")).stdout)).toEqual([]);
  });

  it("delivers all output of a process that exits at once after a burst", async () => {
    const result = await runRm("sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x");
    expect(result.status).toBe(0);
    expect(result.stdout.length).toBe(3_000_000);
  });

  it("copies stdin and lets the process see its end", async () => {
    const id = cli.newId();
    const input = `${"0123456789abcdef".repeat(40_000)}\n`;
    const result = await cli.runWithInput(input, "run", "--rm", "-i", "--rootfs", rootfs, id, "--", "cat");
    expect(result.status).toBe(0);
    expect(result.stdout === input).toBe(true);
  });

  it("turns a death by signal into 128 plus its number", async () => {
    const id = cli.newId();
    const running = cli.start(["run", "--rootfs", rootfs, id, "--", "sh", "-c", "echo up; sleep 60"]);
    await running.printed(/up/);
    expect((await cli.run("kill", "-s", "KILL", id)).status).toBe(0);
    expect((await running.ended).status).toBe(137);
    expect((await cli.run("ps", "-a")).stdout).toMatch(new RegExp(`^${id} +stopped \\(137\\)`, "m"));
    expect((await cli.run("rm", id)).stdout).toBe(`${id}\n`);
  });

  it("exits 127 for a missing program and 126 for one that cannot be executed, leaving nothing behind", async () => {
    const missing = await runRm("no-such-program");
    expect(missing.status).toBe(127);
    expect(missing.stderr).toMatch(/^berth: .*executable file not found in \$PATH\n$/);
    expect((await runRm("/etc/passwd")).status).toBe(126);
    expect(JSON.parse((await cli.run("ps", "-a", "--json")).stdout)).toEqual([]);
  });

  it("applies environment, directory, user, host name and limits", async () => {
    const result = await cli.run(
      "run",
      "--rm",
      ...["--rootfs", rootfs, "-e", "A=b c", "-w", "/tmp", "-u", "worker", "--hostname", "boat"],
      ...["--memory", "48m", "--cpus", "0.5", "--pids-limit", "17", cli.newId(), "--"],
      ...["sh", "-c", 'echo "$A|$(pwd)|$(id -u):$(id -g)|$(hostname)|$PATH"'],
    );
    expect(result.stderr).toBe("");
    expect(result.stdout).toBe(
      "b c|/tmp|1000:1000|boat|/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n",
    );
  });

  it("runs a bundle as it is, and mounts volumes", async () => {
    const bundle = cli.workspace.newDirectory("bundle");
    const shared = cli.workspace.newDirectory("vol");
    writeFileSync(join(shared, "note"), "from outside\n");
    const spec = {
      ociVersion: "1.0.2",
      process: { user: { uid: 0, gid: 0 }, args: ["cat", "/mnt/note"], cwd: "/", env: ["PATH=/bin"] },
      root: { path: "rootfs" },
      mounts: [{ destination: "/proc", type: "proc", source: "proc" }],
      linux: { namespaces: [{ type: "pid" }, { type: "mount" }] },
    };
    writeFileSync(join(bundle, "config.json"), JSON.stringify(spec));
    const missing = await cli.run("run", "--rm", "--bundle", bundle, cli.newId());
    expect(missing.status).toBe(125);
    expect(missing.stderr).toMatch(/rootfs .* does not exist/);
    writeFileSync(join(bundle, "config.json"), JSON.stringify({ ...spec, root: { path: rootfs } }));
    mkdirSync(join(rootfs, "mnt"), { recursive: true });
    const result = await cli.run("run", "--rm", "--bundle", bundle, "-v", `${shared}:/mnt:ro`, cli.newId());
    expect(result).toEqual({ status: 0, stdout: "from outside\n", stderr: "" });
  });

  it("refuses an id that is taken and keeps the container that has it", async () => {
    const id = cli.newId();
    expect((await cli.run("run", "-d", "--rootfs", rootfs, id, "--", "sleep", "60")).stdout).toBe(`${id}\n`);
    const again = await cli.run("run", "--rm", "--rootfs", rootfs, id, "--", "true");
    expect(again.status).toBe(125);
    expect(again.stderr).toBe(`berth: container "${id}": already exists\n`);
    expect((await cli.run("ps", "-q")).stdout).toBe(`${id}\n`);
    const refused = await cli.run("rm", id);
    expect(refused.status).toBe(1);
    expect(refused.stderr).toBe(`berth: container ${id} is running: stop it first, or use rm -f\n`);
    expect((await cli.run("rm", "-f", id)).stdout).toBe(`${id}\n`);
    expect((await cli.run("rm", id)).stderr).toContain("not found");
  });

  it("runs further processes with exec: output, input, status, user, missing programs", async () => {
    const id = cli.newId();
    await cli.run("run", "-d", "--rootfs", rootfs, "-e", "A=base", id, "--", "sleep", "60");
    const run = await cli.run(
      "exec",
      "-u",
      "worker",
      "-e",
      "B=more",
      id,
      "--",
      "sh",
      "-c",
      'echo "$A $B $(id -u)"; exit 5',
    );
    expect(run).toEqual({ status: 5, stdout: "base more 1000\n", stderr: "" });
    expect((await cli.runWithInput("abc", "exec", "-i", id, "--", "wc", "-c")).stdout.trim()).toBe("3");
    expect((await cli.run("exec", id, "--", "no-such-program")).status).toBe(127);
    // Twice with one id: the first must not have left its name behind.
    for (const text of ["one", "two"])
      expect((await cli.run("exec", "--exec-id", "same", id, "--", "echo", text)).stdout).toBe(`${text}\n`);
    const failing = await cli.run("exec", "--exec-id", "same", id, "--", "no-such-program");
    expect(failing.status).toBe(127);
    expect((await cli.run("exec", "--exec-id", "same", id, "--", "true")).status).toBe(0);
    await cli.run("rm", "-f", id);
    const gone = await cli.run("exec", id, "--", "true");
    expect(gone.status).toBe(1);
    expect(gone.stderr).toContain("not found");
  });

  it("pauses and resumes, lists processes, updates limits, stops politely and then by force", async () => {
    const id = cli.newId();
    await cli.run("run", "-d", "--rootfs", rootfs, id, "--", "sleep", "60");
    expect((await cli.run("pause", id)).status).toBe(0);
    expect((await cli.run("ps")).stdout).toMatch(new RegExp(`^${id} +paused`, "m"));
    expect((await cli.run("pause", id)).stderr).toBe("berth: cannot pause a paused container\n");
    expect((await cli.run("resume", id)).status).toBe(0);
    const processes = JSON.parse((await cli.run("top", "--json", id)).stdout);
    expect(processes).toEqual([{ pid: expect.any(Number), execId: "", command: "sleep 60" }]);
    expect((await cli.run("update", "--memory", "40m", id)).status).toBe(0);
    const stats = JSON.parse((await cli.run("stats", "--no-stream", "--json", id)).stdout);
    expect(stats).toMatchObject({ id, memoryLimitBytes: 40 * 1024 ** 2, pids: 1 });
    expect(stats.cpuPercent).toBeGreaterThanOrEqual(0);
    // The first process of a pid namespace ignores TERM unless it has a handler.
    expect((await cli.run("stop", "-t", "200ms", id)).status).toBe(0);
    expect((await cli.run("wait", id)).stdout).toBe("137\n");
    expect((await cli.run("stop", id)).status).toBe(0);
    await cli.run("rm", id);
  });

  it("removes a paused container by force", async () => {
    const id = cli.newId();
    await cli.run("run", "-d", "--rootfs", rootfs, id, "--", "sleep", "60");
    await cli.run("pause", id);
    expect((await cli.run("rm", "-f", id)).status).toBe(0);
    expect((await cli.run("ps", "-a", "-q")).stdout).toBe("");
  });

  it("writes a log that logs prints, tails and follows to the container's exit", async () => {
    const id = cli.newId();
    const log = join(cli.workspace.newDirectory("log"), "out.log");
    await cli.run(
      "run",
      "-d",
      "--rootfs",
      rootfs,
      "--log",
      log,
      id,
      "--",
      "sh",
      "-c",
      "for i in 1 2 3; do echo line $i; done; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo last",
    );
    const following = cli.start(["logs", "-f", "--tail", "1", id]);
    await following.printed(/line 3/);
    await cli.run("exec", id, "--", "touch", "/tmp/go");
    const { status, stdout } = await following.ended;
    expect({ status, stdout }).toEqual({ status: 0, stdout: "line 3\nlast\n" });
    expect((await cli.run("logs", id)).stdout).toBe("line 1\nline 2\nline 3\nlast\n");
    expect(readFileSync(log, "utf8")).toBe("line 1\nline 2\nline 3\nlast\n");
    await cli.run("rm", id);
    const silent = cli.newId();
    await cli.run("run", "-d", "--rootfs", rootfs, silent, "--", "sleep", "60");
    expect((await cli.run("logs", silent)).stderr).toMatch(/has no log/);
    await cli.run("rm", "-f", silent);
  });

  it("inspects a container as one JSON document", async () => {
    const id = cli.newId();
    await cli.run("run", "-d", "--rootfs", rootfs, "-l", "team=a", id, "--", "sleep", "60");
    const [view] = JSON.parse((await cli.run("inspect", id)).stdout);
    expect(view).toMatchObject({
      namespace: cli.namespace,
      container: { id, labels: { team: "a" }, spec: { process: { args: ["sleep", "60"] } } },
      task: { status: "running" },
    });
    await cli.run("rm", "-f", id);
  });

  it("streams events as JSON lines, of the named namespace only, filtered", async () => {
    const id = cli.newId();
    const stream = cli.start([
      "-n",
      cli.namespace,
      "events",
      "--json",
      "--filter",
      `topic~=^/tasks/,event.container_id==${id}`,
      "--filter",
      `topic=="/containers/create",event.id==${id}`,
    ]);
    // Subscribing has no acknowledgement: run until the stream shows something.
    await until("the subscription to be there", async () => {
      await cli.run("run", "--rm", "--rootfs", rootfs, id, "--", "sh", "-c", "exit 3");
      return /\/tasks\/delete/.test(stream.stdout());
    });
    stream.child.kill("SIGINT");
    expect((await stream.ended).status).toBe(130);
    const events = stream
      .stdout()
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    const last = events.slice(events.findLastIndex(({ topic }) => topic === "/tasks/create"));
    expect(last.map(({ topic }) => topic)).toEqual([
      "/tasks/create",
      "/tasks/start",
      "/tasks/exit",
      "/tasks/delete",
    ]);
    expect(last[2]).toMatchObject({
      namespace: cli.namespace,
      event: { containerId: id, id, exitStatus: 3, exitedAt: expect.stringMatching(/^\d{4}-.*Z$/) },
    });
  });

  it("lists, creates and removes namespaces", async () => {
    const name = cli.workspace.newNamespace();
    expect((await cli.run("ns", "create", name, "-l", "a=b")).status).toBe(0);
    expect(JSON.parse((await cli.run("ns", "ls", "--json")).stdout)).toContainEqual({
      name,
      labels: { a: "b" },
    });
    expect((await cli.run("ns", "create", name)).stderr).toContain("already exists");
    expect((await cli.run("ns", "rm", name)).status).toBe(0);
    expect((await cli.run("ns", "ls")).stdout).not.toContain(name);
  });

  it("leaves no FIFO directories behind", () => {
    expect(cli.fifosLeft()).toEqual([]);
    expect(existsSync(rootfs)).toBe(true);
  });
});
