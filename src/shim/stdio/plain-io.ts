/**
 * Stdio without a terminal. Direct streams give the process the client's own files and then only hold them;
 * pumped streams give it pipes. One process may have both: a file as stdin is never pumped.
 */
import type { Logger } from "../../core/logger.js";
import { ResourceScope } from "../../core/resource-scope.js";
import { changeOwner, makePipe, O_RDONLY, openFd, setNonblocking } from "../../native/fds.js";
import { bypassReport, closedInTime, drainReport, endedWithin, pumpReport } from "./drain.js";
import { enlargePipe } from "./fifo-sink.js";
import { type FifoInput, openInput } from "./input-source.js";
import { openLoggerSinks } from "./logger-sink.js";
import { type OutputSink, openSink } from "./output-sink.js";
import { OwnedFd } from "./owned-fd.js";
import type { DrainReport, PlaneParts, ProcessIo, ProcessIoRequest } from "./process-io.js";
import { PumpedInput, PumpedOutput } from "./pumped-streams.js";
import { startPumps } from "./start-pumps.js";
import type { StdioPlan } from "./stdio-plan.js";

interface OpenInput {
  readonly child: OwnedFd;
  /** Of a direct FIFO: closing it is CloseIO. */
  readonly holder?: OwnedFd;
  readonly pumped?: PumpedInput;
}

interface OpenOutput {
  readonly name: "stdout" | "stderr";
  readonly child: OwnedFd;
  readonly sink: OutputSink;
  readonly pumped?: PumpedOutput;
}

/** Opens all three streams, stdin first as containerd does; on failure nothing stays open. */
export async function openPlainIo(
  plan: StdioPlan,
  request: ProcessIoRequest,
  parts: PlaneParts,
  signal: AbortSignal,
): Promise<ProcessIo> {
  const scope = new ResourceScope();
  try {
    const input = openPlainInput(plan, request, parts.log, scope);
    const sinks = await openSinks(plan, request, parts, signal, scope);
    const outputs = [
      openOutput("stdout", sinks[0], plan, request, parts.log, scope),
      openOutput("stderr", sinks[1], plan, request, parts.log, scope),
    ];
    const io = new PlainIo(input, outputs, request, parts);
    scope.keep();
    // A thread takes 100 ms to start, which the runtime call that follows hides.
    if (io.usesPump) parts.pump.warm();
    return io;
  } catch (error) {
    for (const failure of await scope.release()) {
      parts.log.error({ what: failure.what, err: failure.error }, "closing stdio after a failure failed");
    }
    throw error;
  }
}

function openPlainInput(
  plan: StdioPlan,
  request: ProcessIoRequest,
  log: Logger,
  scope: ResourceScope,
): OpenInput {
  if (plan.stdin === undefined) {
    return { child: owned(openFd("/dev/null", O_RDONLY), "stdin", scope) };
  }
  const input = openInput(plan.stdin);
  if (input instanceof OwnedFd) {
    scope.defer("stdin", () => input.close());
    return { child: input };
  }
  scope.defer("stdin reader", () => input.reader.close());
  scope.defer("stdin writer", () => input.writer.close());
  return plan.pump === "all" ? pumpedInput(input, request, log, scope) : directInput(input, request, scope);
}

function directInput(input: FifoInput, request: ProcessIoRequest, scope: ResourceScope): OpenInput {
  const child = owned(input.childFd(), "stdin", scope);
  giveToProcessUser(child.fd, request, "client's");
  input.reader.close();
  return { child, holder: input.writer };
}

function pumpedInput(
  input: FifoInput,
  request: ProcessIoRequest,
  log: Logger,
  scope: ResourceScope,
): OpenInput {
  const [readEnd, writeEnd] = makePipe();
  const child = owned(readEnd, "stdin pipe", scope);
  const sink = owned(writeEnd, "stdin pipe", scope);
  setNonblocking(sink.fd, true);
  giveToProcessUser(child.fd, request, "ours");
  return { child, pumped: new PumpedInput(log, input.reader, input.writer, sink) };
}

async function openSinks(
  plan: StdioPlan,
  request: ProcessIoRequest,
  parts: PlaneParts,
  signal: AbortSignal,
  scope: ResourceScope,
): Promise<readonly [OutputSink, OutputSink]> {
  const { stdout, stderr } = plan;
  if (stdout.kind === "logger") {
    const sinks = await openLoggerSinks(stdout, request, parts, signal);
    for (const sink of sinks) scope.defer("logger", () => sink.close());
    return sinks;
  }
  const context = {
    terminal: false,
    poller: parts.poller,
    readerTimeoutMs: request.openTimeoutMs,
    signal,
  };
  const first = await openSink(stdout, context);
  scope.defer("stdout", () => first.close());
  const second = stderr.kind === "logger" ? first : await openSink(stderr, context);
  scope.defer("stderr", () => second.close());
  return [first, second];
}

function openOutput(
  name: "stdout" | "stderr",
  sink: OutputSink,
  plan: StdioPlan,
  request: ProcessIoRequest,
  log: Logger,
  scope: ResourceScope,
): OpenOutput {
  // A logger reads a pipe already; another between it and the process would only cost.
  const pumped =
    plan.pump === "all"
      ? sink.route !== "logger"
      : plan.pump === "stderr" && name === "stderr" && sink.route === "fifo";
  const target = pumped ? sink.pumpTarget : undefined;
  if (target === undefined) {
    const child = owned(sink.childFd(), name, scope);
    if (sink.route === "fifo") giveToProcessUser(child.fd, request, "client's");
    if (sink.route === "logger") giveToProcessUser(child.fd, request, "ours");
    return { name, child, sink };
  }
  const [readEnd, writeEnd] = makePipe();
  const source = owned(readEnd, `${name} pipe`, scope);
  const child = owned(writeEnd, `${name} pipe`, scope);
  setNonblocking(source.fd, true);
  enlargePipe(source.fd);
  giveToProcessUser(child.fd, request, "ours");
  return { name, child, sink, pumped: new PumpedOutput(log, name, source, sink, target) };
}

function owned(fd: number, what: string, scope: ResourceScope): OwnedFd {
  const descriptor = new OwnedFd(fd);
  scope.defer(what, () => descriptor.close());
  return descriptor;
}

/** So that the process may open its own /dev/stdout. A client's FIFO keeps its owner unless told otherwise. */
function giveToProcessUser(fd: number, request: ProcessIoRequest, whose: "ours" | "client's"): void {
  if (whose === "client's" && request.ioUid === 0 && request.ioGid === 0) return;
  changeOwner(fd, request.ioUid, request.ioGid);
}

class PlainIo implements ProcessIo {
  readonly childStdio: readonly [number, number, number];
  readonly consoleSocketPath = undefined;
  readonly #pumpedOutputs: readonly PumpedOutput[];
  #ready = false;
  #stdinClosed = false;
  #exited: Promise<DrainReport> | undefined;
  #closed: Promise<void> | undefined;

  constructor(
    private readonly input: OpenInput,
    private readonly outputs: readonly OpenOutput[],
    private readonly request: ProcessIoRequest,
    private readonly parts: PlaneParts,
  ) {
    const [stdout, stderr] = outputs;
    this.childStdio = [input.child.fd, stdout?.child.fd ?? -1, stderr?.child.fd ?? -1];
    this.#pumpedOutputs = outputs.flatMap((output) => output.pumped ?? []);
  }

  get usesPump(): boolean {
    return this.#pumpedOutputs.length > 0 || this.input.pumped !== undefined;
  }

  async childReady(timeoutMs: number): Promise<void> {
    if (this.#ready || this.#closed !== undefined) return;
    this.#ready = true;
    this.#closeChildEnds();
    for (const output of this.outputs) if (output.pumped === undefined) output.sink.handedOver();
    if (this.#stdinClosed) this.#closeStdinHolder();
    const streams = [...(this.input.pumped === undefined ? [] : [this.input.pumped]), ...this.#pumpedOutputs];
    await startPumps(this.parts.pump, streams, timeoutMs);
  }

  closeStdin(): void {
    this.#stdinClosed = true;
    if (this.#ready) this.#closeStdinHolder();
  }

  resize(): void {}

  exited(): Promise<DrainReport> {
    this.#exited ??= this.#drain();
    return this.#exited;
  }

  close(): Promise<void> {
    this.#closed ??= closedInTime(this.#close(), this.parts.log);
    return this.#closed;
  }

  async #drain(): Promise<DrainReport> {
    const startedAt = performance.now();
    // Nobody is left to read: the client's next write says so.
    this.#closeStdinHolder();
    void this.input.pumped?.close();
    for (const output of this.outputs) if (output.pumped === undefined) output.sink.finish();
    if (this.#ready) await endedWithin(this.request.drainTimeoutMs, this.#pumpedOutputs);
    const reports = this.outputs.map(({ name, sink, pumped }) =>
      pumped === undefined ? bypassReport(name, sink) : pumpReport(pumped),
    );
    const { pumped } = this.input;
    return drainReport(startedAt, pumped === undefined ? reports : [pumpReport(pumped), ...reports]);
  }

  async #close(): Promise<void> {
    this.#closeChildEnds();
    this.#closeStdinHolder();
    await Promise.all([this.input.pumped?.close(), ...this.#pumpedOutputs.map((output) => output.close())]);
    await Promise.all(this.outputs.map(({ sink }) => sink.close()));
  }

  #closeChildEnds(): void {
    this.input.child.close();
    for (const { child } of this.outputs) child.close();
  }

  #closeStdinHolder(): void {
    this.input.holder?.close();
    this.input.pumped?.closeHolder();
  }
}
