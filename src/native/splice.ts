/** splice(2) and tee(2): moving bytes between pipes and files without copying them through this process. */
import { bind, errno, lastErrno, SystemError } from "./libc.js";

const cSplice = bind(
  "long splice(int from, void *fromOffset, int to, void *toOffset, size_t length, unsigned int flags)",
);
const cTee = bind("long tee(int from, int to, size_t length, unsigned int flags)");

export const SPLICE_F_MOVE = 1;
export const SPLICE_F_NONBLOCK = 2;
export const SPLICE_F_MORE = 4;

/**
 * Moves up to `length` bytes; 0 means end of file. Undefined is EAGAIN, which does not say which side would
 * block: poll both. Never blocks on the pipes; a non-pipe side blocks unless it is O_NONBLOCK itself.
 */
export function splice(
  from: number,
  to: number,
  length: number,
  flags = SPLICE_F_MOVE | SPLICE_F_NONBLOCK,
): number | undefined {
  for (;;) {
    const count = Number(cSplice(from, null, to, null, length, flags));
    if (count >= 0) return count;
    const failure = lastErrno();
    if (failure === errno.EAGAIN) return undefined;
    if (failure !== errno.EINTR) throw new SystemError(failure, "splice", `${from} to ${to}`);
  }
}

/** Copies up to `length` bytes from pipe to pipe, leaving them in the first; answers as `splice` does. */
export function tee(from: number, to: number, length: number, flags = SPLICE_F_NONBLOCK): number | undefined {
  for (;;) {
    const count = Number(cTee(from, to, length, flags));
    if (count >= 0) return count;
    const failure = lastErrno();
    if (failure === errno.EAGAIN) return undefined;
    if (failure !== errno.EINTR) throw new SystemError(failure, "tee", `${from} to ${to}`);
  }
}
