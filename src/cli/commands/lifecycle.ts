/** The commands that change a container's state: kill, stop, wait, pause, resume, rm, update. */
import { constants } from "node:os";
import type { Command } from "commander";
import type { DaemonClient } from "../../client/daemon-client.js";
import { ociAny, timeText } from "../../client/payload.js";
import { resourcesOf } from "../../client/spec.js";
import { DaemonError } from "../../core/errors.js";
import { CliError, messageOf } from "../cli-error.js";
import { type CliHost, examples, run } from "../command.js";
import { type CliContext, checkedId } from "../context.js";
import { ifFound, removeContainer } from "../removal.js";
import { parseCount, parseCpus, parseDurationMs, parseMemory, parseSignal } from "../values.js";

type Args = readonly (string | readonly string[])[];
const idsOf = (args: Args): string[] => (args[0] as readonly string[]).map((id) => checkedId(id));

/** Does `work` for each id; a failure of one is reported and the others still get their turn. */
async function forEach(
  ctx: CliContext,
  args: Args,
  work: (client: DaemonClient, id: string) => Promise<void>,
): Promise<number> {
  const ids = idsOf(args);
  let failures = 0;
  await ctx.withClient(async (client) => {
    for (const id of ids) {
      if (ctx.signal.aborted) return;
      try {
        await work(client, id);
      } catch (error) {
        failures += 1;
        ctx.note(messageOf(error));
      }
    }
  });
  return failures === 0 ? 0 : 1;
}

export function addLifecycle(program: Command, host: CliHost): void {
  addKill(program, host);
  addStop(program, host);
  addWait(program, host);
  addPauseAndResume(program, host);
  addRm(program, host);
  addUpdate(program, host);
}

function addKill(program: Command, host: CliHost): void {
  const command = program
    .command("kill")
    .summary("send a signal to a container")
    .argument("<id...>", "names of containers")
    .option("-s, --signal <signal>", "name or number", parseSignal, constants.signals.SIGTERM)
    .option("--all", "to every process in the container")
    .option("--exec-id <id>", "to this process instead of the first one")
    .addHelpText(
      "after",
      examples("berth kill web", "berth kill -s KILL --all web", "berth kill -s HUP web"),
    );
  run<{ signal: number; all?: boolean; execId?: string }>(host, command, async (ctx, options, args) => {
    const execId = options.execId === undefined ? "" : checkedId(options.execId, "exec id");
    return forEach(ctx, args, async (client, id) => {
      await client.tasks.kill({ containerId: id, execId, signal: options.signal, all: options.all ?? false });
    });
  });
}

function addStop(program: Command, host: CliHost): void {
  const command = program
    .command("stop")
    .summary("ask a container to end, then make it")
    .argument("<id...>", "names of containers")
    .option("-s, --signal <signal>", "what asks it", parseSignal, constants.signals.SIGTERM)
    .option("-t, --time <duration>", "how long it may take before it is killed", parseDurationMs, 10_000)
    .addHelpText("after", examples("berth stop web", "berth stop -t 2m -s INT db"));
  run<{ signal: number; time: number }>(host, command, async (ctx, options, args) =>
    forEach(ctx, args, async (client, id) => {
      const target = { containerId: id };
      // Asked first, so that an unknown container is an error but one that has stopped already is not.
      await client.tasks.get(target);
      const exited = client.tasks.wait(target, { signal: ctx.signal });
      exited.catch(() => {});
      await ifFound(client.tasks.kill({ ...target, signal: options.signal }));
      const timer = Symbol("timer");
      let handle: NodeJS.Timeout | undefined;
      const patience = new Promise<typeof timer>((resolve) => {
        handle = setTimeout(() => resolve(timer), options.time);
      });
      const first = await Promise.race([exited, patience]).finally(() => clearTimeout(handle));
      if (first !== timer) return;
      await ifFound(client.tasks.kill({ ...target, signal: constants.signals.SIGKILL, all: true }));
      await exited;
    }),
  );
}

function addWait(program: Command, host: CliHost): void {
  const command = program
    .command("wait")
    .summary("wait until a container exits and print its exit status")
    .argument("<id>", "name of the container")
    .option("--exec-id <id>", "wait for this process instead of the first one")
    .addHelpText("after", examples("berth wait web"));
  run<{ execId?: string }>(host, command, async (ctx, options, [text]) => {
    const containerId = checkedId(String(text));
    const execId = options.execId === undefined ? "" : checkedId(options.execId, "exec id");
    const exit = await ctx.withClient((client) =>
      client.tasks.wait({ containerId, execId }, { signal: ctx.signal }),
    );
    if (ctx.json)
      ctx.printJson({ id: containerId, exitStatus: exit.exitStatus, exitedAt: timeText(exit.exitedAt) });
    else ctx.print(String(exit.exitStatus));
    return 0;
  });
}

function addPauseAndResume(program: Command, host: CliHost): void {
  const pause = program
    .command("pause")
    .summary("freeze every process of a container")
    .argument("<id...>", "names of containers")
    .addHelpText("after", examples("berth pause web"));
  run(host, pause, async (ctx, _options, args) =>
    forEach(ctx, args, async (client, containerId) => {
      await client.tasks.pause({ containerId });
    }),
  );
  const resume = program
    .command("resume")
    .summary("let a paused container go on")
    .argument("<id...>", "names of containers")
    .addHelpText("after", examples("berth resume web"));
  run(host, resume, async (ctx, _options, args) =>
    forEach(ctx, args, async (client, containerId) => {
      await client.tasks.resume({ containerId });
    }),
  );
}

function addRm(program: Command, host: CliHost): void {
  const command = program
    .command("rm")
    .summary("remove containers")
    .argument("<id...>", "names of containers")
    .option("-f, --force", "kill those that run")
    .addHelpText("after", examples("berth rm job", "berth rm -f web db"));
  run<{ force?: boolean }>(host, command, async (ctx, options, args) =>
    forEach(ctx, args, async (client, id) => {
      try {
        await removeContainer(client, id, options.force ?? false);
        if (!ctx.json) ctx.print(id);
      } catch (error) {
        // As with every rm -f: what is not there need not be removed.
        if (!(options.force && error instanceof DaemonError && error.kind === "not-found")) throw error;
      }
    }),
  );
}

interface UpdateOptions {
  readonly memory?: number;
  readonly cpus?: number;
  readonly cpuShares?: number;
  readonly pidsLimit?: number;
}

function addUpdate(program: Command, host: CliHost): void {
  const command = program
    .command("update")
    .summary("change the limits of a running container")
    .argument("<id...>", "names of containers")
    .option("-m, --memory <size>", "memory limit, such as 64m", parseMemory)
    .option("--cpus <number>", "processors, such as 0.5", parseCpus)
    .option("--cpu-shares <number>", "relative weight, 1024 is usual", parseCount("cpu shares", 2))
    .option("--pids-limit <count>", "most processes at once", parseCount("pids limit", 1))
    .addHelpText("after", examples("berth update --memory 128m web", "berth update --cpus 2 web db"));
  run<UpdateOptions>(host, command, async (ctx, options, args) => {
    const limits = resourcesOf({
      memoryBytes: options.memory,
      cpus: options.cpus,
      cpuShares: options.cpuShares,
      pidsLimit: options.pidsLimit,
    });
    if (Object.keys(limits).length === 0)
      throw new CliError("nothing to change: give --memory, --cpus, --cpu-shares or --pids-limit");
    return forEach(ctx, args, async (client, containerId) => {
      await client.tasks.update({ containerId, resources: ociAny("LinuxResources", limits) });
    });
  });
}
