/** What to know of a unix socket's path before listening on it or dialling it. */
import { lstat, unlink } from "node:fs/promises";
import { connect } from "node:net";
import { alreadyExists, invalidArgument, toDaemonError } from "../../core/errors.js";

/** The kernel's sun_path holds 108 bytes with its terminating zero. */
export const maxSocketPathBytes = 107;
const probeTimeoutMs = 1000;

/** The path of `unix:///x` or `/x`; throws invalid-argument for one that no socket can have. */
export function parseSocketPath(address: string): string {
  const path = address.startsWith("unix://") ? address.slice("unix://".length) : address;
  if (!path.startsWith("/")) {
    throw invalidArgument(`socket address ${JSON.stringify(address)} must be an absolute path`);
  }
  const length = Buffer.byteLength(path);
  if (length > maxSocketPathBytes) {
    throw invalidArgument(
      `socket path ${JSON.stringify(path)} is ${length} bytes long, the kernel takes ${maxSocketPathBytes}`,
    );
  }
  return path;
}

/** Who is behind a socket path. `live` also covers one too busy to answer within a second. */
export type SocketOwner = "nothing" | "stale" | "live";

export async function probeSocket(path: string): Promise<SocketOwner> {
  const found = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (found === undefined) return "nothing";
  if (!found.isSocket()) throw alreadyExists(`${path} exists and is not a socket`, { bare: true });
  return new Promise<SocketOwner>((resolve) => {
    const socket = connect({ path });
    const finish = (owner: SocketOwner): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(owner);
    };
    const timer = setTimeout(() => finish("live"), probeTimeoutMs);
    socket.once("connect", () => finish("live"));
    socket.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ECONNREFUSED") finish("stale");
      else if (error.code === "ENOENT") finish("nothing");
      // A full backlog (EAGAIN) or a refused permission: somebody is there.
      else finish("live");
    });
  });
}

/**
 * Makes `path` free to bind: removes a dead socket. A live one rejects already-exists, unless `replace` says that
 * the caller knows better. Two callers at once can still race: guard a path that others may want by a lock.
 */
export async function clearSocketPath(path: string, replace: boolean): Promise<void> {
  const owner = await probeSocket(path).catch((error: unknown) => Promise.reject(toDaemonError(error)));
  if (owner === "nothing") return;
  if (owner === "live" && !replace) {
    throw alreadyExists(`socket ${path} is in use by a live server`, { bare: true });
  }
  await unlink(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
  });
}
