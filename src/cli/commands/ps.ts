/** `berth ps`: containers and how their tasks are. */
import type { Command } from "commander";
import type { DaemonClient } from "../../client/daemon-client.js";
import { jsonOf, timeText } from "../../client/payload.js";
import { type Container, type Process, taskState } from "../../client/records.js";
import type { OciSpec } from "../../client/spec.js";
import { DaemonError } from "../../core/errors.js";
import { instantToMs } from "../../core/exit.js";
import { type CliHost, examples, run } from "../command.js";
import { formatAge, renderTable, shorten } from "../table.js";

export interface ContainerView {
  readonly id: string;
  /** A task's state, or "none" without a task. */
  readonly status: string;
  readonly pid: number | undefined;
  readonly exitStatus: number | undefined;
  readonly exitedAt: string | undefined;
  readonly runtime: string;
  readonly createdAt: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly command: readonly string[];
}

/** Every container of the namespace; by stream, because one answer is bounded to 16 MiB. */
export async function listContainers(client: DaemonClient, signal: AbortSignal): Promise<Container[]> {
  const found: Container[] = [];
  try {
    for await (const { container } of client.containers.listStream({}, { signal }))
      if (container !== undefined) found.push(container);
    return found;
  } catch (error) {
    if (!(error instanceof DaemonError) || error.kind !== "unimplemented") throw error;
    return (await client.containers.list({}, { signal })).containers;
  }
}

export function viewOf(container: Container, task: Process | undefined): ContainerView {
  const stopped = task !== undefined && taskState(task) === "stopped";
  return {
    id: container.id,
    status: task === undefined ? "none" : taskState(task),
    pid: task === undefined || stopped ? undefined : task.pid,
    exitStatus: stopped ? task.exitStatus : undefined,
    exitedAt: stopped ? timeText(task.exitedAt) : undefined,
    runtime: container.runtime?.name ?? "",
    createdAt: timeText(container.createdAt),
    labels: container.labels,
    command: jsonOf<OciSpec>(container.spec)?.process?.args ?? [],
  };
}

export function addPs(program: Command, host: CliHost): void {
  const command = program
    .command("ps")
    .summary("list containers")
    .description(
      "List the running containers of a namespace; with -a also those that have stopped or never ran.",
    )
    .option("-a, --all", "also containers that do not run")
    .option("-q, --quiet", "print ids only")
    .addHelpText("after", examples("berth ps", "berth ps -a", "berth -n moby ps --json"));
  run<{ all?: boolean; quiet?: boolean }>(host, command, async (ctx, options) => {
    const views = await ctx.withClient(async (client) => {
      const [containers, { tasks }] = await Promise.all([
        listContainers(client, ctx.signal),
        client.tasks.list({}, { signal: ctx.signal }),
      ]);
      const byId = new Map(tasks.map((task) => [task.id, task]));
      const now = Date.now();
      return containers
        .map((container) => ({
          view: viewOf(container, byId.get(container.id)),
          age: container.createdAt === undefined ? "" : formatAge(now - instantToMs(container.createdAt)),
        }))
        .filter(({ view }) => options.all || !["none", "stopped"].includes(view.status));
    });
    if (options.quiet) for (const { view } of views) ctx.print(view.id);
    else if (ctx.json) ctx.printJson(views.map(({ view }) => view));
    else
      ctx.print(
        renderTable(
          ["ID", "STATUS", ">PID", ">AGE", "RUNTIME", "COMMAND"],
          views.map(({ view, age }) => [
            view.id,
            view.exitStatus === undefined ? view.status : `stopped (${view.exitStatus})`,
            view.pid === undefined ? "-" : String(view.pid),
            age,
            view.runtime,
            shorten(view.command.join(" "), 60),
          ]),
        ),
      );
    return 0;
  });
}
