/** `berth logs`: the file that a container started with --log writes to. */
import { createReadStream, statSync, watch } from "node:fs";
import { open } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import type { DaemonClient } from "../../client/daemon-client.js";
import { taskState } from "../../client/records.js";
import { CliError } from "../cli-error.js";
import { type CliHost, examples, run } from "../command.js";
import { type CliContext, checkedId } from "../context.js";
import { taskOf } from "../removal.js";
import { logLabel } from "../run-plan.js";
import { parseCount } from "../values.js";

/** Notices of change may be missed (network file systems send none): look again this often. */
const lookAgainMs = 500;

async function logFileOf(client: DaemonClient, id: string): Promise<string> {
  const { container } = await client.containers.get({ id });
  const labelled = container?.labels[logLabel];
  if (labelled !== undefined) return labelled;
  const uri = (await taskOf(client, id))?.stdout ?? "";
  if (uri.startsWith("file://")) return fileURLToPath(uri);
  throw new CliError(`container ${id} has no log: it was not started with --log`);
}

/** Where the last `lines` lines begin, in bytes from the start. */
export async function tailOffset(path: string, lines: number): Promise<number> {
  const file = await open(path, "r");
  try {
    let position = (await file.stat()).size;
    const end = position;
    let found = 0;
    const block = Buffer.alloc(64 * 1024);
    while (position > 0) {
      const length = Math.min(block.length, position);
      position -= length;
      await file.read(block, 0, length, position);
      for (let at = length - 1; at >= 0; at -= 1) {
        // The newline that ends the last line does not begin another one.
        if (block[at] !== 0x0a || position + at === end - 1) continue;
        found += 1;
        if (found === lines) return position + at + 1;
      }
    }
    return 0;
  } finally {
    await file.close();
  }
}

/** Copies what the file has from `from` on; returns where it ended. */
async function copyFrom(ctx: CliContext, path: string, from: number): Promise<number> {
  const size = statSync(path).size;
  if (size < from) return copyFrom(ctx, path, 0); // truncated: begin again
  if (size === from) return from;
  const source = createReadStream(path, { start: from, end: size - 1 });
  await pipeline(source, ctx.stdio.stdout, { end: false, signal: ctx.signal });
  return size;
}

async function follow(
  ctx: CliContext,
  client: DaemonClient,
  id: string,
  path: string,
  from: number,
): Promise<void> {
  let position = from;
  let changed: () => void = () => {};
  const watcher = watch(path, () => changed());
  const isOver = async (): Promise<boolean> => {
    const task = await taskOf(client, id);
    return task === undefined || taskState(task) === "stopped";
  };
  let over = false;
  const done = new AbortController();
  const exit = isOver().then(async (stopped) => {
    if (!stopped)
      await client.tasks.wait({ containerId: id }, { signal: AbortSignal.any([ctx.signal, done.signal]) });
  });
  exit
    .catch(() => {})
    .finally(() => {
      over = true;
      changed();
    });
  try {
    for (;;) {
      // Read the flag first: what was written before the exit is then certainly in the file.
      const last = over;
      position = await copyFrom(ctx, path, position);
      if (last || ctx.signal.aborted) break;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, lookAgainMs);
        changed = () => {
          clearTimeout(timer);
          resolve();
        };
        if (over !== last) changed();
      });
    }
    await exit;
  } finally {
    done.abort();
    watcher.close();
  }
}

export function addLogs(program: Command, host: CliHost): void {
  const command = program
    .command("logs")
    .summary("print the output of a container that was started with --log")
    .argument("<id>", "name of the container")
    .option("-f, --follow", "go on until the container exits")
    .option("--tail <lines>", "begin with the last lines only", parseCount("number of lines", 1))
    .addHelpText("after", examples("berth logs web", "berth logs -f --tail 20 web"));
  run<{ follow?: boolean; tail?: number }>(host, command, async (ctx, options, [text]) => {
    const id = checkedId(String(text));
    return ctx.withClient(async (client) => {
      const path = await logFileOf(client, id);
      if (statSync(path, { throwIfNoEntry: false }) === undefined)
        throw new CliError(`the log of ${id}, ${path}, does not exist`);
      const from = options.tail === undefined ? 0 : await tailOffset(path, options.tail);
      const position = await copyFrom(ctx, path, from);
      if (options.follow) await follow(ctx, client, id, path, position);
      return 0;
    });
  });
}
