/** `berth exec` and `berth attach`: one more process in a running container, or its first one again. */
import { randomBytes } from "node:crypto";
import { statSync } from "node:fs";
import type { Command } from "commander";
import { FifoSet } from "../../client/fifo-set.js";
import { jsonOf, ociAny } from "../../client/payload.js";
import { taskState } from "../../client/records.js";
import { applyToProcess, type OciSpec } from "../../client/spec.js";
import { resolveUser } from "../../client/user-lookup.js";
import { CliError, messageOf, startFailureStatus } from "../cli-error.js";
import { type CliHost, commandWords, examples, run } from "../command.js";
import { type CliContext, checkedId } from "../context.js";
import { deleteTask, ifFound } from "../removal.js";
import { runSession } from "../session.js";
import { isTerminal, windowSize } from "../terminal.js";
import { collectEnv } from "../values.js";

interface ExecOptions {
  readonly tty?: boolean;
  readonly interactive?: boolean;
  readonly detach?: boolean;
  readonly env?: readonly string[];
  readonly cwd?: string;
  readonly user?: string;
  readonly execId?: string;
}

export function addExec(program: Command, host: CliHost): void {
  const command = program
    .command("exec")
    .summary("run a command in a running container")
    .description(
      "Start one more process in a running container and exit with its exit status.\n" +
        "Exits 126 when the program cannot be executed and 127 when it is missing.",
    )
    .argument("<id>", "name of the container")
    .argument("<command...>", "what to run, after --")
    .option("-d, --detach", "start it, print its exec id and return")
    .option("-t, --tty", "give it a terminal")
    .option("-i, --interactive", "give it our stdin")
    .option("-e, --env <NAME=value>", "set an environment variable; may be repeated", collectEnv)
    .option("-w, --cwd <dir>", "working directory in the container")
    .option("-u, --user <user[:group]>", "user name or id in the container")
    .option("--exec-id <id>", "name of the process; default random")
    .passThroughOptions()
    .addHelpText(
      "after",
      examples("berth exec web -- ps", "berth exec -t -i web -- sh", "echo data | berth exec -i web -- cat"),
    );
  run<ExecOptions>(host, command, async (ctx, options, [id, words]) => {
    const args = commandWords(words);
    if (args.length === 0) throw new CliError("say what to run: berth exec ID -- COMMAND [ARG…]");
    if (options.detach && (options.tty || options.interactive))
      throw new CliError("-d leaves the process alone: it cannot be combined with -t or -i");
    try {
      return await execIn(ctx, checkedId(String(id)), options, args);
    } catch (error) {
      const status = startFailureStatus(error);
      throw new CliError(messageOf(error), status === 125 ? 1 : status, { cause: error });
    }
  });
}

async function execIn(
  ctx: CliContext,
  id: string,
  options: ExecOptions,
  args: readonly string[],
): Promise<number> {
  const execId = checkedId(options.execId ?? `exec-${randomBytes(6).toString("hex")}`, "exec id");
  const terminal = options.tty ?? false;
  const stdin = (options.interactive || (terminal && isTerminal(ctx.stdio))) ?? false;
  const size = terminal ? windowSize(ctx.stdio) : undefined;

  return ctx.withClient(async (client) => {
    const { container } = await client.containers.get({ id });
    const spec = jsonOf<OciSpec>(container?.spec);
    if (spec?.process === undefined)
      throw new CliError(`container ${id} has no process to model the exec on`);
    const process = applyToProcess(spec.process, {
      args,
      terminal,
      ...(size === undefined ? {} : { consoleSize: size }),
      ...(options.env === undefined ? {} : { env: options.env }),
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(options.user === undefined ? {} : { user: resolveUser(options.user, spec.root.path) }),
    });

    const fifos = options.detach ? undefined : await FifoSet.create({ stdin, terminal });
    let registered = false;
    let running = false;
    const session = {
      id,
      execId,
      stdin,
      terminal,
      fifos,
      create: async (paths: { stdin: string; stdout: string; stderr: string }): Promise<void> => {
        // Not cancelled by an interrupt: what the daemon has begun must be known to be undone.
        await client.tasks.exec({
          containerId: id,
          execId,
          ...paths,
          terminal,
          spec: ociAny("Process", process),
        });
        registered = true;
      },
      start: async (signal: AbortSignal): Promise<void> => {
        await client.tasks.start({ containerId: id, execId }, { signal });
      },
      started: (): void => {
        running = true;
      },
    };
    try {
      if (options.detach) {
        await session.create({ stdin: "", stdout: "", stderr: "" });
        await session.start(ctx.signal);
        session.started();
        // Its record stays: somebody may want to wait for it, and the container's end removes it.
        if (ctx.json) ctx.printJson({ id, execId });
        else ctx.print(execId);
        return 0;
      }
      const end = await runSession(ctx, client, session);
      running = false;
      // Never "detached": those keys leave containers only.
      return end.kind === "exited" ? end.exitStatus : 0;
    } finally {
      // One that never started must be deleted too, or its id stays taken; one that runs, detached or out of
      // our sight, cannot be.
      if (registered && !running)
        await ifFound(client.tasks.deleteProcess({ containerId: id, execId })).catch((error) =>
          ctx.note(`could not delete process ${execId}: ${messageOf(error)}`),
        );
      fifos?.close();
    }
  });
}

export function addAttach(program: Command, host: CliHost): void {
  const command = program
    .command("attach")
    .summary("come back to a container that was left with ctrl-p ctrl-q")
    .description("Connect this terminal to a container's first process again and exit with its exit status.")
    .argument("<id>", "name of the container")
    .addHelpText("after", examples("berth attach shell"));
  run(host, command, async (ctx, _options, [text]) => {
    const id = checkedId(String(text));
    return ctx.withClient(async (client) => {
      const { process } = await client.tasks.get({ containerId: id });
      if (process === undefined || !isFifo(process.stdout))
        throw new CliError(
          process?.stdout.startsWith("file:")
            ? `container ${id} writes to a file: see berth logs ${id}`
            : `container ${id} has no output to attach to`,
        );
      const fifos = FifoSet.existing(process);
      try {
        const end = await runSession(ctx, client, {
          id,
          execId: "",
          stdin: process.stdin !== "",
          terminal: process.terminal,
          fifos,
          create: async () => {},
          start: async () => {},
        });
        if (end.kind === "detached") {
          ctx.note(`detached from ${id}, which is ${taskState(process)}`);
          return 0;
        }
        // The client that started it has long gone: nobody else tidies up after it.
        await deleteTask(client, id, process);
        return end.exitStatus;
      } finally {
        fifos.close({ keepFiles: true });
      }
    });
  });
}

const isFifo = (path: string): boolean =>
  path.startsWith("/") && (statSync(path, { throwIfNoEntry: false })?.isFIFO() ?? false);
