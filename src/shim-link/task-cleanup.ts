/** Ends and deletes one container whose shim is gone, through its OCI runtime, and unmounts its rootfs. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { unknownError } from "../core/errors.js";
import type { TaskKey } from "../core/ids.js";
import type { Logger } from "../core/logger.js";
import { unmountTree } from "../runtime/bundle.js";
import { type DriverDefaults, driverOptions, readOptions } from "../runtime/options.js";
import { Options } from "../wire/gen/containerd/runc/v1/runc.js";

export interface CleanupContext {
  readonly defaults: DriverDefaults;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

/** Rejects when the runtime could not delete the container; one that does not exist is fine. */
export async function cleanUpContainer(
  key: TaskKey,
  bundle: string,
  context: CleanupContext,
): Promise<{ readonly pid: number }> {
  const written = readOptions(bundle) ?? Options.fromPartial({});
  const { binary, root } = driverOptions(written, key.namespace, context.defaults);
  const { failed, stderr, shortMessage } = await execa(
    binary,
    ["--root", root, "--log", join(bundle, "log.json"), "--log-format", "json", "delete", "--force", key.id],
    { reject: false, stdin: "ignore", cancelSignal: context.signal, maxBuffer: 64 * 1024, cwd: "/" },
  );
  if (failed && !/does not exist/.test(`${stderr}${logTail(bundle)}`)) {
    throw unknownError(`runtime delete of ${key.namespace}/${key.id} failed: ${stderr || shortMessage}`);
  }
  unmountTree(join(bundle, "rootfs"));
  return { pid: initPid(bundle) };
}

function initPid(bundle: string): number {
  try {
    return Number.parseInt(readFileSync(join(bundle, "init.pid"), "utf8"), 10) || 0;
  } catch {
    return 0;
  }
}

function logTail(bundle: string): string {
  try {
    return readFileSync(join(bundle, "log.json"), "utf8").trimEnd().split("\n").at(-1) ?? "";
  } catch {
    return "";
  }
}
