/**
 * The two directions that pass through the shim: output from a pipe or pty master to a sink, input from a
 * client's FIFO to a pipe or pty master. Each owns its descriptors and lends them to a pump; they are closed
 * only when the pump has let go of them.
 */
import type { Logger } from "../../core/logger.js";
import { readableBytes } from "../../native/fds.js";
import type { PumpHandle, PumpSpec } from "../../workers/stdio-pump-host.js";
import type { PumpEnd } from "../../workers/stdio-pump-protocol.js";
import type { OutputSink } from "./output-sink.js";
import type { OwnedFd } from "./owned-fd.js";

abstract class PumpedStream {
  protected handle: PumpHandle | undefined;
  /** How it ended, once it did. */
  end: PumpEnd | undefined;
  /** Resolves when the stream has ended and its descriptors are closed; never rejects. */
  readonly ended: Promise<void>;
  #resolveEnded: () => void = () => {};
  #released = false;

  constructor(
    private readonly log: Logger,
    readonly name: "stdin" | "stdout" | "stderr",
  ) {
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
  }

  abstract readonly spec: PumpSpec;
  /** Closes what the pump used. */
  protected abstract release(): void;

  /** The pump has it from now on. */
  begin(handle: PumpHandle): void {
    this.handle = handle;
    void handle.ended.then((end) => {
      this.end = end;
      if (end.reason === "failed") {
        this.log.error({ stream: this.name, reason: end.error }, "stdio stream failed");
      }
      this.#finish();
    });
  }

  endWhenEmpty(): void {
    this.handle?.endWhenEmpty();
  }

  movedBytes(): number {
    return this.handle?.movedBytes() ?? 0;
  }

  droppedBytes(): number {
    return this.handle?.droppedBytes() ?? 0;
  }

  /** Stops wherever it is. Waits until the pump has let go; idempotent. */
  async close(): Promise<void> {
    await this.handle?.detach();
    this.#finish();
  }

  #finish(): void {
    if (this.#released) return;
    this.#released = true;
    try {
      this.release();
    } catch (error) {
      this.log.error({ stream: this.name, err: error }, "closing a stdio stream failed");
    }
    this.#resolveEnded();
  }
}

export class PumpedOutput extends PumpedStream {
  #leftBytes = 0;

  constructor(
    log: Logger,
    override readonly name: "stdout" | "stderr",
    private readonly source: OwnedFd,
    readonly sink: OutputSink,
    private readonly target: { readonly fd: number; readonly copied: boolean },
    /** See PumpStream; undefined for pipes. */
    private readonly chunkBytes?: number,
  ) {
    super(log, name);
  }

  get spec(): PumpSpec {
    return {
      source: this.source.fd,
      sink: this.target.fd,
      copied: this.target.copied,
      ...(this.chunkBytes === undefined ? {} : { chunkBytes: this.chunkBytes }),
    };
  }

  /** Written by the process, not yet taken by the pump; after the end: what was lost. */
  waitingBytes(): number {
    if (!this.source.open) return this.#leftBytes;
    try {
      return readableBytes(this.source.fd);
    } catch {
      return 0; // A terminal that hung up.
    }
  }

  protected release(): void {
    this.#leftBytes = this.end?.reason === "end-of-file" ? 0 : this.waitingBytes();
    this.source.close();
    // The pump's last use of the sink is over: its reader may have the end of file.
    this.sink.finish();
  }
}

export class PumpedInput extends PumpedStream {
  constructor(
    log: Logger,
    private readonly source: OwnedFd,
    private readonly holder: OwnedFd,
    private readonly sink: OwnedFd,
  ) {
    super(log, "stdin");
  }

  get spec(): PumpSpec {
    return { source: this.source.fd, sink: this.sink.fd };
  }

  /** The end of file comes when the client has closed its end too. */
  closeHolder(): void {
    this.holder.close();
  }

  protected release(): void {
    this.source.close();
    this.holder.close();
    this.sink.close();
  }
}
