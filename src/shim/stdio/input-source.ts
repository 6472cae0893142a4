/**
 * A process's input: the client's FIFO, or a file. The shim holds a FIFO's writing end, so that a client that
 * detaches is not an end of file; that comes when CloseIO has closed ours and the client its own.
 */
import { constants, type Stats, statSync } from "node:fs";
import { O_NONBLOCK, O_RDONLY, O_WRONLY, openFd } from "../../native/fds.js";
import { errno, SystemError } from "../../native/libc.js";
import { OwnedFd } from "./owned-fd.js";
import { goPathError, inputFailure } from "./stdio-errors.js";

export interface FifoInput {
  /** Non-blocking: what a pump reads. */
  readonly reader: OwnedFd;
  /** Closing it is CloseIO. */
  readonly writer: OwnedFd;
  /** A blocking descriptor to give to the process; the caller closes it. */
  childFd(): number;
}

/** Opens stdin: a FIFO, or the descriptor of a file or device, to be given to the process as it is. */
export function openInput(path: string): FifoInput | OwnedFd {
  let stats: Stats;
  try {
    stats = statSync(path);
  } catch (error) {
    throw inputFailure(path, goPathError("stat", path, error), error);
  }
  try {
    // An open for reading alone would take it, and every read of the process would then fail.
    if (stats.isDirectory()) throw new SystemError(errno.EISDIR, "open", path);
    const reader = new OwnedFd(openFd(path, O_RDONLY | O_NONBLOCK | constants.O_NOCTTY));
    if (!stats.isFIFO()) return blocking(reader);
    return fifoInput(reader);
  } catch (error) {
    throw inputFailure(path, goPathError("open", path, error), error);
  }
}

function fifoInput(reader: OwnedFd): FifoInput {
  const again = `/proc/self/fd/${reader.fd}`;
  try {
    // Neither open waits: the reader above is there for the writer, the writer for the child's end.
    const writer = new OwnedFd(openFd(again, O_WRONLY | O_NONBLOCK));
    return { reader, writer, childFd: () => openFd(again, O_RDONLY) };
  } catch (error) {
    reader.close();
    throw error;
  }
}

/** The same file opened anew without O_NONBLOCK, which files ignore and devices would pass on to the process. */
function blocking(file: OwnedFd): OwnedFd {
  try {
    return new OwnedFd(openFd(`/proc/self/fd/${file.fd}`, O_RDONLY | constants.O_NOCTTY));
  } finally {
    file.close();
  }
}
