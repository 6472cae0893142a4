/** How a command is declared: global options wherever the user puts them, an async body, an exit status. */
import { type Command, Option } from "commander";
import { type CliContext, createContext, type GlobalOptions, type Stdio } from "./context.js";
import type { SignalRouter } from "./signal-router.js";

/** What the program shares with every command that it runs. */
export interface CliHost {
  readonly stdio: Stdio;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly signals: SignalRouter;
  /** Exit status of the command that ran. */
  exitStatus: number;
}

/** A command's body: undefined means success, a number is the exit status. */
export type Body<O> = (
  ctx: CliContext,
  options: O,
  args: readonly (string | readonly string[])[],
) => Promise<number | undefined>;

/** The options that every command takes, before or after its name. */
export function addGlobalOptions(command: Command, hidden: boolean): Command {
  const options = [
    new Option(
      "--address <socket>",
      "the daemon's socket (env BERTH_ADDRESS; default /run/berth/berth.sock)",
    ),
    new Option(
      "-n, --namespace <name>",
      "containerd namespace (env BERTH_NAMESPACE, CONTAINERD_NAMESPACE; default default)",
    ),
    new Option("--json", "print JSON for programs"),
    new Option("--timeout <duration>", "limit for each call to the daemon, such as 10s (default 60s)"),
  ];
  for (const option of options) command.addOption(hidden ? option.hideHelp() : option);
  return command;
}

/** Makes `body` what `command` does. */
export function run<O>(host: CliHost, command: Command, body: Body<O>): void {
  addGlobalOptions(command, true);
  command.action(async (...all: unknown[]) => {
    const args = all.slice(0, -2) as (string | readonly string[])[];
    const options = all.at(-2) as O & GlobalOptions;
    const outer: GlobalOptions[] = [];
    for (let parent = command.parent; parent !== null; parent = parent.parent) outer.unshift(parent.opts());
    const globals = Object.assign({}, ...outer, options) as GlobalOptions;
    const ctx = createContext(globals, host.stdio, host.environment, host.signals);
    host.exitStatus = (await body(ctx, options, args)) ?? 0;
  });
}

/** The words after the container's id, with one leading `--` taken off. */
export function commandWords(words: unknown): readonly string[] {
  const list = (words ?? []) as readonly string[];
  return list[0] === "--" ? list.slice(1) : list;
}

/** Examples under a command's help. */
export const examples = (...lines: readonly string[]): string =>
  `\nExamples:\n${lines.map((line) => `  ${line}`).join("\n")}\n`;
