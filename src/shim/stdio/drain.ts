/** Waiting for output to end after its process has, and saying what became of the bytes. */
import type { Logger } from "../../core/logger.js";
import type { OutputSink } from "./output-sink.js";
import type { DrainReport, StreamReport } from "./process-io.js";
import type { PumpedInput, PumpedOutput } from "./pumped-streams.js";

/** True when all have ended within the budget. One timer, whatever the number of streams. */
export async function endedWithin(budgetMs: number, outputs: readonly PumpedOutput[]): Promise<boolean> {
  if (outputs.length === 0) return true;
  let timer: NodeJS.Timeout | undefined;
  const budget = new Promise<false>((resolve) => {
    timer = setTimeout(resolve, Math.min(Math.max(0, budgetMs), maxTimerMs), false);
  });
  try {
    return await Promise.race([Promise.all(outputs.map((output) => output.ended)).then(() => true), budget]);
  } finally {
    clearTimeout(timer);
  }
}

/** A pump thread lets go between two transfers; only one stuck in the kernel (a dead network disk) takes longer. */
const closeTimeoutMs = 5_000;

/** Resolves when `work` has, or in time; then the descriptors are closed later, when their pump lets go of them. */
export async function closedInTime(work: Promise<void>, log: Logger): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<"late">((resolve) => {
    timer = setTimeout(resolve, closeTimeoutMs, "late");
  });
  try {
    const first = await Promise.race([work, late]);
    if (first === "late") log.error({ timeoutMs: closeTimeoutMs }, "stdio is still in use, closing it later");
  } catch (error) {
    log.error({ err: error }, "closing stdio failed");
  } finally {
    clearTimeout(timer);
  }
}

/** Longer timers than this fire at once. */
export const maxTimerMs = 2 ** 31 - 1;

export function pumpReport(stream: PumpedOutput | PumpedInput): StreamReport {
  const isOutput = stream.name !== "stdin";
  const output = isOutput ? (stream as PumpedOutput) : undefined;
  const deliveredBytes = stream.movedBytes();
  const droppedBytes = stream.droppedBytes();
  return {
    stream: stream.name,
    route: "pump",
    readBytes: deliveredBytes + droppedBytes,
    deliveredBytes,
    droppedBytes,
    waitingBytes: output?.waitingBytes() ?? 0,
    unreadBytes: output?.sink.unreadBytes() ?? 0,
    drained: stream.end !== undefined && stream.end.reason !== "failed",
  };
}

/** An output that bypasses the shim: nothing to wait for. */
export function bypassReport(stream: "stdout" | "stderr", sink: OutputSink): StreamReport {
  return {
    stream,
    route: sink.route === "fifo" ? "direct" : sink.route,
    readBytes: 0,
    deliveredBytes: 0,
    droppedBytes: 0,
    waitingBytes: 0,
    unreadBytes: sink.unreadBytes(),
    drained: true,
  };
}

export function drainReport(startedAt: number, streams: readonly StreamReport[]): DrainReport {
  return {
    drained: streams.every((stream) => stream.stream === "stdin" || stream.drained),
    waitedMs: performance.now() - startedAt,
    streams,
  };
}
