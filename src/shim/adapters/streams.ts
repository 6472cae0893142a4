/** A process's streams from the stdio plane, with a budget for each wait and totals of what was moved. */
import type { Clock } from "../../core/clock.js";
import { DaemonError, unknownError } from "../../core/errors.js";
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
      const request = {
        streamKey,
        stdio,
        mode: process.stdioMode ?? options.mode,
        bundle: process.bundle,
        ioUid: process.ioUid,
        ioGid: process.ioGid,
        openTimeoutMs: options.openMs,
        drainTimeoutMs: options.drainMs,
        temporaryDirectory: options.temporaryDirectory,
      };
      const io = await plane.open(request, signal).catch((error: unknown) => {
        throw inContainerdsWords(error);
      });
      return adapt(io, options, (report) => count(streamKey, report));
    },
  };
}

/** Failures that containerd's shim meets only after it has made the process's pipes. */
const copyFailure = /^failed to (start (console|io pipe) copy|open stdin fifo)/;

/** Earlier ones it tells as failures to create "init's" streams, for an exec too. */
function inContainerdsWords(error: unknown): unknown {
  if (!(error instanceof DaemonError) || error.kind !== "unknown" || copyFailure.test(error.message))
    return error;
  return unknownError(`failed to create init process I/O: ${error.message}`, { cause: error });
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
