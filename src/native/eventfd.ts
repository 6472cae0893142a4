/** eventfd(2): a counter that wakes an epoll or poll, also across threads. */
import { O_CLOEXEC, O_NONBLOCK, readFd, writeFd } from "./fds.js";
import { bind, checked } from "./libc.js";

const cEventfd = bind("int eventfd(unsigned int initial, int flags)");

/** A non-blocking, close-on-exec eventfd at zero; the caller closes it. */
export const createEventFd = (): number => checked(cEventfd(0, O_CLOEXEC | O_NONBLOCK), "eventfd");

const one = Buffer.allocUnsafeSlow(8);
one.writeBigUInt64LE(1n);
const counter = Buffer.allocUnsafeSlow(8);

/** Adds one. A counter at its limit is already readable, so a refused write loses nothing. */
export function signalEventFd(fd: number): void {
  writeFd(fd, one);
}

/** Resets to zero; returns what it had counted, 0 when nothing. */
export function drainEventFd(fd: number): number {
  return readFd(fd, counter) === undefined ? 0 : Number(counter.readBigUInt64LE(0));
}
