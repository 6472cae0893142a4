/**
 * epoll(7). The data of an entry is an integer of the caller's (up to 2^53): use stream ids, not descriptors,
 * because descriptor numbers are reused the moment they are closed. `control` calls on an epoll descriptor
 * are legal from any thread while another one waits on it.
 */
import { closeFd } from "./fds.js";
import { bind, checked, errno, lastErrno, SystemError } from "./libc.js";

const cEpollCreate1 = bind("int epoll_create1(int flags)");
const cEpollCtl = bind("int epoll_ctl(int epfd, int op, int fd, void *event)");
const cEpollWait = bind("int epoll_wait(int epfd, void *events, int maxEvents, int timeoutMs)");

export const EPOLLIN = 1;
export const EPOLLOUT = 4;
export const EPOLLERR = 8;
export const EPOLLHUP = 16;
export const EPOLLRDHUP = 0x2000;
export const EPOLLPRI = 2;
export const EPOLLONESHOT = 0x40000000;
export const EPOLLET = 0x80000000;

const EPOLL_CLOEXEC = 0o2000000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLL_CTL_MOD = 3;

// struct epoll_event is packed on x86-64 only.
const packed = process.arch === "x64";
const eventSize = packed ? 12 : 16;
const dataOffset = packed ? 4 : 8;

export interface Epoll {
  readonly fd: number;
  /** `data` comes back with each event: an integer in 0..2^53-1. */
  add(fd: number, events: number, data: number): void;
  modify(fd: number, events: number, data: number): void;
  /** Do this before closing `fd`. Quiet when it is not registered. */
  remove(fd: number): void;
  /**
   * Blocks this thread up to `timeoutMs` (0 polls, -1 has no limit) and calls `onEvent` for each ready entry.
   * Returns how many there were; an interrupted wait is 0.
   */
  wait(timeoutMs: number, onEvent: (data: number, events: number) => void): number;
  close(): void;
}

/** A new epoll instance; `maxEvents` bounds what one wait returns. */
export function createEpoll(maxEvents = 64): Epoll {
  return epollOn(checked(cEpollCreate1(EPOLL_CLOEXEC), "epoll_create1"), maxEvents);
}

/** The same instance from another thread, by its descriptor; only one side may close it. */
export function epollOn(epfd: number, maxEvents = 64): Epoll {
  // Kept per instance: the kernel writes into it, so it must not be a slice of Node's shared pool.
  const buffer = Buffer.allocUnsafeSlow(eventSize * maxEvents);
  const one = Buffer.allocUnsafeSlow(eventSize).fill(0);
  const control = (op: number, name: string, fd: number, events: number, data: number): void => {
    one.writeUInt32LE(events >>> 0, 0);
    one.writeUInt32LE(data >>> 0, dataOffset);
    one.writeUInt32LE(Math.floor(data / 2 ** 32), dataOffset + 4);
    checked(cEpollCtl(epfd, op, fd, one), `epoll_ctl ${name}`, String(fd));
  };
  return {
    fd: epfd,
    add: (fd, events, data) => control(EPOLL_CTL_ADD, "add", fd, events, data),
    modify: (fd, events, data) => control(EPOLL_CTL_MOD, "mod", fd, events, data),
    remove(fd) {
      if (cEpollCtl(epfd, EPOLL_CTL_DEL, fd, one) === 0) return;
      const failure = lastErrno();
      if (failure !== errno.ENOENT && failure !== errno.EBADF)
        throw new SystemError(failure, "epoll_ctl del", String(fd));
    },
    wait(timeoutMs, onEvent) {
      const count = cEpollWait(epfd, buffer, maxEvents, timeoutMs);
      if (count < 0) {
        const failure = lastErrno();
        if (failure === errno.EINTR) return 0;
        throw new SystemError(failure, "epoll_wait");
      }
      for (let index = 0; index < count; index++) {
        const at = index * eventSize;
        const low = buffer.readUInt32LE(at + dataOffset);
        const high = buffer.readUInt32LE(at + dataOffset + 4);
        onEvent(high * 2 ** 32 + low, buffer.readUInt32LE(at));
      }
      return count;
    },
    close: () => closeFd(epfd),
  };
}
