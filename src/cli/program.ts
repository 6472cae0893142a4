/** The `berth` command as a whole: its commands, and how every outcome becomes one line and one exit status. */
import { Command, CommanderError } from "commander";
import { DaemonError } from "../core/errors.js";
import { version as berthVersion } from "../core/version.js";
import { CliError, messageOf } from "./cli-error.js";
import { addGlobalOptions, type CliHost, examples } from "./command.js";
import { addCompletion } from "./commands/completion.js";
import { addEvents } from "./commands/events.js";
import { addAttach, addExec } from "./commands/exec.js";
import { addInspect, addTop, addVersion } from "./commands/inspect.js";
import { addLifecycle } from "./commands/lifecycle.js";
import { addLogs } from "./commands/logs.js";
import { addNs } from "./commands/ns.js";
import { addPs } from "./commands/ps.js";
import { addRun } from "./commands/run.js";
import { addStats } from "./commands/stats.js";
import { addTree } from "./commands/tree.js";
import type { Stdio } from "./context.js";
import { SignalRouter, statusOfSignal } from "./signal-router.js";

/** The whole command line. `host` receives the exit status of the command that runs. */
export function buildProgram(host: CliHost): Command {
  const program = new Command("berth")
    .description("Run and supervise containers through berthd, or any daemon with containerd's API.")
    .version(berthVersion, "-V, --version", "print the version of this command")
    .enablePositionalOptions()
    .exitOverride()
    .configureHelp({ sortSubcommands: false, showGlobalOptions: false })
    .configureOutput({
      writeOut: (text) => host.stdio.stdout.write(text),
      // Errors are printed once, by runCli; help that was asked for goes to stdout.
      writeErr: () => {},
    })
    .addHelpText(
      "after",
      examples(
        "berth run --rm --rootfs ./rootfs hello -- echo hello",
        "berth ps -a",
        "berth exec -t -i web -- sh",
        "berth help run",
      ),
    );
  addGlobalOptions(program, false);
  for (const add of [
    addRun,
    addExec,
    addAttach,
    addPs,
    addLogs,
    addLifecycle,
    addTop,
    addStats,
    addEvents,
    addInspect,
    addTree,
    addNs,
    addVersion,
    addCompletion,
  ])
    add(program, host);
  return program;
}

const usageText = (error: CommanderError): string =>
  error.message
    .replace(/^error: /, "")
    .replace(/\n\((.*)\)$/s, " ($1)")
    .replace(/\n/g, " ");

/** Runs one command line and returns the exit status; never throws, prints failures as one line. */
export async function runCli(
  args: readonly string[],
  stdio: Stdio,
  environment: Readonly<Record<string, string | undefined>>,
  signals: SignalRouter = new SignalRouter(),
): Promise<number> {
  const host: CliHost = { stdio, environment, signals, exitStatus: 0 };
  const program = buildProgram(host);
  const complain = (message: string): void => {
    stdio.stderr.write(`berth: ${message}\n`);
  };
  if (args.length === 0) {
    stdio.stderr.write(program.helpInformation());
    return 1;
  }
  try {
    await program.parseAsync([...args], { from: "user" });
    return host.exitStatus;
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return 0;
      if (error.code === "commander.help") {
        complain(`say which: berth ${args.join(" ")} --help lists the commands`);
        return 1;
      }
      complain(usageText(error));
      return program.args[0] === "run" ? 125 : 1;
    }
    if (signals.abortedBy !== undefined && isAbort(error)) return statusOfSignal(signals.abortedBy);
    complain(messageOf(error));
    if (program.args[0] === "run" && error instanceof CliError && error.exitStatus === 1) return 125;
    return error instanceof CliError ? error.exitStatus : 1;
  }
}

const isAbort = (error: unknown): boolean =>
  (error instanceof DaemonError && error.kind === "cancelled") ||
  (error instanceof Error && (error.name === "AbortError" || isAbort(error.cause)));
