#!/usr/bin/env node
/** Entry of the `berth` command: real stdio, real signals, one exit status. */
import { runCli } from "./program.js";
import { SignalRouter } from "./signal-router.js";

const signals = new SignalRouter();
signals.listen();
for (const stream of [process.stdout, process.stderr])
  stream.on("error", (error: NodeJS.ErrnoException) => {
    // Whoever read our output has gone: end like a process that gets SIGPIPE, after cleaning up.
    if (error.code === "EPIPE") signals.deliver("SIGPIPE");
    else process.exit(1);
  });

const status = await runCli(process.argv.slice(2), process, process.env, signals);

// Output to a pipe may still be under way; a stdin that is still open must not keep the process alive.
await Promise.race([
  Promise.all(
    [process.stdout, process.stderr].map((stream) => new Promise((done) => stream.write("", done))),
  ),
  new Promise((done) => setTimeout(done, 5_000)),
]);
process.exit(status);
