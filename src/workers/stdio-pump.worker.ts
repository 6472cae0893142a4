/**
 * A pump thread: sleeps in epoll_wait, not in its event loop, so a message is seen only after the main thread
 * wrote the wake descriptor; then the loop yields once. It cannot be terminated while it sleeps, hence the
 * stop cell, and a finite sleep in case a wake-up is ever missed.
 */
import { parentPort, workerData } from "node:worker_threads";
import comlink from "comlink";
import { epollOn } from "../native/epoll.js";
import { portEndpoint } from "./stdio-pump-channel.js";
import { PumpEngine } from "./stdio-pump-engine.js";
import type { PumpControl, PumpReport, PumpWorkerData } from "./stdio-pump-protocol.js";

const sleepMs = 10_000;

const port = parentPort;
if (port === null) throw new Error("the stdio pump runs as a worker thread");
const { epollFd, wakeFd, stop } = workerData as PumpWorkerData;
const stopCell = new Int32Array(stop);
const engine = new PumpEngine(epollOn(epollFd), wakeFd, (id, end) => {
  const report: PumpReport = { kind: "stream-ended", id, end };
  port.postMessage(report);
});

const control: PumpControl = {
  add: (streams) => {
    for (const stream of streams) engine.add(stream);
  },
  remove: (ids) => {
    for (const id of ids) engine.remove(id);
  },
  endWhenEmpty: (ids) => {
    for (const id of ids) engine.endWhenEmpty(id);
  },
};
comlink.expose(control, portEndpoint(port));

function loop(): void {
  for (;;) {
    if (Atomics.load(stopCell, 0) !== 0) process.exit(0);
    // The sender posts first and writes the descriptor second, so one round of the event loop has the message.
    if (engine.turn(sleepMs)) break;
  }
  setImmediate(loop);
}
// Messages posted while this thread started wrote the descriptor too; the first turn returns at once.
loop();
