/** Owns the daemon's ttrpc socket, on which shims deliver events. */
import { createServer } from "node:net";
import type { Logger } from "../core/logger.js";
import { type TtrpcRegistration, ttrpcServices } from "../wire/ttrpc/method.js";
import { createTtrpcServer } from "../wire/ttrpc/server.js";
import { type ListeningSocket, listenOnUnixSocket, type SocketAddress } from "./unix-socket.js";

const defaultGraceMs = 2000;

export interface TtrpcApi {
  /** Starts serving. Rejects failed-precondition when a live daemon has the socket. */
  listen(address: SocketAddress): Promise<void>;
  /** Refuses new events, gives open ones `graceMs` (default 2000) to be stored, ends the connections. */
  shutdown(options?: { readonly graceMs?: number }): Promise<void>;
}

export function createTtrpcApi(deps: {
  readonly log: Logger;
  readonly services: readonly TtrpcRegistration[];
}): TtrpcApi {
  const log = deps.log.child({ room: "api" });
  const server = createTtrpcServer({ services: ttrpcServices(...deps.services), log });
  const listener = createServer((connection) => server.attach(connection));
  let socket: ListeningSocket | undefined;
  return {
    async listen(address) {
      socket = await listenOnUnixSocket(listener, address, log);
      log.info({ path: socket.path }, "ttrpc listening");
    },
    async shutdown({ graceMs = defaultGraceMs } = {}) {
      socket?.close();
      await server.close({ graceMs });
    },
  };
}
