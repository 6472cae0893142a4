/**
 * The way of one event to berthd: `Events/Forward` over a ttrpc connection that is made when it is needed and
 * made again when it broke. While no daemon answers, it watches for the daemon's socket to reappear.
 */
import { type FSWatcher, watch } from "node:fs";
import { basename, dirname } from "node:path";
import type { Logger } from "../core/logger.js";
import { eventKeyHeader, forwardMethod } from "../wire/forward-method.js";
import { Envelope } from "../wire/gen/containerd/types/types.js";
import { connectTtrpc, type TtrpcClient } from "../wire/ttrpc/client.js";
import { parseSocketPath } from "../wire/ttrpc/socket-path.js";
import type { EventRecord } from "./event-log.js";
import type { EventForwarder } from "./event-spool.js";

const namespaceHeader = "containerd-namespace-ttrpc";

const callTimeoutMs = 5000;
const connectTimeoutMs = 2000;

export interface TtrpcForwarderOptions {
  /** Path or `unix://` address of the daemon's ttrpc socket. */
  readonly address: string;
  readonly namespace: string;
  readonly shimId: string;
  readonly log: Logger;
  /** The daemon's socket has appeared after an outage. */
  readonly onDaemonBack: () => void;
}

export class TtrpcForwarder implements EventForwarder {
  readonly #options: TtrpcForwarderOptions;
  #connection: Promise<TtrpcClient> | undefined;
  #client: TtrpcClient | undefined;
  #watcher: FSWatcher | undefined;
  #closed = false;

  constructor(options: TtrpcForwarderOptions) {
    this.#options = options;
  }

  get connected(): boolean {
    return this.#client !== undefined && !this.#client.isClosed;
  }

  async forward(record: EventRecord): Promise<void> {
    const client = await this.#connect();
    const request = { envelope: Envelope.decode(record.envelope) };
    await forwardMethod.call(client, request, {
      timeoutMs: callTimeoutMs,
      metadata: {
        [namespaceHeader]: this.#options.namespace,
        [eventKeyHeader]: `${this.#options.shimId}/${record.sequence}`,
      },
    });
  }

  close(): void {
    this.#closed = true;
    this.#client?.close();
    this.#stopWatching();
  }

  #connect(): Promise<TtrpcClient> {
    this.#connection ??= this.#dial();
    return this.#connection;
  }

  async #dial(): Promise<TtrpcClient> {
    try {
      const client = await connectTtrpc(this.#options.address, { connectTimeoutMs });
      if (this.#closed) client.close();
      this.#client = client;
      // The daemon's absence must not keep an empty shim from ending, nor its presence.
      client.unref();
      this.#stopWatching();
      void client.closed.then(() => {
        if (this.#client === client) this.#client = undefined;
        this.#connection = undefined;
        this.#watchForDaemon();
      });
      return client;
    } catch (error) {
      this.#connection = undefined;
      this.#watchForDaemon();
      throw error;
    }
  }

  /** Best effort: the spool's own pauses find a daemon as well, a second later at most. */
  #watchForDaemon(): void {
    if (this.#watcher !== undefined || this.#closed) return;
    try {
      const path = parseSocketPath(this.#options.address);
      const name = basename(path);
      const watcher = watch(dirname(path), { persistent: false }, (_kind, changed) => {
        if (changed === name || changed === null) this.#options.onDaemonBack();
      });
      watcher.on("error", () => this.#stopWatching());
      this.#watcher = watcher;
    } catch (error) {
      this.#options.log.debug({ err: error }, "cannot watch for the daemon's socket");
    }
  }

  #stopWatching(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
  }
}
