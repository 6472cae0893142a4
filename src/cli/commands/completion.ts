/** `berth completion`: scripts that let a shell complete berth's commands and options. */
import type { Command } from "commander";
import { CliError } from "../cli-error.js";
import { type CliHost, examples, run } from "../command.js";

interface Entry {
  readonly name: string;
  readonly summary: string;
  readonly options: readonly string[];
}

function entriesOf(program: Command): Entry[] {
  return program.commands.map((command) => ({
    name: command.name(),
    summary: command.summary() || command.description(),
    options: [
      ...command.options.flatMap((option) => (option.long == null ? [] : [option.long])),
      ...command.commands.map((sub) => sub.name()),
      "--help",
    ],
  }));
}

function bashScript(entries: readonly Entry[]): string {
  const cases = entries.map(({ name, options }) => `    ${name}) words="${options.join(" ")}" ;;`).join("\n");
  return `# berth completion for bash: source <(berth completion bash)
_berth() {
  local current="\${COMP_WORDS[COMP_CWORD]}" words="${entries.map(({ name }) => name).join(" ")}" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    [ "\${COMP_WORDS[i]}" = -- ] && { compopt -o default; return; }
    case "\${COMP_WORDS[i]}" in
${cases.replaceAll("    ", "      ")}
      *) continue ;;
    esac
    [[ $current == -* ]] || words="$words $(berth ps --all --quiet 2>/dev/null)"
    break
  done
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -F _berth berth`;
}

function zshScript(entries: readonly Entry[]): string {
  return `# berth completion for zsh: source <(berth completion zsh)
autoload -U +X bashcompinit && bashcompinit
${bashScript(entries).split("\n").slice(1).join("\n")}`;
}

function fishScript(entries: readonly Entry[]): string {
  const quoted = (text: string): string => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
  return [
    "# berth completion for fish: berth completion fish | source",
    "complete -c berth -f",
    ...entries.flatMap(({ name, summary, options }) => [
      `complete -c berth -n __fish_use_subcommand -a ${name} -d ${quoted(summary)}`,
      ...options
        .filter((option) => option.startsWith("--"))
        .map((option) => `complete -c berth -n '__fish_seen_subcommand_from ${name}' -l ${option.slice(2)}`),
    ]),
  ].join("\n");
}

export function addCompletion(program: Command, host: CliHost): void {
  const command = program
    .command("completion")
    .summary("print a completion script for a shell")
    .argument("<shell>", "bash, zsh or fish")
    .addHelpText("after", examples("source <(berth completion bash)", "berth completion fish | source"));
  run(host, command, async (ctx, _options, [shell]) => {
    const scripts: Readonly<Record<string, (entries: readonly Entry[]) => string>> = {
      bash: bashScript,
      zsh: zshScript,
      fish: fishScript,
    };
    const script = scripts[String(shell)];
    if (script === undefined) throw new CliError(`no completion for ${shell}: choose bash, zsh or fish`);
    ctx.print(script(entriesOf(program)));
    return 0;
  });
}
