/** `berth ns`: containerd namespaces, the tenants of a daemon. */
import type { Command } from "commander";
import { type CliHost, examples, run } from "../command.js";
import { checkedId } from "../context.js";
import { renderTable } from "../table.js";
import { collectLabel } from "../values.js";

export function addNs(program: Command, host: CliHost): void {
  const ns = program
    .command("ns")
    .summary("list, create and remove namespaces")
    .addHelpText(
      "after",
      examples("berth ns ls", "berth ns create team-a --label owner=ann", "berth ns rm team-a"),
    );

  run(host, ns.command("ls").summary("list namespaces"), async (ctx) => {
    const { namespaces } = await ctx.withClient((client) =>
      client.namespaces.list({}, { signal: ctx.signal }),
    );
    if (ctx.json) ctx.printJson(namespaces);
    else
      ctx.print(
        renderTable(
          ["NAME", "LABELS"],
          namespaces.map(({ name, labels }) => [
            name,
            Object.entries(labels)
              .map(([key, value]) => `${key}=${value}`)
              .join(","),
          ]),
        ),
      );
    return 0;
  });

  run<{ label?: Readonly<Record<string, string>> }>(
    host,
    ns
      .command("create")
      .summary("create a namespace")
      .argument("<name>")
      .option("-l, --label <key=value>", "label it; may be repeated", collectLabel),
    async (ctx, options, [text]) => {
      const name = checkedId(String(text), "namespace");
      await ctx.withClient((client) =>
        client.namespaces.create({ namespace: { name, labels: { ...options.label } } }),
      );
      return 0;
    },
  );

  run(
    host,
    ns.command("rm").summary("remove a namespace that is empty").argument("<name>"),
    async (ctx, _options, [text]) => {
      const name = checkedId(String(text), "namespace");
      await ctx.withClient((client) => client.namespaces.delete({ name }));
      return 0;
    },
  );
}
