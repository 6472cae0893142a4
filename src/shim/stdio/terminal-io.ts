/**
 * Stdio on a terminal: the runtime sends the pty master, its output is pumped to stdout's sink and stdin's
 * FIFO to it. Always pumped: only the holder of the master can move a terminal's bytes.
 */
import { ResourceScope } from "../../core/resource-scope.js";
import { duplicateFd, O_RDWR, openFd, setNonblocking } from "../../native/fds.js";
import { setWindowSize, type WindowSize } from "../../native/pty.js";
import { ConsoleSocket } from "./console-socket.js";
import { closedInTime, drainReport, endedWithin, pumpReport } from "./drain.js";
import { type FifoInput, openInput } from "./input-source.js";
import { openLoggerSinks } from "./logger-sink.js";
import { type OutputSink, openSink } from "./output-sink.js";
import { OwnedFd } from "./owned-fd.js";
import type { DrainReport, PlaneParts, ProcessIo, ProcessIoRequest } from "./process-io.js";
import { PumpedInput, PumpedOutput } from "./pumped-streams.js";
import { startPumps } from "./start-pumps.js";
import { inputFailure, outputFailure } from "./stdio-errors.js";
import type { StdioPlan } from "./stdio-plan.js";

/** The kernel's buffer of a terminal: a read never returns more. */
const terminalBytes = 4096;

/** Opens the client's ends and the console socket; on failure nothing stays open. */
export async function openTerminalIo(
  plan: StdioPlan,
  request: ProcessIoRequest,
  parts: PlaneParts,
  signal: AbortSignal,
): Promise<ProcessIo> {
  const scope = new ResourceScope();
  try {
    const input = plan.stdin === undefined ? undefined : openTerminalInput(plan.stdin);
    if (input !== undefined) {
      scope.defer("stdin reader", () => input.reader.close());
      scope.defer("stdin writer", () => input.writer.close());
    }
    const sink = await openTerminalSink(plan, request, parts, signal);
    scope.defer("stdout", () => sink.close());
    const socket = await ConsoleSocket.open(request.temporaryDirectory, parts.poller);
    scope.defer("console socket", () => socket.close());
    const nothing = new OwnedFd(openFd("/dev/null", O_RDWR));
    scope.keep();
    parts.pump.warm();
    return new TerminalIo(input, sink, socket, nothing, request, parts);
  } catch (error) {
    for (const failure of await scope.release()) {
      parts.log.error({ what: failure.what, err: failure.error }, "closing stdio after a failure failed");
    }
    throw error;
  }
}

function openTerminalInput(path: string): FifoInput {
  const input = openInput(path);
  if (!(input instanceof OwnedFd)) return input;
  // Files do not poll, and nothing but a FIFO was ever seen here.
  input.close();
  throw inputFailure(path, "the input of a terminal must be a fifo");
}

async function openTerminalSink(
  { stdout }: StdioPlan,
  request: ProcessIoRequest,
  parts: PlaneParts,
  signal: AbortSignal,
): Promise<OutputSink> {
  if (stdout.kind === "logger") {
    const [forStdout, forStderr] = await openLoggerSinks(stdout, request, parts, signal);
    // A terminal has one output; the logger's other pipe is at its end from the start.
    forStderr.finish();
    return forStdout;
  }
  const context = { terminal: true, poller: parts.poller, readerTimeoutMs: request.openTimeoutMs, signal };
  return openSink(stdout, context);
}

class TerminalIo implements ProcessIo {
  readonly childStdio: readonly [number, number, number];
  readonly consoleSocketPath: string;
  #master: OwnedFd | undefined;
  #output: PumpedOutput | undefined;
  #pumpedInput: PumpedInput | undefined;
  #size: WindowSize | undefined;
  #ready: Promise<void> | undefined;
  #exited: Promise<DrainReport> | undefined;
  #closed: Promise<void> | undefined;

  constructor(
    private readonly input: FifoInput | undefined,
    private readonly sink: OutputSink,
    private readonly socket: ConsoleSocket,
    private readonly nothing: OwnedFd,
    private readonly request: ProcessIoRequest,
    private readonly parts: PlaneParts,
  ) {
    this.childStdio = [nothing.fd, nothing.fd, nothing.fd];
    this.consoleSocketPath = socket.path;
  }

  childReady(timeoutMs: number): Promise<void> {
    this.#ready ??= this.#closed === undefined ? this.#takeTerminal(timeoutMs) : Promise.resolve();
    return this.#ready;
  }

  closeStdin(): void {
    // Before the terminal came there is no process that could see the end of file: nothing to put off.
    this.input?.writer.close();
  }

  resize(width: number, height: number): void {
    this.#size = { columns: width, rows: height };
    this.#applySize();
  }

  exited(): Promise<DrainReport> {
    this.#exited ??= this.#drain();
    return this.#exited;
  }

  close(): Promise<void> {
    this.#closed ??= closedInTime(this.#close(), this.parts.log);
    return this.#closed;
  }

  async #takeTerminal(timeoutMs: number): Promise<void> {
    const startedAt = performance.now();
    this.nothing.close();
    const master = await this.socket.receive(timeoutMs);
    this.#master = master;
    setNonblocking(master.fd, true);
    this.#applySize();
    const target = this.sink.pumpTarget;
    if (target === undefined) throw outputFailure(true, "stdout cannot take a terminal's output");
    const output = new PumpedOutput(this.parts.log, "stdout", master, this.sink, target, terminalBytes);
    this.#output = output;
    const input = this.#connectInput(master, output);
    const left = Math.max(0, timeoutMs - (performance.now() - startedAt));
    await startPumps(this.parts.pump, input === undefined ? [output] : [output, input], left);
  }

  #connectInput(master: OwnedFd, output: PumpedOutput): PumpedInput | undefined {
    if (this.input === undefined) return undefined;
    // A second number for the same terminal: epoll tells streams apart by it.
    const forInput = new OwnedFd(duplicateFd(master.fd));
    const input = new PumpedInput(this.parts.log, this.input.reader, this.input.writer, forInput);
    this.#pumpedInput = input;
    // The client has finished: containerd shuts the console down, which hangs up on the process. What the
    // process had written by then is still delivered.
    void input.ended.then(() => {
      if (input.end?.reason === "end-of-file") output.endWhenEmpty();
    });
    // The terminal is gone: its last descriptor is the input's.
    void output.ended.then(() => input.close());
    return input;
  }

  #applySize(): void {
    if (this.#size === undefined || this.#master?.open !== true) return;
    setWindowSize(this.#master.fd, this.#size);
  }

  async #drain(): Promise<DrainReport> {
    const startedAt = performance.now();
    // A process may be gone before its terminal was taken over; that takeover has its own deadline.
    await this.#ready?.catch(() => {});
    const output = this.#output;
    if (output === undefined) return drainReport(startedAt, []);
    await endedWithin(this.request.drainTimeoutMs, [output]);
    const input = this.#pumpedInput;
    return drainReport(
      startedAt,
      input === undefined ? [pumpReport(output)] : [pumpReport(input), pumpReport(output)],
    );
  }

  async #close(): Promise<void> {
    this.socket.close();
    await this.#ready?.catch(() => {});
    await Promise.all([this.#output?.close(), this.#pumpedInput?.close()]);
    this.nothing.close();
    this.#master?.close();
    this.input?.reader.close();
    this.input?.writer.close();
    await this.sink.close();
  }
}
