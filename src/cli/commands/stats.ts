/** `berth stats`: processor, memory and processes of running containers. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Command } from "commander";
import type { DaemonClient } from "../../client/daemon-client.js";
import { cpuPercent, type Sample, sampleOf } from "../../client/usage-sample.js";
import { CliError } from "../cli-error.js";
import { type CliHost, examples, run } from "../command.js";
import { type CliContext, checkedId } from "../context.js";
import { formatSize, renderTable } from "../table.js";

async function take(
  client: DaemonClient,
  ids: readonly string[],
  signal: AbortSignal,
): Promise<Map<string, Sample>> {
  const { metrics } = await client.tasks.metrics({ filters: ids.map((id) => `id==${id}`) }, { signal });
  const takenAtMs = performance.now();
  return new Map(
    metrics.flatMap((metric) => {
      const sample = sampleOf(metric, takenAtMs);
      return sample === undefined ? [] : [[sample.id, sample] as const];
    }),
  );
}

function show(
  ctx: CliContext,
  before: ReadonlyMap<string, Sample>,
  now: ReadonlyMap<string, Sample>,
  redraw: boolean,
): void {
  const rows = [...now.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  if (ctx.json) {
    for (const sample of rows) {
      const { takenAtMs: _internal, ...fields } = sample;
      ctx.printJson({ ...fields, cpuPercent: cpuPercent(before.get(sample.id), sample) ?? null }, "line");
    }
    return;
  }
  const table = renderTable(
    ["ID", ">CPU", ">MEMORY", ">LIMIT", ">MEM", ">PIDS", ">READ", ">WRITTEN"],
    rows.map((sample) => {
      const cpu = cpuPercent(before.get(sample.id), sample);
      const { memoryBytes, memoryLimitBytes } = sample;
      return [
        sample.id,
        cpu === undefined ? "-" : `${cpu.toFixed(1)}%`,
        formatSize(memoryBytes),
        memoryLimitBytes === undefined ? "-" : formatSize(memoryLimitBytes),
        memoryLimitBytes === undefined ? "-" : `${((100 * memoryBytes) / memoryLimitBytes).toFixed(1)}%`,
        String(sample.pids),
        formatSize(sample.readBytes),
        formatSize(sample.writtenBytes),
      ];
    }),
  );
  // Home, clear: the table stands still while its numbers change.
  ctx.print(redraw ? `\u001b[H\u001b[2J${table}` : table);
}

/** Long enough for a share of processor time to mean something. */
const firstIntervalMs = 500;
const intervalMs = 1_000;

export function addStats(program: Command, host: CliHost): void {
  const command = program
    .command("stats")
    .summary("show what containers use")
    .description(
      "Show processor, memory and processes of running containers, once a second until interrupted.",
    )
    .argument("[id...]", "names of containers; default all of the namespace")
    .option("--no-stream", "show once and return")
    .addHelpText("after", examples("berth stats", "berth stats --no-stream web db", "berth stats --json"));
  run<{ stream: boolean }>(host, command, async (ctx, options, [list]) => {
    const ids = ((list ?? []) as readonly string[]).map((id) => checkedId(id));
    const redraw = options.stream && "isTTY" in ctx.stdio.stdout && ctx.stdio.stdout.isTTY === true;
    return ctx.withClient(async (client) => {
      let before = await take(client, ids, ctx.signal);
      const missing = ids.filter((id) => !before.has(id));
      if (missing.length > 0) throw new CliError(`no running container ${missing.join(", ")}`);
      for (let waitMs = firstIntervalMs; ; waitMs = intervalMs) {
        await sleep(waitMs, undefined, { signal: ctx.signal });
        const now = await take(client, ids, ctx.signal);
        show(ctx, before, now, redraw);
        if (!options.stream) return 0;
        before = now;
      }
    });
  });
}
