/** A ttrpc server: a table of services, any number of unix sockets and connections. */
import { chmod } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { toDaemonError, unavailable } from "../../core/errors.js";
import type { Logger } from "../../core/logger.js";
import type { TtrpcHandler } from "./server-call.js";
import { ServerConnection, type ServiceTable } from "./server-connection.js";
import { clearSocketPath, parseSocketPath } from "./socket-path.js";

export type { TtrpcCall, TtrpcHandler } from "./server-call.js";

export type TtrpcServices = Readonly<Record<string, Readonly<Record<string, TtrpcHandler>>>>;

export interface TtrpcServer {
  /**
   * Listens on a unix socket. A dead socket file is replaced; one with a live server behind it rejects
   * already-exists, unless `replace` is set. `mode` is the file's, 0o600 by default.
   */
  listen(
    path: string,
    options?: { readonly mode?: number | undefined; readonly replace?: boolean | undefined },
  ): Promise<void>;
  /** Serves a connection that was made elsewhere; it belongs to the server from now on. */
  attach(socket: Socket): void;
  /**
   * Stops listening and refuses new requests, gives open ones `graceMs` (default 0) to be answered, then aborts
   * them and ends the connections. Removes its socket files. May be called again.
   */
  close(options?: { readonly graceMs?: number | undefined }): Promise<void>;
  /** The process may end while the server listens. */
  unref(): void;
  readonly connectionCount: number;
  readonly openCalls: number;
}

export interface TtrpcServerOptions {
  /** Handlers by full service name, then by method. */
  readonly services: TtrpcServices;
  readonly log: Logger;
}

/** How long the last responses may take to leave when the server closes. */
const endGraceMs = 500;

export function createTtrpcServer({ services, log }: TtrpcServerOptions): TtrpcServer {
  // Maps, because a request may name a method "constructor".
  const table: ServiceTable = new Map(
    Object.entries(services).map(([name, methods]) => [name, new Map(Object.entries(methods))]),
  );
  const listeners = new Set<Server>();
  const connections = new Set<ServerConnection>();
  let closing: Promise<void> | undefined;
  let keepAlive = true;

  const attach = (socket: Socket): void => {
    if (closing !== undefined) {
      socket.destroy();
      return;
    }
    if (!keepAlive) socket.unref();
    const connection = new ServerConnection(socket, table, log, () => connections.delete(connection));
    connections.add(connection);
  };

  const closeAll = async (graceMs: number): Promise<void> => {
    const closed = [...listeners].map(
      (listener) => new Promise<void>((resolve) => listener.close(() => resolve())),
    );
    listeners.clear();
    await Promise.all(
      [...connections].map(async (connection) => {
        await connection.drain(graceMs);
        await connection.end(endGraceMs);
      }),
    );
    await Promise.all(closed);
  };

  return {
    async listen(address, { mode = 0o600, replace = false } = {}) {
      if (closing !== undefined) throw unavailable("ttrpc: server closed");
      const path = parseSocketPath(address);
      await clearSocketPath(path, replace);
      const listener = createServer(attach);
      if (!keepAlive) listener.unref();
      await new Promise<void>((resolve, reject) => {
        listener.once("error", reject);
        listener.listen(path, () => {
          listener.removeListener("error", reject);
          listener.on("error", (error) => log.error({ err: error, path }, "ttrpc listener failed"));
          resolve();
        });
      }).catch((error: unknown) => Promise.reject(toDaemonError(error)));
      if (closing !== undefined) {
        listener.close();
        throw unavailable("ttrpc: server closed");
      }
      listeners.add(listener);
      await chmod(path, mode);
    },
    attach,
    close({ graceMs = 0 } = {}) {
      closing ??= closeAll(graceMs);
      return closing;
    },
    unref() {
      keepAlive = false;
      for (const listener of listeners) listener.unref();
    },
    get connectionCount() {
      return connections.size;
    },
    get openCalls() {
      let open = 0;
      for (const connection of connections) open += connection.openCalls;
      return open;
    },
  };
}
