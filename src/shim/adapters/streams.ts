/** A process's streams from the stdio plane, with a budget for each wait and totals of what was moved. */
import type { Clock } from "../../core/clock.js";
import type { Logger } from "../../core/logger.js";
import type { StreamTotals } from "../../wire/gen/berth/shim/v1/shim.js";
import type { ProcessStreams, StdioOpener } from "../ports.js";
import type { DrainReport, ProcessIo, StdioMode, StdioPlane } from "../stdio/process-io.js";

export interface StreamsOptions {
  readonly namespace: string;
  readonly mode: StdioMode;
  readonly clock: Clock;
  readonly log: Logger;
  /** How long output may take to drain at most, whoever waits. */
  readonly drainMs: number;
  /** How long opening waits for readers of the output FIFOs. */
  readonly openMs: number;
  /** How long the process and its runtime have to hand over a terminal. */
  readonly readyMs: number;
  /** For console sockets. */
  readonly temporaryDirectory: string;
}

export interface CountingOpener extends StdioOpener {
  readonly totals: StreamTotals;
}

export function streamsOpener(plane: StdioPlane, options: StreamsOptions): CountingOpener {
  const totals = {
    readBytes: 0n,
    deliveredBytes: 0n,
    droppedBytes: 0n,
    waitingBytes: 0n,
    undrainedProcesses: 0,
  };
  const count = (key: string, report: DrainReport): void => {
    for (const stream of report.streams) {
      totals.readBytes += BigInt(stream.readBytes);
      totals.deliveredBytes += BigInt(stream.deliveredBytes);
      totals.droppedBytes += BigInt(stream.droppedBytes);
      totals.waitingBytes += BigInt(stream.waitingBytes);
    }
    if (report.drained) return;
    totals.undrainedProcesses += 1;
    const waiting = report.streams
      .filter((stream) => !stream.drained)
      .map(({ stream, waitingBytes }) => ({ stream, waitingBytes }));
    options.log.warn({ streamKey: key, waiting, waitedMs: report.waitedMs }, "output did not drain in time");
  };
  return {
    totals,
    async open(process, stdio, signal) {
      const { containerId, execId } = process;
      const streamKey = [options.namespace, containerId, ...(execId === "" ? [] : [execId])].join("/");
      const io = await plane.open(
        {
          streamKey,
          stdio,
          mode: options.mode,
          ioUid: process.ioUid,
          ioGid: process.ioGid,
          openTimeoutMs: options.openMs,
          drainTimeoutMs: options.drainMs,
          temporaryDirectory: options.temporaryDirectory,
        },
        signal,
      );
      return adapt(io, options, (report) => count(streamKey, report));
    },
  };
}

function adapt(io: ProcessIo, options: StreamsOptions, count: (report: DrainReport) => void): ProcessStreams {
  let drained: Promise<void> | undefined;
  return {
    childStdio: io.childStdio,
    consoleSocketPath: io.consoleSocketPath,
    childReady: () => io.childReady(options.readyMs),
    closeStdin: () => io.closeStdin(),
    resize: (width, height) => io.resize(width, height),
    exited(budgetMs) {
      drained ??= io.exited().then(count);
      if (budgetMs >= options.drainMs) return drained;
      const work = drained;
      return new Promise((resolve) => {
        const timer = options.clock.setTimer(budgetMs, resolve);
        void work.then(() => {
          timer.cancel();
          resolve();
        });
      });
    },
    close: () => io.close(),
  };
}
