/** `berth events`: what happens in the daemon, as it happens. */
import type { Command } from "commander";
import { eventView } from "../../client/payload.js";
import { type CliHost, examples, run } from "../command.js";
import { printable } from "../table.js";
import { collect } from "../values.js";

/** Filters for the daemon: an event passes when any of them matches, and only events of `namespace` if given. */
export function eventFilters(filters: readonly string[], namespace: string | undefined): string[] {
  if (namespace === undefined) return [...filters];
  const own = `namespace==${namespace}`;
  return filters.length === 0 ? [own] : filters.map((filter) => `${filter},${own}`);
}

export function addEvents(program: Command, host: CliHost): void {
  const command = program
    .command("events")
    .summary("print events as they happen")
    .description(
      "Print the daemon's events until interrupted: of every namespace, or of the one named with -n.\n" +
        "A filter is containerd's: FIELD==VALUE, FIELD!=VALUE or FIELD~=REGEX, joined by commas (and); repeat --filter for or.",
    )
    .option("-f, --filter <filter>", "print only matching events; may be repeated", collect)
    .addHelpText(
      "after",
      examples(
        "berth events",
        "berth events --filter 'topic==\"/tasks/exit\"'",
        "berth -n default events --json --filter 'topic~=^/tasks/,event.container_id==web'",
      ),
    );
  run<{ filter?: readonly string[] }>(host, command, async (ctx, options) => {
    const filters = eventFilters(options.filter ?? [], ctx.namespaceGiven ? ctx.namespace : undefined);
    await ctx.withClient(async (client) => {
      for await (const envelope of client.events.subscribe({ filters }, { signal: ctx.signal })) {
        const view = eventView(envelope);
        if (ctx.json) ctx.printJson(view, "line");
        else
          ctx.print(
            `${view.timestamp} ${printable(view.namespace)} ${printable(view.topic)} ${JSON.stringify(view.event)}`,
          );
      }
    });
    // Only the daemon ends the stream in good order.
    ctx.note("the daemon ended the event stream");
    return 1;
  });
}
