/**
 * A `binary://` logger: a program of the client's that reads a process's output from descriptors 3 and 4 and
 * closes 5 when it is ready. Started before the process, told to end when the process is deleted. It keeps
 * running when the shim dies: its pipes belong to it and to the container.
 */
import { unknownError } from "../../core/errors.js";
import type { Logger } from "../../core/logger.js";
import { makePipe, POLLHUP, POLLIN, pollFd } from "../../native/fds.js";
import { openPidfd, P_PIDFD, signalPidfd, spawnProcess, waitChild } from "../../native/process.js";
import { OwnedFd } from "./owned-fd.js";
import type { SharedPoller } from "./shared-poller.js";
import { goPathError } from "./stdio-errors.js";

/** How long a logger may take to end after SIGTERM, as in containerd. */
const killAfterMs = 12_000;
const SIGTERM = 15;
const SIGKILL = 9;

export interface LoggerRequest {
  readonly program: string;
  readonly args: readonly string[];
  /** CONTAINER_ID (for an exec: its id) and CONTAINER_NAMESPACE. */
  readonly containerId: string;
  readonly namespace: string;
  readonly workingDirectory: string | undefined;
}

export class LoggerProcess {
  /** Resolves when it has ended and was reaped. */
  readonly ended: Promise<void>;
  #pidfd: OwnedFd;
  #resolveEnded: () => void = () => {};
  #stopping = false;
  #killAt = Number.POSITIVE_INFINITY;

  private constructor(
    pidfd: number,
    /** Writing ends of the logger's stdout and stderr; whoever takes them over closes them. */
    readonly writers: readonly [OwnedFd, OwnedFd],
    private readonly ready: OwnedFd,
    private readonly poller: SharedPoller,
    private readonly log: Logger,
  ) {
    this.#pidfd = new OwnedFd(pidfd);
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
  }

  /** Starts the program; throws `unknown` when that fails, and then nothing is left of it. */
  static start(request: LoggerRequest, poller: SharedPoller, log: Logger): LoggerProcess {
    const given: OwnedFd[] = [];
    const kept: OwnedFd[] = [];
    const pipe = (): readonly [OwnedFd, OwnedFd] => {
      const [read, write] = makePipe();
      return [new OwnedFd(read), new OwnedFd(write)];
    };
    try {
      const [stdoutReader, stdoutWriter] = pipe();
      given.push(stdoutReader);
      kept.push(stdoutWriter);
      const [stderrReader, stderrWriter] = pipe();
      given.push(stderrReader);
      kept.push(stderrWriter);
      const [readyReader, readyWriter] = pipe();
      given.push(readyWriter);
      kept.push(readyReader);
      const pid = spawnProcess({
        path: request.program,
        args: request.args,
        stdio: ["null", "null", "null", stdoutReader.fd, stderrReader.fd, readyWriter.fd],
        env: [`CONTAINER_ID=${request.containerId}`, `CONTAINER_NAMESPACE=${request.namespace}`],
        ...(request.workingDirectory === undefined ? {} : { cwd: request.workingDirectory }),
      });
      const pidfd = openPidfd(pid);
      if (pidfd === undefined) throw new Error(`${request.program} ended at once`);
      return new LoggerProcess(pidfd, [stdoutWriter, stderrWriter], readyReader, poller, log);
    } catch (error) {
      for (const fd of kept) fd.close();
      throw unknownError(
        `failed to start binary process: ${goPathError("fork/exec", request.program, error)}`,
        {
          cause: error,
        },
      );
    } finally {
      // Ours must go, or the logger's own close of descriptor 5 would not be seen.
      for (const fd of given) fd.close();
    }
  }

  /** Waits until the logger has closed (or written to) its descriptor 5. Rejects when it ended instead. */
  untilReady(timeoutMs: number, signal: AbortSignal): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    return new Promise((resolve, reject) => {
      let wasReady = false;
      const ask = (): boolean => {
        const isReady = (pollFd(this.ready.fd, POLLIN) & (POLLIN | POLLHUP)) !== 0;
        const why = this.#hasEnded()
          ? "it ended"
          : signal.aborted
            ? "context canceled"
            : performance.now() > deadline
              ? "context deadline exceeded"
              : undefined;
        if (!isReady && why === undefined) return false;
        // A dying program closes its descriptors just before it counts as dead: look once more.
        if (isReady && !wasReady && why === undefined) {
          wasReady = true;
          return false;
        }
        this.ready.close();
        if (isReady && why !== "it ended") resolve();
        else
          reject(unknownError(`failed to start binary process: waiting for the logger to be ready: ${why}`));
        return true;
      };
      if (!ask()) this.poller.add(ask);
    });
  }

  /** SIGTERM now, SIGKILL after 12 s; idempotent. `ended` says when it worked. */
  stop(): void {
    if (this.#stopping) return;
    this.#stopping = true;
    this.ready.close();
    this.#killAt = performance.now() + killAfterMs;
    if (!this.#reaped()) {
      this.#signal(SIGTERM);
      this.poller.add(() => this.#checkEnd());
    }
  }

  /** SIGKILL now, without watching it end. */
  kill(): void {
    this.ready.close();
    if (this.#pidfd.open) this.#signal(SIGKILL);
    this.#pidfd.close();
    this.#resolveEnded();
  }

  #checkEnd(): boolean {
    if (this.#reaped()) return true;
    if (performance.now() > this.#killAt) {
      this.log.warn({ afterMs: killAfterMs }, "stdio logger did not end, killing it");
      this.#killAt = Number.POSITIVE_INFINITY;
      this.#signal(SIGKILL);
    }
    return false;
  }

  #hasEnded(): boolean {
    return !this.#pidfd.open || (pollFd(this.#pidfd.fd, POLLIN) & POLLIN) !== 0;
  }

  /** True once it is gone. The shim's reaper may have been first: then there is no child to wait for. */
  #reaped(): boolean {
    if (!this.#pidfd.open) return true;
    if (!this.#hasEnded()) return false;
    waitChild(P_PIDFD, this.#pidfd.fd);
    this.#pidfd.close();
    this.#resolveEnded();
    return true;
  }

  #signal(number: number): void {
    try {
      signalPidfd(this.#pidfd.fd, number);
    } catch (error) {
      this.log.error({ err: error }, "signalling a stdio logger failed");
    }
  }
}

/** Splits `namespace/id[/exec]`: a logger of an exec is told the exec's id. */
export function loggerIdentity(streamKey: string): {
  readonly namespace: string;
  readonly containerId: string;
} {
  const parts = streamKey.split("/");
  return { namespace: parts[0] ?? "", containerId: parts.at(-1) ?? "" };
}
