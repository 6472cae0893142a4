/** `berth tree`: the daemon's supervision tree while it runs, from its debug socket. */
import { request } from "node:http";
import type { Command } from "commander";
import { socketPath } from "../../client/connection.js";
import { connectionProblem } from "../../client/grpc-errors.js";
import { CliError, messageOf } from "../cli-error.js";
import { type CliHost, examples, run } from "../command.js";
import type { CliContext } from "../context.js";
import { renderTree, type TreeNode } from "../tree-view.js";

/** A tree of a hundred thousand actors stays below this. */
const maxBodyBytes = 64 * 1024 * 1024;

/** Fetches a JSON document from the daemon's HTTP debug socket, `<grpc address>.debug`. */
export async function fetchDebug<T>(ctx: CliContext, path: string): Promise<T> {
  const socket = `${socketPath(ctx.address)}.debug`;
  const body = await new Promise<string>((resolve, reject) => {
    const call = request(
      { socketPath: socket, path, headers: { host: "unix" }, signal: ctx.signal, timeout: ctx.timeoutMs },
      (response) => {
        const chunks: Buffer[] = [];
        let size = 0;
        response.on("data", (chunk: Buffer) => {
          size += chunk.length;
          if (size > maxBodyBytes) call.destroy(new Error("the answer is too large"));
          else chunks.push(chunk);
        });
        response.on("end", () => {
          if (response.statusCode === 200) resolve(Buffer.concat(chunks).toString("utf8"));
          else reject(new CliError(`the daemon answered ${response.statusCode} to ${path}`));
        });
        response.on("error", reject);
      },
    );
    call.on("timeout", () => call.destroy(new Error(`no answer within ${ctx.timeoutMs} ms`)));
    call.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT")
        reject(new CliError(`${socket} does not exist: is the daemon berthd, and is it running?`));
      else reject(connectionProblem(socket, error.code ?? "") ?? error);
    });
    call.end();
  });
  try {
    return JSON.parse(body) as T;
  } catch (error) {
    throw new CliError(`the daemon's answer to ${path} is not JSON: ${messageOf(error)}`);
  }
}

export function addTree(program: Command, host: CliHost): void {
  const command = program
    .command("tree")
    .summary("show the daemon's supervision tree")
    .description(
      "Show every supervisor and actor of a running berthd: its state, queued messages, handled messages, restarts and last crash.",
    )
    .option("--depth <levels>", "how deep to look", (text) => Number.parseInt(text, 10))
    .addHelpText("after", examples("berth tree", "berth tree --depth 2", "berth --json tree"));
  run<{ depth?: number }>(host, command, async (ctx, options) => {
    const tree = await fetchDebug<TreeNode>(ctx, "/debug/tree");
    if (ctx.json) ctx.printJson(tree);
    else ctx.print(renderTree(tree, options.depth));
    return 0;
  });
}
