/** Builds a worker thread's file as the release build does, into a directory of its own. */
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";

export interface BuiltWorker {
  readonly url: URL;
  /** Deletes it. */
  remove(): void;
}

/** `entry` is relative to `src`, such as `workers/stdio-pump.worker.ts`. */
export async function buildWorker(entry: string): Promise<BuiltWorker> {
  const directory = mkdtempSync(join(tmpdir(), "berth-worker-"));
  const outfile = join(directory, "worker.mjs");
  try {
    await build({
      entryPoints: [fileURLToPath(new URL(`../../src/${entry}`, import.meta.url))],
      outfile,
      bundle: true,
      platform: "node",
      target: "node20",
      format: "esm",
      logLevel: "error",
      plugins: [
        {
          name: "native-packages-by-url",
          setup({ onResolve }) {
            // Native packages stay outside; a temporary directory has no node_modules to find them in.
            onResolve({ filter: /^koffi$/ }, ({ path }) => ({
              path: pathToFileURL(createRequire(import.meta.url).resolve(path)).href,
              external: true,
            }));
          },
        },
      ],
    });
  } catch (error) {
    rmSync(directory, { recursive: true, force: true });
    throw error;
  }
  return { url: pathToFileURL(outfile), remove: () => rmSync(directory, { recursive: true, force: true }) };
}
