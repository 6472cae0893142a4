/** The foreground of `berth`: signals, terminals, detaching, and a daemon or a reader that goes away. */
import { execFile } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { until } from "../support/until.js";
import { type CliHarness, createHarness, daemonKinds } from "./cli-harness.js";

describe.each(daemonKinds())("a container in the foreground on %s", { timeout: 60_000 }, (kind) => {
  let cli: CliHarness;
  let rootfs: string;

  beforeAll(async () => {
    cli = await createHarness(kind);
    rootfs = cli.workspace.rootfs;
  }, 60_000);
  afterAll(() => cli?.dispose(), 60_000);

  const expectNothingLeft = async (): Promise<void> => {
    expect((await cli.run("ps", "-a", "-q")).stdout).toBe("");
    expect(cli.fifosLeft()).toEqual([]);
  };

  it("gets the signals that berth gets", async () => {
    const script = "trap 'echo got int; exit 9' INT; echo ready; while :; do sleep 0.05; done";
    const running = cli.start(["run", "--rm", "--rootfs", rootfs, cli.newId(), "--", "sh", "-c", script]);
    await running.printed(/ready/);
    running.child.kill("SIGINT");
    expect(await running.ended).toEqual({ status: 9, stdout: "ready\ngot int\n", stderr: "" });
    await expectNothingLeft();
  });

  it("is killed by the third interrupt when it ignores the first two", async () => {
    const script = "trap 'echo ignored' TERM; echo ready; while :; do sleep 0.05; done";
    const running = cli.start(["run", "--rm", "--rootfs", rootfs, cli.newId(), "--", "sh", "-c", script]);
    await running.printed(/ready/);
    running.child.kill("SIGTERM");
    await running.printed(/ignored/);
    running.child.kill("SIGTERM");
    await running.printed(/ignored\nignored/);
    expect(running.stderr()).toBe("berth: the container has not exited yet; once more to kill it\n");
    running.child.kill("SIGTERM");
    expect((await running.ended).status).toBe(137);
    await expectNothingLeft();
  });

  it("is killed when nobody reads its output any more", async () => {
    const running = cli.start(["run", "--rm", "--rootfs", rootfs, cli.newId(), "--", "yes"]);
    await running.printed(/y\n/);
    running.child.stdout.destroy();
    expect((await running.ended).status).toBe(137);
    await expectNothingLeft();
  });

  it("passes signals to a process of exec, not to the container", async () => {
    const id = cli.newId();
    await cli.run("run", "-d", "--rootfs", rootfs, id, "--", "sleep", "60");
    const running = cli.start([
      "exec",
      id,
      "--",
      "sh",
      "-c",
      "trap 'exit 4' TERM; echo on; while :; do sleep 0.05; done",
    ]);
    await running.printed(/on/);
    running.child.kill("SIGTERM");
    expect((await running.ended).status).toBe(4);
    expect((await cli.run("ps", "-q")).stdout).toBe(`${id}\n`);
    await cli.run("rm", "-f", id);
  });

  it("does not wait for a background child of an exec that keeps its output open", async () => {
    const id = cli.newId();
    await cli.run("run", "-d", "--rootfs", rootfs, id, "--", "sleep", "60");
    const startedAt = performance.now();
    const result = await cli.run("exec", id, "--", "sh", "-c", "sleep 50 & echo done");
    expect(result).toMatchObject({ status: 0, stdout: "done\n" });
    expect(performance.now() - startedAt).toBeLessThan(20_000);
    await cli.run("rm", "-f", id);
  });

  it("on a terminal has its size, follows its changes, and leaves it as it was", async () => {
    const script =
      "trap 'stty size' WINCH; stty size; echo ready; while [ ! -e /tmp/$0 ]; do sleep 0.05; done";
    const id = cli.newId();
    const terminal = cli.startOnTerminal(
      [
        "stty rows 33 cols 99; stty -g",
        `$BERTH run --rm -t --rootfs ${rootfs} ${id} -- sh -c "${script.replaceAll("$0", `go-${id}`)}"`,
        "echo status $?; stty -g",
      ].join("\n"),
    );
    await terminal.printed(/33 99\r\nready/);
    const pid = await until("the command to be on the terminal", () => commandOnTerminal(cli.program));
    await resizeTerminalOf(pid, 40, 120);
    await terminal.printed(/40 120/);
    await cli.run("exec", id, "--", "touch", `/tmp/go-${id}`);
    const { stdout } = await terminal.ended;
    expect(stdout).toMatch(/status 0\r\n/);
    const modes = [...stdout.matchAll(/^[0-9a-f]+(?::[0-9a-f]+)+\r?$/gm)].map(([mode]) => mode.trim());
    expect(modes).toHaveLength(2);
    expect(modes[1]).toBe(modes[0]);
    await expectNothingLeft();
  });

  it("on a terminal can be left with ctrl-p ctrl-q and come back to", async () => {
    const id = cli.newId();
    const terminal = cli.startOnTerminal(
      `$BERTH run -t -i --rootfs ${rootfs} ${id} -- sh -c 'echo ready; while read x; do echo "<$x>"; [ "$x" = end ] && exit 6; done'; echo status $?`,
    );
    await terminal.printed(/ready/);
    terminal.child.stdin.write("first\r");
    await terminal.printed(/<first>/);
    terminal.child.stdin.write("\u0010\u0011");
    await terminal.printed(/status 0/);
    await terminal.ended;
    expect((await cli.run("ps")).stdout).toMatch(new RegExp(`^${id} +running`, "m"));

    const again = cli.startOnTerminal(`$BERTH attach ${id}; echo status $?`);
    // The window has no size here, so nothing tells when it is attached but an answer.
    await until(
      "an answer of the container",
      async () => {
        again.child.stdin.write("second\r");
        return /<second>/.test(again.stdout());
      },
      { intervalMs: 200 },
    );
    again.child.stdin.write("end\r");
    await again.printed(/status 6/);
    await again.ended;
    await cli.run("rm", id);
    await expectNothingLeft();
  });

  it("on a terminal fed from a pipe sees the end of input", async () => {
    const result = await cli.runWithInput(
      "hello\n",
      "run",
      "--rm",
      "-t",
      "-i",
      "--rootfs",
      rootfs,
      cli.newId(),
      "--",
      "cat",
    );
    expect(result.status).toBe(0);
    expect(result.stdout).toContain("hello\r\nhello\r\n");
  });

  it("outlives a daemon that is killed, and berth still learns its exit status", async () => {
    if (cli.restartDaemon === undefined) return;
    const id = cli.newId();
    const script = "echo ready; while [ ! -e /tmp/restarted ]; do sleep 0.05; done; echo after; exit 21";
    const running = cli.start(["run", "--rm", "--rootfs", rootfs, id, "--", "sh", "-c", script]);
    await running.printed(/ready/);
    await cli.restartDaemon();
    expect((await cli.run("exec", id, "--", "touch", "/tmp/restarted")).status).toBe(0);
    const result = await running.ended;
    expect(result).toEqual({
      status: 21,
      stdout: "ready\nafter\n",
      stderr: "berth: lost the daemon; waiting for it to come back\n",
    });
    await expectNothingLeft();
  });
});

/** The berth command that runs on a terminal of its own: `script` is its grandparent. */
function commandOnTerminal(program: string): number | undefined {
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const words = readFileSync(`/proc/${name}/cmdline`, "utf8").split("\0");
      if (words[1] === program && words[2] === "run") return Number(name);
    } catch {
      // Gone while we looked.
    }
  }
  return undefined;
}

function resizeTerminalOf(pid: number, rows: number, columns: number): Promise<void> {
  const tty = readlinkSync(`/proc/${pid}/fd/0`);
  return new Promise((resolve, reject) => {
    execFile("stty", ["-F", tty, "rows", String(rows), "cols", String(columns)], (error) =>
      error === null ? resolve() : reject(error),
    );
  });
}
