// From a fresh clone to containers that run, and back to a clean machine, in one command: `npm run quickstart`.
// Plain Node without dependencies: it works before `npm install`. Everything it makes lies in one temporary
// directory; whatever happens, Ctrl-C included, it takes everything down again and checks that nothing is left.
import { spawn, spawnSync } from "node:child_process";
import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const project = join(dirname(fileURLToPath(import.meta.url)), "..");
const berthd = join(project, "dist/bin/berthd.js");
const berth = join(project, "dist/bin/berth.js");
const namespace = `quickstart-${process.pid}`;
const steps = 9;

// ---- saying what happens -------------------------------------------------------------------------------------

const colour = process.stdout.isTTY && !process.env.NO_COLOR;
const paint = (code, text) => (colour ? `\u001b[${code}m${text}\u001b[0m` : text);
let stepNumber = 0;
const step = (title) => console.log(`\n${paint("1;36", `[${++stepNumber}/${steps}]`)} ${paint("1", title)}`);
const say = (text) => {
  for (const line of text.replace(/\n$/, "").split("\n")) console.log(`      ${line}`);
};
const shellWord = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

class Failure extends Error {}
class Interrupted extends Error {}
let interruptedBy;
const problems = [];
const expectThat = (what, holds) => {
  if (holds) return;
  problems.push(what);
  say(paint("31", `✗ ${what}`));
};
const goOn = () => {
  if (interruptedBy !== undefined) throw new Interrupted();
};

// ---- running things ------------------------------------------------------------------------------------------

const children = new Set();

/** Runs a program to its end; output is collected, or shown as it comes. */
function run(file, args, { inherit = false, env = process.env, timeoutMs = 600_000 } = {}) {
  goOn();
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      cwd: project,
      env,
      stdio: ["ignore", inherit ? "inherit" : "pipe", inherit ? "inherit" : "pipe"],
    });
    children.add(child);
    const timer = setTimeout(() => child.kill("SIGKILL"), timeoutMs);
    let output = "";
    let stdout = "";
    child.stdout?.on("data", (chunk) => {
      stdout += chunk;
      output += chunk;
    });
    child.stderr?.on("data", (chunk) => {
      output += chunk;
    });
    child.once("error", reject);
    child.once("close", (status, signal) => {
      clearTimeout(timer);
      children.delete(child);
      if (interruptedBy !== undefined) reject(new Interrupted());
      else resolve({ status: status ?? `signal ${signal}`, output, stdout });
    });
  });
}

let place; // the temporary directory
const socket = () => join(place, "berth.sock");
const metricsSocket = () => join(place, "metrics.sock");
const cliEnvironment = () => ({
  ...process.env,
  BERTH_ADDRESS: socket(),
  BERTH_NAMESPACE: namespace,
  BERTH_FIFO_DIR: place,
});

/** Runs `berth …` the way a reader would type it, and shows both. */
async function showBerth(args, { expected = 0, lines = Number.POSITIVE_INFINITY } = {}) {
  const shown = args.map((word) => shellWord(word).replace(place, "$PLACE")).join(" ");
  console.log(`    ${paint("32", `$ berth ${shown}`)}`);
  const result = await run(process.execPath, [berth, ...args], { env: cliEnvironment(), timeoutMs: 60_000 });
  const text = result.output.split("\n");
  const rest = text.length - 1 - lines;
  if (result.output !== "")
    say(rest > 0 ? `${text.slice(0, lines).join("\n")}\n… ${rest} more lines` : result.output);
  if (expected !== 0 || result.status !== 0) say(paint("2", `(exit status ${result.status})`));
  expectThat(
    `berth ${args[0]} should have exited with ${expected}, not ${result.status}`,
    result.status === expected,
  );
  return result;
}

// ---- the steps -----------------------------------------------------------------------------------------------

function checkMachine() {
  const node = Number(process.versions.node.split(".")[0]);
  if (process.platform !== "linux") throw new Failure("berth runs on Linux only");
  if (node < 20) throw new Failure(`Node.js 20 or newer is needed, this is ${process.versions.node}`);
  if (process.getuid() !== 0) throw new Failure("containers need root: run this with sudo, or as root");
  say(`Linux, root, Node.js ${process.versions.node}`);
}

async function installNodeModules() {
  say("npm ci (this takes a while) …");
  const exact = await run("npm", ["ci", "--no-audit", "--no-fund"]);
  if (exact.status === 0) return;
  // npm ci insists on an entry for every platform's optional package, and a registry that does not carry them
  // all leaves some out of the lock file. An install takes the locked versions of what is there.
  say("npm ci refused the lock file; npm install …");
  const lenient = await run("npm", ["install", "--no-save", "--no-audit", "--no-fund"]);
  if (lenient.status !== 0)
    throw new Failure(`npm could not install the dependencies:\n${exact.output}\n${lenient.output}`);
}

async function installPackages() {
  if (existsSync(join(project, "node_modules/.package-lock.json"))) say("node_modules is there");
  else await installNodeModules();
  const result = await run(
    process.execPath,
    [join(project, "scripts/provision.mjs"), "--for", "quickstart"],
    {
      inherit: true,
    },
  );
  if (result.status !== 0) throw new Failure("a Debian package is missing and could not be installed");
}

/** The newest change below `path`, in milliseconds since the epoch. */
function newestChange(path) {
  const facts = statSync(path);
  if (!facts.isDirectory()) return facts.mtimeMs;
  return Math.max(0, ...readdirSync(path).map((name) => newestChange(join(path, name))));
}

async function build() {
  const products = [berthd, berth, join(project, "dist/bin/berth-shim.js")];
  const sources = ["src", "scripts/build.mjs", "package.json"].map((name) =>
    newestChange(join(project, name)),
  );
  const isFresh = products.every(
    (path) => existsSync(path) && statSync(path).mtimeMs >= Math.max(...sources),
  );
  if (isFresh) return say("dist is up to date");
  const startedAt = performance.now();
  const result = await run(process.execPath, [join(project, "scripts/build.mjs")], { inherit: true });
  if (result.status !== 0) throw new Failure("the build failed");
  say(`built dist in ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
}

function makeRootfs() {
  const rootfs = join(place, "rootfs");
  const busybox = ["/bin/busybox", "/usr/bin/busybox"].find((path) => existsSync(path));
  for (const name of ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "run"])
    mkdirSync(join(rootfs, name), { recursive: true });
  copyFileSync(busybox, join(rootfs, "bin/busybox"));
  const applets = spawnSync(busybox, ["--list"], { encoding: "utf8" }).stdout.trim().split("\n");
  for (const name of applets) if (name !== "busybox") symlinkSync("busybox", join(rootfs, "bin", name));
  writeFileSync(join(rootfs, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n");
  return rootfs;
}

let daemon;
let daemonEnded;
async function startDaemon() {
  const log = openSync(join(place, "berthd.log"), "a");
  daemon = spawn(
    process.execPath,
    [
      ...[berthd, "--root", join(place, "root"), "--state", join(place, "state"), "--address", socket()],
      ...["--metrics-address", metricsSocket(), "--log-level", "info"],
    ],
    // A process group of its own: Ctrl-C reaches us, and we take it down in order.
    { stdio: ["ignore", log, log], detached: true },
  );
  closeSync(log);
  daemonEnded = new Promise((done) => {
    daemon.once("exit", (code, signal) => done(`exit ${code ?? signal}`));
    daemon.once("error", (error) => done(error.message));
  });
  const deadline = performance.now() + 20_000;
  let ended;
  daemonEnded.then((how) => {
    ended = how;
  });
  for (;;) {
    goOn();
    const { status } = await run(process.execPath, [berth, "version"], { env: cliEnvironment() });
    if (status === 0) break;
    if (ended !== undefined || performance.now() > deadline)
      throw new Failure(
        `berthd did not start (${ended ?? "no answer for 20 s"}); its log ends with:\n${logTail()}`,
      );
    await sleep(100);
  }
  say(`berthd runs as process ${daemon.pid}; everything of it is below ${place}`);
}

const logTail = () => readFileSync(join(place, "berthd.log"), "utf8").split("\n").slice(-12).join("\n");

let eventText = "";
async function listenToEvents() {
  const events = spawn(process.execPath, [berth, "events", "--json"], {
    env: cliEnvironment(),
    stdio: ["ignore", "pipe", "ignore"],
    detached: true,
  });
  children.add(events);
  events.once("close", () => children.delete(events));
  events.stdout.on("data", (chunk) => {
    eventText += chunk;
  });
  // Subscribing is not acknowledged: make small events until one is seen.
  const deadline = performance.now() + 15_000;
  while (eventText === "") {
    if (performance.now() > deadline) throw new Failure("the event stream shows nothing");
    for (const verb of ["create", "rm"])
      await run(process.execPath, [berth, "ns", verb, `${namespace}-probe`], { env: cliEnvironment() });
  }
}

function showEvents() {
  const seen = eventText
    .trim()
    .split("\n")
    .flatMap((line) => {
      try {
        return [JSON.parse(line)];
      } catch {
        return []; // the last line may be half there
      }
    })
    .filter(({ topic }) => topic.startsWith("/tasks/"));
  for (const { timestamp, topic, event } of seen) {
    const { containerId, id, execId, pid, exitStatus } = event;
    const who = execId || (id && id !== containerId) ? `${containerId} (${execId || id})` : containerId;
    const more = [pid ? `pid ${pid}` : "", topic.endsWith("exit") ? `exit status ${exitStatus}` : ""];
    say(`${timestamp.slice(11, 23)}  ${topic.padEnd(20)} ${[who, ...more].filter(Boolean).join("  ")}`);
  }
  for (const topic of [
    "/tasks/create",
    "/tasks/start",
    "/tasks/exec-started",
    "/tasks/exit",
    "/tasks/delete",
  ])
    expectThat(
      `the event stream should show ${topic}`,
      seen.some((event) => event.topic === topic),
    );
}

function getMetrics() {
  return new Promise((resolve, reject) => {
    const call = request(
      { socketPath: metricsSocket(), path: "/v1/metrics", timeout: 10_000 },
      (response) => {
        let body = "";
        response.setEncoding("utf8").on("data", (text) => {
          body += text;
        });
        response.on("end", () => (response.statusCode === 200 ? resolve(body) : reject(new Error(body))));
      },
    );
    call.on("timeout", () => call.destroy(new Error("no answer within 10 s")));
    call.on("error", reject);
    call.end();
  });
}

async function showMetrics() {
  // The sampler takes its first picture of a container a moment after the start.
  const deadline = performance.now() + 15_000;
  let own = [];
  let all = [];
  for (;;) {
    goOn();
    all = (await getMetrics()).split("\n").filter((line) => line !== "" && !line.startsWith("#"));
    own = all.filter((line) => line.includes(namespace) && line.includes("web"));
    if (own.length > 0 || performance.now() > deadline) break;
    await sleep(250);
  }
  console.log(
    `    ${paint("32", "$ curl --unix-socket $PLACE/metrics.sock http://localhost/v1/metrics | grep web")}`,
  );
  const interesting = own.filter((line) => /cpu_total_|memory_usage_(usage_|limit_)|pids_current/.test(line));
  say((interesting.length > 0 ? interesting : own).slice(0, 6).join("\n") || "(nothing)");
  say(paint("2", `(${all.length} series in all)`));
  expectThat("the metrics should name the running container", own.length > 0);
}

// ---- taking everything down ----------------------------------------------------------------------------------

const isGone = (pid) => {
  try {
    return /^\d+ \(.*\) [ZX]/s.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return true;
  }
};

/** Live processes that name our directory in their command line, work in it, or are in a cgroup of our namespace. */
function ourProcesses() {
  const found = [];
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    try {
      const words = readFileSync(`/proc/${name}/cmdline`, "utf8");
      const cgroups = readFileSync(`/proc/${name}/cgroup`, "utf8");
      const directory = readlinkSync(`/proc/${name}/cwd`);
      const isOurs =
        words.includes(place) || directory.startsWith(place) || cgroups.includes(`/${namespace}/`);
      if (isOurs && !isGone(name)) found.push(Number(name));
    } catch {
      // Gone while we looked.
    }
  }
  return found;
}

const ourMounts = () =>
  readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[4] ?? "")
    .filter((path) => path.startsWith(`${place}/`))
    .sort((a, b) => b.length - a.length);

async function until(holds, timeoutMs) {
  const deadline = performance.now() + timeoutMs;
  while (!holds()) {
    if (performance.now() > deadline) return false;
    await sleep(50);
  }
  return true;
}

function signalAll(pids, signal) {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch {
      // It has ended meanwhile.
    }
  }
}

/** Stops what runs, removes what was made; adds whatever was in the way to `problems`. */
async function cleanUp() {
  // Once: a second signal would make them give up on their own cleaning up.
  for (const child of children) if (!child.killed) child.kill("SIGTERM");
  if (!(await until(() => children.size === 0, 20_000))) for (const child of children) child.kill("SIGKILL");
  if (place === undefined) return;
  const env = cliEnvironment();
  if (daemon !== undefined && existsSync(berth)) {
    const quiet = (...args) =>
      spawnSync(process.execPath, [berth, ...args], { env, encoding: "utf8", timeout: 60_000 });
    const ids = quiet("ps", "-a", "-q").stdout?.trim().split("\n").filter(Boolean) ?? [];
    if (ids.length > 0) quiet("rm", "-f", ...ids);
    quiet("ns", "rm", namespace);
    daemon.kill("SIGTERM");
    const backstop = setTimeout(() => {
      problems.push("berthd did not stop within 15 s");
      daemon.kill("SIGKILL");
    }, 15_000);
    await daemonEnded;
    clearTimeout(backstop);
  }
  // A shim outlives its daemon by design, and an empty one waits a little for the next task: told, it goes.
  if (!(await until(() => ourProcesses().length === 0, 2_000))) signalAll(ourProcesses(), "SIGTERM");
  if (!(await until(() => ourProcesses().length === 0, 10_000))) {
    const left = ourProcesses();
    problems.push(`processes were left: ${left.join(", ")}`);
    signalAll(left, "SIGKILL");
    await until(() => ourProcesses().length === 0, 5_000);
  }
  for (const mount of ourMounts()) {
    problems.push(`a mount was left: ${mount}`);
    spawnSync("umount", ["-l", mount]);
  }
  removeCgroups("/sys/fs/cgroup");
  for (const name of readdirSync(place).filter((entry) => entry.startsWith("berth-io-")))
    problems.push(`FIFOs were left: ${name}`);
  const failed = problems.length > 0 || process.exitCode;
  if (failed && existsSync(join(place, "berthd.log"))) lastLog = logTail();
  rmSync(place, { recursive: true, force: true, maxRetries: 3 });
  if (existsSync(place)) problems.push(`${place} could not be removed`);
}
let lastLog = "";

/** The runtime removes a container's cgroup but not the one of its namespace above it. */
function removeCgroups(root) {
  for (const path of [
    join(root, namespace),
    ...readdirSync(root).map((name) => join(root, name, namespace)),
  ]) {
    if (!existsSync(path)) continue;
    try {
      rmdirSync(path);
    } catch (error) {
      problems.push(`a cgroup was left: ${path} (${error.code})`);
    }
  }
}

// ---- the whole -----------------------------------------------------------------------------------------------

async function demonstrate() {
  step("Check this machine");
  checkMachine();
  step("Install what is missing");
  await installPackages();
  step("Build");
  await build();

  step("Start a private berthd");
  place = mkdtempSync(join(tmpdir(), "berth-quickstart-"));
  await startDaemon();
  await listenToEvents();

  step("Run a short job");
  const rootfs = makeRootfs();
  say(paint("2", "$PLACE/rootfs holds busybox and nothing else"));
  const hello = [
    "run",
    "--rm",
    "--rootfs",
    rootfs,
    "hello",
    "--",
    "sh",
    "-c",
    'echo "hello from $(hostname), pid $$"',
  ];
  const { stdout } = await showBerth(hello);
  expectThat("the job should have said hello", stdout.startsWith("hello from"));
  await showBerth(
    ["run", "--rm", "--rootfs", rootfs, "failing", "--", "sh", "-c", "echo about to fail; exit 42"],
    {
      expected: 42,
    },
  );
  await showBerth(["run", "--rm", "--rootfs", rootfs, "missing", "--", "no-such-program"], { expected: 127 });

  step("Run a long one, with limits and a log");
  const loop = "i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.2; done";
  const long = ["run", "-d", "--rootfs", rootfs, "--memory", "64m", "--pids-limit", "20"];
  await showBerth([...long, "--log", join(place, "web.log"), "web", "--", "sh", "-c", loop]);
  await showBerth(["exec", "web", "--", "ps"]);
  await showBerth(["exec", "web", "--", "sh", "-c", "echo oops >&2; exit 3"], { expected: 3 });
  await showBerth(["pause", "web"]);
  await showBerth(["ps"]);
  await showBerth(["resume", "web"]);
  await showBerth(["logs", "--tail", "3", "web"]);
  await showBerth(["stats", "--no-stream"]);

  step("Look inside");
  await showBerth(["tree"], { lines: 40 });
  await showMetrics();

  step("What happened, as the event stream told it");
  await showBerth(["rm", "-f", "web"]);
  await until(() => /"\/tasks\/delete".*"containerId":"web"/.test(eventText), 5_000);
  showEvents();

  step("Stop everything and check that nothing is left");
}

for (const name of ["SIGINT", "SIGTERM", "SIGHUP"])
  process.on(name, () => {
    if (interruptedBy !== undefined) return;
    interruptedBy = name;
    console.error(`\n${name}: cleaning up`);
    for (const child of children) if (!child.killed) child.kill("SIGTERM");
  });

try {
  await demonstrate();
} catch (error) {
  if (error instanceof Interrupted) process.exitCode = 130;
  else {
    process.exitCode = 1;
    problems.push(error instanceof Failure ? error.message : (error.stack ?? String(error)));
  }
}
await cleanUp();
if (problems.length > 0) {
  process.exitCode ||= 1;
  console.error(`\n${paint("1;31", "quickstart failed:")}`);
  for (const problem of problems) console.error(`  - ${problem}`);
  if (lastLog !== "") console.error(`\nberthd's log ended with:\n${lastLog}`);
} else if (process.exitCode === undefined) {
  say("no process, no mount, no file is left");
  console.log(`\n${paint("1;32", "Everything worked.")} Next: README.md, or npx berth --help`);
}
process.exit(process.exitCode ?? 0);
