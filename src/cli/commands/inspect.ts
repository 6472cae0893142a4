/** `berth inspect`, `berth top` and `berth version`: what the daemon knows. */
import { readFileSync } from "node:fs";
import type { Command } from "commander";
import { execIdOf, plain } from "../../client/payload.js";
import { taskState } from "../../client/records.js";
import { version as berthVersion } from "../../core/version.js";
import { type CliHost, examples, run } from "../command.js";
import { checkedId } from "../context.js";
import { taskOf } from "../removal.js";
import { renderTable } from "../table.js";

export function addInspect(program: Command, host: CliHost): void {
  const command = program
    .command("inspect")
    .summary("print everything about a container as JSON")
    .argument("<id...>", "names of containers")
    .addHelpText(
      "after",
      examples("berth inspect web", "berth inspect web | jq '.[0].container.spec.process.args'"),
    );
  run(host, command, async (ctx, _options, [list]) => {
    const ids = (list as readonly string[]).map((id) => checkedId(id));
    const found = await ctx.withClient(async (client) => {
      const views: unknown[] = [];
      for (const id of ids) {
        const { container } = await client.containers.get({ id }, { signal: ctx.signal });
        const task = await taskOf(client, id);
        views.push({
          namespace: ctx.namespace,
          container: plain(container),
          task: task === undefined ? null : { ...(plain(task) as object), status: taskState(task) },
        });
      }
      return views;
    });
    ctx.printJson(found);
    return 0;
  });
}

/** The command line of a process of this host; "" when it is gone, "[name]" when it has none. */
function commandLine(pid: number): string {
  try {
    const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").join(" ").trim();
    return words === "" ? `[${readFileSync(`/proc/${pid}/comm`, "utf8").trim()}]` : words;
  } catch {
    return "";
  }
}

export function addTop(program: Command, host: CliHost): void {
  const command = program
    .command("top")
    .alias("pids")
    .summary("list the processes of a container")
    .argument("<id>", "name of the container")
    .addHelpText("after", examples("berth top web", "berth pids --json web"));
  run(host, command, async (ctx, _options, [text]) => {
    const containerId = checkedId(String(text));
    const processes = await ctx.withClient(async (client) => {
      const answer = await client.tasks.listPids({ containerId }, { signal: ctx.signal });
      return answer.processes.map(({ pid, info }) => ({
        pid,
        execId: execIdOf(info),
        command: commandLine(pid),
      }));
    });
    if (ctx.json) ctx.printJson(processes);
    else
      ctx.print(
        renderTable(
          [">PID", "EXEC", "COMMAND"],
          processes.map(({ pid, execId, command: words }) => [
            String(pid),
            execId === "" ? "-" : execId,
            words,
          ]),
        ),
      );
    return 0;
  });
}

export function addVersion(program: Command, host: CliHost): void {
  const command = program
    .command("version")
    .summary("print the versions of this command and of the daemon")
    .addHelpText("after", examples("berth version", "berth --json version"));
  run(host, command, async (ctx) => {
    const { version, server } = await ctx.withClient(async (client) => ({
      version: await client.version({}, { signal: ctx.signal }),
      server: await client.server({}, { signal: ctx.signal }),
    }));
    if (ctx.json)
      ctx.printJson({ client: { version: berthVersion }, server: { ...version, uuid: server.uuid } });
    else
      ctx.print(
        `client  berth ${berthVersion}\nserver  ${version.version} (${version.revision})\nuuid    ${server.uuid}\nsocket  ${ctx.address}`,
      );
    return 0;
  });
}
