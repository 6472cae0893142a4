/** `berth run`: make a container from a directory, start it, and stay with it unless told otherwise. */
import type { Command } from "commander";
import { FifoSet } from "../../client/fifo-set.js";
import { ResourceScope } from "../../core/resource-scope.js";
import { CliError, messageOf, startFailureStatus } from "../cli-error.js";
import { type CliHost, commandWords, examples, run } from "../command.js";
import { type CliContext, checkedId } from "../context.js";
import { destroyContainer } from "../removal.js";
import { containerFor, logLabel, type RunOptions } from "../run-plan.js";
import { runSession } from "../session.js";
import { isTerminal, windowSize } from "../terminal.js";
import { collectEnv, collectLabel, collectVolume, parseCount, parseCpus, parseMemory } from "../values.js";

export function addRun(program: Command, host: CliHost): void {
  const command = program
    .command("run")
    .summary("run a command in a new container")
    .description(
      "Make a container from a root directory (or an OCI bundle) and run a command in it.\n" +
        "In the foreground berth passes signals on and exits with the container's exit status (128+N for signal N).\n" +
        "It exits 125 when the container could not be made, 126 when the program cannot be executed, 127 when it is missing.",
    )
    .argument("<id>", "name of the container")
    .argument("[command...]", "what to run, after --")
    .option("--rm", "remove the container when it has exited")
    .option("-d, --detach", "start it, print its id and return")
    .option("-t, --tty", "give it a terminal")
    .option("-i, --interactive", "give it our stdin")
    .option("--rootfs <dir>", "the container's root directory")
    .option("--bundle <dir>", "a directory with config.json, as runc takes it")
    .option(
      "--runtime <name>",
      "runtime name (io.containerd.runc.v2) or OCI runtime binary (crun, /usr/bin/crun)",
    )
    .option("--runtime-root <dir>", "where the OCI runtime keeps its state")
    .option("-e, --env <NAME=value>", "set an environment variable; may be repeated", collectEnv)
    .option("-l, --label <key=value>", "label the container; may be repeated", collectLabel)
    .option("-v, --volume </src:/dst[:ro]>", "bind mount; may be repeated", collectVolume)
    .option("-m, --memory <size>", "memory limit, such as 64m", parseMemory)
    .option("--cpus <number>", "processors, such as 0.5", parseCpus)
    .option("--pids-limit <count>", "most processes at once", parseCount("pids limit", 1))
    .option("-w, --cwd <dir>", "working directory in the container")
    .option("-u, --user <user[:group]>", "user name or id in the container")
    .option("--hostname <name>", "host name in the container")
    .option("--read-only", "mount the root directory read-only")
    .option("--log <file>", "append stdout and stderr to this file (see berth logs)")
    .passThroughOptions()
    .addHelpText(
      "after",
      examples(
        "berth run --rm --rootfs ./rootfs hello -- echo hello",
        "berth run --rm -t -i --rootfs ./rootfs shell -- sh",
        "berth run -d --rootfs ./rootfs --memory 64m --cpus 0.5 --log ./web.log web -- httpd -f",
        "berth run --rm --bundle ./bundle --runtime crun job",
      ),
    );
  run<RunOptions>(host, command, async (ctx, options, [id, words]) => {
    try {
      return await runContainer(ctx, checkedId(String(id)), options, commandWords(words));
    } catch (error) {
      const cause = error instanceof SessionLost ? error.cause : error;
      throw new CliError(messageOf(cause), error instanceof SessionLost ? 125 : startFailureStatus(cause), {
        cause,
      });
    }
  });
}

/** The container ran, but how it ended could not be learnt. */
class SessionLost extends Error {}

async function runContainer(
  ctx: CliContext,
  id: string,
  options: RunOptions,
  args: readonly string[],
): Promise<number> {
  const size = options.tty ? windowSize(ctx.stdio) : undefined;
  const container = containerFor(ctx.namespace, id, options, args, size);
  const log = container.labels[logLabel];
  const logUri = log === undefined ? "" : `file://${encodeURI(log)}`;
  const stdin = (options.interactive || (options.tty && isTerminal(ctx.stdio))) ?? false;

  return ctx.withClient(async (client) => {
    const scope = new ResourceScope();
    try {
      await client.containers.create({ container });
      scope.defer("container", () => destroyContainer(client, id));
      const fifos =
        options.detach || (logUri !== "" && !stdin)
          ? undefined
          : await FifoSet.create({ stdin, terminal: options.tty ?? false });
      let keepFiles = false;
      if (fifos !== undefined) scope.defer("stdio", () => fifos.close({ keepFiles }));
      let started = false;
      let pid = 0;
      const session = {
        id,
        execId: "",
        stdin,
        terminal: options.tty ?? false,
        fifos,
        create: async (paths: { stdin: string; stdout: string; stderr: string }): Promise<void> => {
          // Not cancelled by an interrupt: what the daemon has begun must be known to be undone.
          await client.tasks.create({
            containerId: id,
            ...paths,
            ...(logUri === "" ? {} : { stdout: logUri, stderr: logUri }),
            terminal: options.tty ?? false,
            options: container.runtime?.options,
          });
          throwIfInterrupted(ctx);
        },
        start: async (signal: AbortSignal): Promise<void> => {
          ({ pid } = await client.tasks.start({ containerId: id }, { signal }));
        },
        started: (): void => {
          started = true;
        },
      };
      if (options.detach) {
        await session.create({ stdin: "", stdout: "", stderr: "" });
        await session.start(ctx.signal);
        scope.keep();
        if (ctx.json) ctx.printJson({ id, namespace: ctx.namespace, pid });
        else ctx.print(id);
        return 0;
      }
      const end = await runSession(ctx, client, session).catch((error) => {
        if (!started) throw error;
        // It runs, or ran: it is not ours to destroy because we lost sight of it.
        scope.keep();
        fifos?.close();
        throw new SessionLost("lost sight of the container", { cause: error });
      });
      if (end.kind === "detached") {
        keepFiles = true;
        fifos?.close({ keepFiles });
        scope.keep();
        ctx.note(`detached from ${id}; come back with: berth attach ${id}`);
        return 0;
      }
      if (!options.rm) {
        fifos?.close();
        scope.keep();
      }
      return end.exitStatus;
    } finally {
      for (const failure of await scope.release())
        ctx.note(`could not clean up ${failure.what} of ${id}: ${messageOf(failure.error)}`);
    }
  });
}

function throwIfInterrupted(ctx: CliContext): void {
  if (ctx.signal.aborted) throw new CliError("interrupted before the container ran", 125);
}
