// Installs the Debian packages that a purpose needs and that are missing. Plain Node: runs before npm install.
//   node scripts/provision.mjs --for quickstart|test|bench
import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";

const packagesFor = {
  quickstart: ["runc", "busybox-static"],
  test: ["runc", "busybox-static", "crun", "containerd"],
  bench: ["runc", "busybox-static", "crun", "containerd"],
};

const searchPath = `${process.env.PATH ?? ""}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`;

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
const which = (name) =>
  searchPath
    .split(delimiter)
    .filter((directory) => directory !== "")
    .map((directory) => join(directory, name))
    .find(isExecutable);

// A dynamically linked busybox cannot run in a root directory that holds nothing else.
const staticBusybox = () =>
  ["/bin/busybox", "/usr/bin/busybox"].some(
    (path) => existsSync(path) && !readFileSync(path).includes("/ld-linux"),
  );

const isThere = {
  runc: () => which("runc") !== undefined,
  crun: () => which("crun") !== undefined,
  "busybox-static": staticBusybox,
  containerd: () => which("containerd") !== undefined && which("ctr") !== undefined,
};

function fail(message) {
  console.error(`provision: ${message}`);
  process.exit(1);
}

const purpose = process.argv[process.argv.indexOf("--for") + 1];
const wanted = process.argv.includes("--for") ? packagesFor[purpose] : undefined;
if (wanted === undefined)
  fail(`usage: node scripts/provision.mjs --for ${Object.keys(packagesFor).join("|")}`);

const missing = wanted.filter((name) => !isThere[name]());
if (missing.length === 0) {
  console.log(`provision: everything for ${purpose} is installed (${wanted.join(", ")})`);
  process.exit(0);
}
if (process.platform !== "linux") fail("berth runs on Linux only");
if (which("apt-get") === undefined)
  fail(`apt-get is missing; install what these Debian packages contain yourself: ${missing.join(" ")}`);
if (process.getuid?.() !== 0)
  fail(
    `root is needed to install ${missing.join(" ")}; run this as root: apt-get install ${missing.join(" ")}`,
  );

const apt = (...args) => {
  console.log(`provision: apt-get ${args.join(" ")}`);
  const { status, signal, error } = spawnSync("apt-get", args, {
    stdio: "inherit",
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
  });
  if (error !== undefined) fail(`apt-get could not be started: ${error.message}`);
  if (signal !== null) fail(`apt-get was ended by ${signal}`);
  return status === 0;
};
const install = () => apt("install", "-y", "-qq", "--no-install-recommends", ...missing);

// The lists of a machine that was just made are empty, so they are fetched first; offline, what apt knows may do.
const updated = apt("update", "-qq");
if (!install())
  fail(
    `could not install ${missing.join(" ")}${updated ? "" : " (the package lists could not be fetched either)"}`,
  );
const still = missing.filter((name) => !isThere[name]());
if (still.length > 0) fail(`apt-get succeeded, but these are still missing: ${still.join(" ")}`);
console.log(`provision: installed ${missing.join(", ")}`);
