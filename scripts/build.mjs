// Builds the three programs and the worker threads into dist/, one file each, so that they start fast.
// Native packages stay outside the bundles: they find their binaries relative to themselves.
import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, readFileSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

function revision() {
  try {
    return execFileSync("git", ["rev-parse", "--short=12", "HEAD"], {
      cwd: root,
      stdio: ["ignore", "pipe", "ignore"],
    })
      .toString()
      .trim();
  } catch {
    return "unknown";
  }
}

const programs = {
  "bin/berthd": "src/main.ts",
  "bin/berth": "src/cli/main.ts",
  "bin/berth-shim": "src/shim/main.ts",
};
const workers = {
  "workers/stdio-pump.worker": "src/workers/stdio-pump.worker.ts",
  "workers/metrics-sampler.worker": "src/workers/metrics-sampler.worker.ts",
};
const output = process.argv[2] ?? join(root, "dist");
// Built aside and swapped in whole: what runs from the old build is not left with half of the new one.
const draft = `${output}.new-${process.pid}`;
const retired = `${output}.old-${process.pid}`;
const entryPoints = Object.fromEntries(
  Object.entries({ ...programs, ...workers })
    .map(([name, path]) => [name, join(root, path)])
    .filter(([, path]) => existsSync(path)),
);

await build({
  entryPoints,
  outdir: draft,
  bundle: true,
  format: "esm",
  platform: "node",
  target: "node20",
  sourcemap: "linked",
  minifySyntax: true,
  external: ["koffi", "lmdb", "piscina", "pino"],
  define: { BERTH_VERSION: JSON.stringify(version), BERTH_REVISION: JSON.stringify(revision()) },
  banner: {
    // CommonJS packages inside an ESM bundle still ask for `require`.
    js: 'import { createRequire as berthCreateRequire } from "node:module"; const require = berthCreateRequire(import.meta.url);',
  },
  logLevel: "warning",
});
for (const name of Object.keys(programs)) {
  const file = join(draft, `${name}.js`);
  if (existsSync(file)) chmodSync(file, 0o755);
}
if (existsSync(output)) renameSync(output, retired);
renameSync(draft, output);
rmSync(retired, { recursive: true, force: true });
