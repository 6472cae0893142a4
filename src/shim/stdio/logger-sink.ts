/** The two pipes of a `binary://` logger as sinks. The process writes to them directly; only a terminal is pumped. */
import { duplicateFd, setNonblocking } from "../../native/fds.js";
import { LoggerProcess, loggerIdentity } from "./logger-process.js";
import type { OutputSink } from "./output-sink.js";
import type { OwnedFd } from "./owned-fd.js";
import type { PlaneParts, ProcessIoRequest } from "./process-io.js";
import type { OutputTarget } from "./stdio-plan.js";

/** How long deleting a process waits for its logger; the logger itself has longer (see LoggerProcess.stop). */
const closeWaitMs = 4_000;
/** How long a logger has to become ready when the request sets no limit. */
const readyTimeoutMs = 30_000;

/** Starts a logger and waits until it is ready. Rejects `unknown`; then it has been told to end. */
export async function openLoggerSinks(
  target: Extract<OutputTarget, { readonly kind: "logger" }>,
  request: ProcessIoRequest,
  parts: PlaneParts,
  signal: AbortSignal,
): Promise<readonly [OutputSink, OutputSink]> {
  const logger = LoggerProcess.start(
    {
      program: target.program,
      args: target.args,
      ...loggerIdentity(request.streamKey),
      workingDirectory: request.bundle,
    },
    parts.poller,
    parts.log,
  );
  parts.loggers.add(logger);
  void logger.ended.then(() => parts.loggers.delete(logger));
  const sinks = [loggerSink(logger, logger.writers[0]), loggerSink(logger, logger.writers[1])] as const;
  try {
    await logger.untilReady(request.openTimeoutMs > 0 ? request.openTimeoutMs : readyTimeoutMs, signal);
    return sinks;
  } catch (error) {
    for (const writer of logger.writers) writer.close();
    logger.stop();
    throw error;
  }
}

function loggerSink(logger: LoggerProcess, writer: OwnedFd): OutputSink {
  return {
    route: "logger",
    childFd: () => duplicateFd(writer.fd),
    get pumpTarget() {
      // Only the pump uses this end then, so the flag reaches nobody else.
      setNonblocking(writer.fd, true);
      return { fd: writer.fd, copied: false };
    },
    // With our copy open the logger would never see the end of file.
    handedOver: () => writer.close(),
    finish: () => writer.close(),
    unreadBytes: () => 0,
    async close() {
      writer.close();
      logger.stop();
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, closeWaitMs);
      });
      await Promise.race([logger.ended, late]);
      clearTimeout(timer);
    },
  };
}
