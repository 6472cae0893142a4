/**
 * Writes frames to a socket: those of one turn of the event loop go out in one system call. Knows how much is
 * waiting, so that its owner can stop taking work for a peer that does not read.
 */
import type { Socket } from "node:net";

/** Above this the owner stops reading requests (server) or refuses calls (client) until the peer reads. */
export const highWaterBytes = 16 << 20;

export class FrameWriter {
  readonly #socket: Socket;
  #corked = false;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** True when more than `highWaterBytes` wait for the peer to read. */
  get congested(): boolean {
    return this.#socket.writableLength > highWaterBytes;
  }

  write(frame: Buffer): void {
    if (!this.#corked) {
      this.#corked = true;
      this.#socket.cork();
      // After the microtasks of this turn: every promise that one incoming chunk settled may add its frame.
      setImmediate(this.#uncork);
    }
    this.#socket.write(frame);
  }

  /** Hands everything to the kernel now, as far as it takes it. */
  flush(): void {
    this.#uncork();
  }

  readonly #uncork = (): void => {
    if (!this.#corked) return;
    this.#corked = false;
    this.#socket.uncork();
  };
}
