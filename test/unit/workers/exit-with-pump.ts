/** Run by stdio-pump-exit.test.ts: starts a pump thread, then ends in the way that its argument names. */
import { silentLogger } from "../../../src/core/logger.js";
import { makePipe, O_NONBLOCK } from "../../../src/native/fds.js";
import { PumpHost } from "../../../src/workers/stdio-pump-host.js";

const [, , workerUrl = "", how = ""] = process.argv;
const host = new PumpHost({ log: silentLogger, workerUrl: new URL(workerUrl), threads: 1 });
const [source] = makePipe(O_NONBLOCK);
const [, sink] = makePipe(O_NONBLOCK);
await host.attach([{ source, sink }]).started;
console.log("pumping");
if (how === "process.exit") process.exit(7);
if (how === "an uncaught error") throw new Error("on purpose");
// Otherwise nothing is left to do: the event loop runs dry.
