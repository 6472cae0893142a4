/**
 * The socket through which the runtime hands over a pty master: listens in a private directory, takes one
 * connection and one descriptor, and removes itself.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { cancelled, deadlineExceeded, internal, unknownError } from "../../core/errors.js";
import { receiveTerminal } from "../../native/pty.js";
import { OwnedFd } from "./owned-fd.js";
import type { SharedPoller } from "./shared-poller.js";

/** sun_path holds 108 bytes with the closing NUL. */
const maxSocketPathBytes = 107;

export class ConsoleSocket {
  readonly path: string;
  readonly #directory: string;
  readonly #server: Server;
  readonly #master: Promise<OwnedFd>;
  #connection: Socket | undefined;
  #settled = false;
  /** Came, but `receive` has not returned it yet. */
  #unclaimed: OwnedFd | undefined;
  #take: (master: OwnedFd) => void = () => {};
  #refuse: (error: Error) => void = () => {};
  #stopAsking: (() => void) | undefined;

  private constructor(
    directory: string,
    private readonly poller: SharedPoller,
  ) {
    this.#directory = directory;
    this.path = join(directory, "pty.sock");
    this.#master = new Promise<OwnedFd>((resolve, reject) => {
      this.#take = resolve;
      this.#refuse = reject;
    });
    this.#master.catch(() => {}); // Nobody may be waiting when it is closed.
    // Paused: Node must not read the message, it would throw away the descriptor.
    this.#server = createServer({ pauseOnConnect: true }, (connection) => this.#connected(connection));
    this.#server.on("error", (error) => this.#fail(error));
  }

  /** Listens in a new directory below `parent`. */
  static async open(parent: string, poller: SharedPoller): Promise<ConsoleSocket> {
    const socket = new ConsoleSocket(mkdtempSync(join(parent, "pty")), poller);
    try {
      if (Buffer.byteLength(socket.path) > maxSocketPathBytes) {
        throw internal(`console socket path is longer than ${maxSocketPathBytes} bytes: ${socket.path}`);
      }
      await new Promise<void>((resolve, reject) => {
        socket.#server.once("error", reject);
        socket.#server.listen(socket.path, () => {
          socket.#server.off("error", reject);
          resolve();
        });
      });
      return socket;
    } catch (error) {
      socket.close();
      throw error;
    }
  }

  /** The master, which then belongs to the caller. Rejects after `timeoutMs`, or when closed. Call once. */
  async receive(timeoutMs: number): Promise<OwnedFd> {
    const timer = setTimeout(
      () =>
        this.#fail(
          deadlineExceeded("failed to retrieve console master: context deadline exceeded", { bare: true }),
        ),
      timeoutMs,
    );
    try {
      const master = await this.#master;
      this.#unclaimed = undefined;
      return master;
    } finally {
      clearTimeout(timer);
      this.close();
    }
  }

  /** Stops listening and removes the socket; a master that was not received goes with it. Idempotent. */
  close(): void {
    this.#fail(cancelled("console socket closed"));
    this.#unclaimed?.close();
    this.#unclaimed = undefined;
    this.#connection?.destroy();
    this.#server.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #connected(connection: Socket): void {
    connection.on("error", (error) => this.#fail(error));
    if (this.#connection !== undefined || this.#settled) {
      connection.destroy();
      return;
    }
    this.#connection = connection;
    const ask = (): boolean => {
      if (this.#settled) return true;
      try {
        const master = receiveTerminal(descriptorOf(connection));
        if (master === undefined) return false;
        this.#settled = true;
        this.#unclaimed = new OwnedFd(master);
        this.#take(this.#unclaimed);
      } catch (error) {
        this.#fail(unknownError("failed to retrieve console master", { cause: error }));
      }
      return true;
    };
    // The runtime connects and sends at once, but these are two steps of another process.
    if (!ask()) this.#stopAsking = this.poller.add(ask);
  }

  #fail(error: Error): void {
    this.#stopAsking?.();
    if (this.#settled) return;
    this.#settled = true;
    this.#refuse(error);
  }
}

/** Node has no public name for a socket's descriptor; without it there is no way to receive one. */
function descriptorOf(connection: Socket): number {
  const handle = (connection as unknown as { readonly _handle: { readonly fd: number } | null })._handle;
  if (handle === null || handle.fd < 0) throw new Error("console connection has no descriptor");
  return handle.fd;
}
