/** The command line as a whole, up to the first call: usage errors, help, and talking to nobody. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { runCli } from "../../../src/cli/program.js";

let directory: string;
let server: Server | undefined;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "berth-cli-"));
});
afterEach(async () => {
  await new Promise((done) => (server === undefined ? done(undefined) : server.close(done)));
  server = undefined;
  rmSync(directory, { recursive: true });
});

async function berth(...args: readonly string[]) {
  const stdin = new PassThrough();
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  // No daemon listens here: a command that makes a call before it has checked its input says so.
  const status = await runCli(
    args,
    { stdin, stdout, stderr },
    { BERTH_ADDRESS: join(directory, "none.sock") },
  );
  return { status, stdout: String(stdout.read() ?? ""), stderr: String(stderr.read() ?? "") };
}

describe("the command line", () => {
  it.each<[readonly string[], number, RegExp]>([
    [["rnu"], 1, /^berth: unknown command 'rnu' \(Did you mean run\?\)\n$/],
    [["zzzzzz"], 1, /^berth: unknown command 'zzzzzz'\n$/],
    [["ps", "--al"], 1, /^berth: unknown option '--al' \(Did you mean --all\?\)\n$/],
    [["kill"], 1, /^berth: missing required argument 'id'\n$/],
    [["kill", "-s", "NOPE", "a"], 1, /^berth: unknown signal "NOPE"/],
    [["kill", "a b"], 1, /^berth: bad container id: identifier "a b" must match/],
    [["update", "a"], 1, /^berth: nothing to change/],
    [["run"], 125, /^berth: missing required argument 'id'\n$/],
    [["run", "--nope", "a"], 125, /^berth: unknown option '--nope'\n$/],
    [["run", "--memory", "5x", "--rootfs", "/", "a", "ls"], 125, /^berth: bad size "5x"/],
    [["run", "--rootfs", "/no/such", "a", "--", "ls"], 125, /^berth: rootfs \/no\/such does not exist\n$/],
    [["run", "--rootfs", "/", "-a-", "--", "ls"], 125, /^berth: unknown option '-a-'\n$/],
    [["run", "--rootfs", "/", "a--b", "ls"], 125, /^berth: bad container id/],
    [["exec", "a"], 1, /^berth: missing required argument 'command'\n$/],
    [["exec", "a", "--"], 1, /^berth: (missing required argument 'command'|say what to run)/],
    [["-n", "bad ns", "ps"], 1, /^berth: bad namespace: identifier "bad ns"/],
    [["--timeout", "soon", "ps"], 1, /^berth: bad duration "soon"/],
    [
      ["--address", "relative.sock", "ps"],
      1,
      /^berth: address relative\.sock is not an absolute socket path\n$/,
    ],
    [["completion", "tcsh"], 1, /^berth: no completion for tcsh/],
  ])("%j exits %d with one line", async (args, status, line) => {
    const result = await berth(...args);
    expect(result).toMatchObject({ status, stdout: "" });
    expect(result.stderr).toMatch(line);
  });

  it("says in one line that no daemon is there", async () => {
    expect(await berth("ps")).toEqual({
      status: 1,
      stdout: "",
      stderr: `berth: no daemon at ${join(directory, "none.sock")}: the socket does not exist\n`,
    });
    expect((await berth("run", "--rootfs", "/", "a", "--", "ls")).status).toBe(125);
  });

  it("takes global options before and after the command, and a command's words as they are", async () => {
    for (const args of [
      ["--address", "/there.sock", "ps"],
      ["ps", "--address", "/there.sock"],
      ["run", "--address", "/there.sock", "--rootfs", "/", "a", "--", "ls", "--address", "/other"],
    ])
      expect((await berth(...args)).stderr).toContain("/there.sock");
  });

  it("has help with examples for every command, on stdout", async () => {
    const { stdout } = await berth("--help");
    const names = [...stdout.matchAll(/^ {2}([a-z]+)(?:\|[a-z]+)? .*$/gm)].map(([, name]) => name as string);
    expect(names).toEqual(
      expect.arrayContaining([
        "run",
        "ps",
        "exec",
        "logs",
        "kill",
        "pause",
        "resume",
        "rm",
        "events",
        "stats",
        "tree",
      ]),
    );
    for (const name of names.filter((entry) => !["berth", "help"].includes(entry))) {
      const help = await berth(name, "--help");
      expect(help).toMatchObject({ status: 0, stderr: "" });
      expect(help.stdout, name).toMatch(/Examples:\n {2}(echo .*\| )?(source <\()?berth /);
    }
  });

  it("prints completion scripts that bash can parse", async () => {
    const { stdout } = await berth("completion", "bash");
    execFileSync("bash", ["-n"], { input: stdout });
    expect(stdout).toContain("--pids-limit");
    expect((await berth("completion", "fish")).stdout).toContain("-a run -d");
  });

  it("draws the tree that the daemon serves on its debug socket", async () => {
    const node = {
      path: "root",
      type: "supervisor",
      kind: "root",
      status: "running",
      strategy: "rest-for-one",
      children: [],
    };
    const asked: (string | undefined)[] = [];
    server = createServer((request, response) => {
      asked.push(request.url);
      response.end(JSON.stringify(node));
    });
    await new Promise<void>((done) => server?.listen(join(directory, "none.sock.debug"), done));
    expect(await berth("tree")).toEqual({ status: 0, stdout: "root  rest-for-one\n", stderr: "" });
    expect(JSON.parse((await berth("tree", "--json")).stdout)).toEqual(node);
    expect(asked).toEqual(["/debug/tree", "/debug/tree"]);
  });
});
