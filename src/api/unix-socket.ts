/**
 * Owns a listening unix socket and its name. The name appears only once owner and mode are right, replaces that of
 * a dead daemon in one step, and is removed at the end only if it is still ours.
 */
import { chmodSync, chownSync, lstatSync, renameSync, unlinkSync } from "node:fs";
import type { Server, Socket } from "node:net";
import { basename, dirname, join } from "node:path";
import { failedPrecondition, toDaemonError } from "../core/errors.js";
import type { Logger } from "../core/logger.js";
import { parseSocketPath, probeSocket } from "../wire/ttrpc/socket-path.js";

export interface SocketAddress {
  /** Absolute, or `unix:///…`; at most 106 bytes. */
  readonly path: string;
  readonly uid: number;
  readonly gid: number;
  /** Default 0o660. */
  readonly mode?: number;
}

export interface ListeningSocket {
  readonly path: string;
  /** Takes no more connections and removes the name. Those that are open stay. May be called again. */
  close(): void;
}

const identityOf = (path: string): string | undefined => {
  const found = lstatSync(path, { throwIfNoEntry: false });
  return found === undefined ? undefined : `${found.dev}:${found.ino}`;
};

function unlinkIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}

/** bind(2) happens inside listen(): the umask is ours for exactly that long. */
function bindPrivately(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    const umask = process.umask(0o177);
    try {
      server.listen(path, () => {
        server.off("error", reject);
        resolve();
      });
    } finally {
      process.umask(umask);
    }
  });
}

/**
 * Listens under `address.path`. Rejects failed-precondition when a live server has it, already-exists when it is no
 * socket.
 */
export async function listenOnUnixSocket(
  server: Server,
  address: SocketAddress,
  log: Logger,
): Promise<ListeningSocket> {
  const path = parseSocketPath(address.path);
  // Bound under a neighbouring name first, which also keeps libuv from unlinking a successor's socket on close.
  const draft = parseSocketPath(join(dirname(path), `.${basename(path)}`));
  try {
    if ((await probeSocket(path)) === "live") {
      throw failedPrecondition(`socket ${path} is in use by a running daemon`, { bare: true });
    }
    unlinkIfThere(draft);
    await bindPrivately(server, draft);
    chownSync(draft, address.uid, address.gid);
    chmodSync(draft, address.mode ?? 0o660);
    renameSync(draft, path);
  } catch (error) {
    server.close();
    throw toDaemonError(error);
  }
  server.on("error", (error) => log.error({ err: error, path }, "listening socket failed"));
  const identity = identityOf(path);
  let open = true;
  return {
    path,
    close() {
      if (!open) return;
      open = false;
      server.close();
      if (identityOf(path) === identity) unlinkIfThere(path);
    },
  };
}

/** The open connections of a server, so that they can be dropped. */
export interface ConnectionSet {
  readonly size: number;
  /** Destroys all and resolves when each is closed. */
  destroyAll(): Promise<void>;
}

export function trackConnections(server: Server): ConnectionSet {
  const open = new Set<Socket>();
  server.on("connection", (socket) => {
    open.add(socket);
    socket.once("close", () => open.delete(socket));
  });
  return {
    get size() {
      return open.size;
    },
    async destroyAll() {
      const closed = [...open].map(
        (socket) => new Promise<void>((resolve) => socket.once("close", () => resolve())),
      );
      for (const socket of [...open]) socket.destroy();
      await Promise.all(closed);
    },
  };
}
