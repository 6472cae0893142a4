// The whole check, on a fresh Debian with only Node and npm: installs what is missing, builds, lints, runs every
// suite, and ends with the counts. Plain Node: it runs before npm packages are there.
//   node scripts/test.mjs [--only memory|machine] [vitest filters…]
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const args = process.argv.slice(2);
const only = args[0] === "--only" ? args.splice(0, 2)[1] : undefined;

function step(name, command, ...rest) {
  console.log(`\n== ${name}`);
  const began = Date.now();
  const { status, signal, error } = spawnSync(command, rest, {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
  });
  const seconds = ((Date.now() - began) / 1000).toFixed(1);
  if (error !== undefined) console.log(`   ${error.message}`);
  console.log(`== ${name}: ${status === 0 ? "ok" : `failed (${signal ?? status})`}, ${seconds} s`);
  return status === 0;
}

function stopAt(name) {
  console.log(`\n${name} failed; no test was run\n0 passed, 1 failed`);
  process.exit(1);
}

const bin = (name) => join(root, "node_modules", ".bin", name);

// Not `npm ci`: it wants a lock entry for the optional binaries of every platform, and a registry that mirrors only
// some platforms yields a lock file without the others. Versions come from the lock file all the same.
const installed = existsSync(join(root, "node_modules", ".package-lock.json"));
if (!installed && !step("npm packages", "npm", "install", "--no-save", "--no-audit", "--no-fund"))
  stopAt("npm install");
if (
  only !== "memory" &&
  !step("Debian packages", process.execPath, "scripts/provision.mjs", "--for", "test")
) {
  stopAt("installing Debian packages");
}
if (!step("build", process.execPath, "scripts/build.mjs")) stopAt("build");

// Each check counts as one test, so that the closing counts tell the whole truth.
let passed = 0;
let failed = 0;
for (const [name, command, ...rest] of [
  ["types", bin("tsc"), "--noEmit"],
  ["lint", bin("biome"), "check", "--error-on-warnings"],
  ["rooms", bin("depcruise"), "--config", ".dependency-cruiser.cjs", "src"],
]) {
  if (step(name, command, ...rest)) passed += 1;
  else failed += 1;
}

const scratch = mkdtempSync(join(tmpdir(), "berth-test-"));
const report = join(scratch, "report.json");
const projects = only === undefined ? [] : ["--project", only];
const ran = step(
  "tests",
  bin("vitest"),
  "run",
  ...projects,
  "--reporter=default",
  "--reporter=json",
  `--outputFile=${report}`,
  ...args,
);
let skipped = 0;
if (existsSync(report)) {
  const result = JSON.parse(readFileSync(report, "utf8"));
  passed += result.numPassedTests;
  failed += result.numFailedTests;
  skipped += result.numPendingTests + (result.numTodoTests ?? 0);
  // A file that does not load, or an error outside every test, fails the run without failing a test.
  if (!ran && result.numFailedTests === 0) failed += 1;
} else {
  failed += 1;
}
rmSync(scratch, { recursive: true, force: true });
console.log(`\n${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`);
process.exit(failed === 0 ? 0 : 1);
