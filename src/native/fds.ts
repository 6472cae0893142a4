/**
 * Descriptors: opening, flags, pipes, one-shot polls, and reads and writes that answer EAGAIN with a value
 * instead of an exception. Every descriptor made here is close-on-exec. Callers own what they open.
 */
import { constants, fstatSync } from "node:fs";
import { bind, checked, errno, lastErrno, SystemError } from "./libc.js";

const cOpen = bind("int open(const char *path, int flags, int mode)");
const cClose = bind("int close(int fd)");
const cPipe2 = bind("int pipe2(_Out_ int *fds, int flags)");
const cFcntl = bind("int fcntl(int fd, int command, long argument)");
const cPoll = bind("int poll(void *fds, unsigned long count, int timeoutMs)");
const cRead = bind("long read(int fd, void *buffer, size_t length)");
const cWrite = bind("long write(int fd, void *buffer, size_t length)");
const cLseek = bind("long lseek(int fd, long offset, int whence)");
const cMkfifo = bind("int mkfifo(const char *path, uint32_t mode)");
const cIoctl = bind("int ioctl(int fd, unsigned long request, void *argument)");
const cMemfdCreate = bind("int memfd_create(const char *name, unsigned int flags)");
const cFtruncate = bind("int ftruncate(int fd, long length)");
const cFchown = bind("int fchown(int fd, uint32_t uid, uint32_t gid)");

export const O_RDONLY = constants.O_RDONLY;
export const O_WRONLY = constants.O_WRONLY;
export const O_RDWR = constants.O_RDWR;
export const O_CREAT = constants.O_CREAT;
export const O_EXCL = constants.O_EXCL;
export const O_TRUNC = constants.O_TRUNC;
export const O_APPEND = constants.O_APPEND;
export const O_NONBLOCK = 0o4000;
export const O_CLOEXEC = 0o2000000;
/** Differs per architecture, so it comes from Node. */
export const O_NOFOLLOW = constants.O_NOFOLLOW;
export const O_DIRECTORY = constants.O_DIRECTORY;

export const POLLIN = 1;
export const POLLOUT = 4;
export const POLLERR = 8;
export const POLLHUP = 16;
export const POLLNVAL = 32;

const F_GETFD = 1;
const F_SETFD = 2;
const F_GETFL = 3;
const F_SETFL = 4;
const F_DUPFD_CLOEXEC = 1030;
const F_SETPIPE_SZ = 1031;
const F_GETPIPE_SZ = 1032;
const F_ADD_SEALS = 1033;
const F_SEAL_SHRINK = 2;
const F_SEAL_GROW = 4;
const FD_CLOEXEC = 1;
const FIONREAD = 0x541b;
const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
const SEEK_SET = 0;
const SEEK_CUR = 1;

/** Opens `path`; O_CLOEXEC is added. Blocks like open(2) does: pass O_NONBLOCK (or O_RDWR) for FIFOs. */
export function openFd(path: string, flags: number, mode = 0o600): number {
  return checked(cOpen(path, flags | O_CLOEXEC, mode), "open", path);
}

/** Closes `fd`, which is gone afterwards whatever close reported. */
export function closeFd(fd: number): void {
  const result = cClose(fd);
  // Linux frees the number even on EINTR and EIO; only EBADF says that somebody else closed it first.
  if (result < 0 && lastErrno() === errno.EBADF) throw new SystemError(errno.EBADF, "close", String(fd));
}

/** A pipe: [read end, write end]. `flags` may hold O_NONBLOCK. */
export function makePipe(flags = 0): [number, number] {
  const fds = [0, 0];
  checked(cPipe2(fds, flags | O_CLOEXEC), "pipe2");
  return [fds[0] as number, fds[1] as number];
}

/** Another descriptor of the same open file, close-on-exec, numbered `lowest` or higher. */
export const duplicateFd = (fd: number, lowest = 0): number =>
  checked(cFcntl(fd, F_DUPFD_CLOEXEC, lowest), "fcntl F_DUPFD_CLOEXEC", String(fd));

/** The open file's status flags (O_NONBLOCK, O_APPEND, access mode). */
export const statusFlags = (fd: number): number =>
  checked(cFcntl(fd, F_GETFL, 0), "fcntl F_GETFL", String(fd));

/** Switches O_NONBLOCK of the open file, which every duplicate shares. */
export function setNonblocking(fd: number, on: boolean): void {
  const flags = statusFlags(fd);
  const wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
  if (wanted !== flags) checked(cFcntl(fd, F_SETFL, wanted), "fcntl F_SETFL", String(fd));
}

export function setCloseOnExec(fd: number, on: boolean): void {
  const flags = checked(cFcntl(fd, F_GETFD, 0), "fcntl F_GETFD", String(fd));
  checked(cFcntl(fd, F_SETFD, on ? flags | FD_CLOEXEC : flags & ~FD_CLOEXEC), "fcntl F_SETFD", String(fd));
}

/** Asks for a pipe buffer of at least `sizeBytes`; returns what the kernel gave. */
export const setPipeSize = (fd: number, sizeBytes: number): number =>
  checked(cFcntl(fd, F_SETPIPE_SZ, sizeBytes), "fcntl F_SETPIPE_SZ", String(fd));

/** Capacity of a pipe's buffer in bytes. */
export const pipeSize = (fd: number): number =>
  checked(cFcntl(fd, F_GETPIPE_SZ, 0), "fcntl F_GETPIPE_SZ", String(fd));

export const isFifo = (fd: number): boolean => fstatSync(fd).isFIFO();

/** Creates a FIFO; throws EEXIST when something has that name. */
export function makeFifo(path: string, mode = 0o700): void {
  checked(cMkfifo(path, mode), "mkfifo", path);
}

const pollBuffer = Buffer.allocUnsafeSlow(8);

/** What is true of `fd` now among `events`; POLLERR, POLLHUP and POLLNVAL are always reported. Never waits. */
export function pollFd(fd: number, events: number): number {
  pollBuffer.writeInt32LE(fd, 0);
  pollBuffer.writeInt16LE(events, 4);
  pollBuffer.writeInt16LE(0, 6);
  for (;;) {
    if (cPoll(pollBuffer, 1, 0) >= 0) return pollBuffer.readInt16LE(6);
    const failure = lastErrno();
    if (failure !== errno.EINTR) throw new SystemError(failure, "poll", String(fd));
  }
}

/** Bytes read into `buffer`, 0 at end of file, or undefined when a non-blocking `fd` has nothing now. */
export function readFd(fd: number, buffer: Uint8Array): number | undefined {
  return transfer(cRead, "read", fd, buffer);
}

/** Bytes taken from `buffer` (perhaps fewer than it holds), or undefined when a non-blocking `fd` is full. */
export function writeFd(fd: number, buffer: Uint8Array): number | undefined {
  return transfer(cWrite, "write", fd, buffer);
}

function transfer(call: typeof cRead, name: string, fd: number, buffer: Uint8Array): number | undefined {
  for (;;) {
    const count = Number(call(fd, buffer, buffer.byteLength));
    if (count >= 0) return count;
    const failure = lastErrno();
    if (failure === errno.EAGAIN) return undefined;
    if (failure !== errno.EINTR) throw new SystemError(failure, name, String(fd));
  }
}

const countBuffer = Buffer.allocUnsafeSlow(4);

/** Bytes waiting to be read in a pipe, FIFO or pty. */
export function readableBytes(fd: number): number {
  checked(cIoctl(fd, FIONREAD, countBuffer), "ioctl FIONREAD", String(fd));
  return countBuffer.readInt32LE(0);
}

/** Gives the open file to another user; a negative id leaves that one as it is. */
export function changeOwner(fd: number, uid: number, gid: number): void {
  checked(cFchown(fd, uid >>> 0, gid >>> 0), "fchown", String(fd));
}

/** A nameless file in memory that refuses to grow beyond `limitBytes`: where a child's small output goes. */
export function makeOutputFile(name: string, limitBytes: number): number {
  const fd = checked(cMemfdCreate(name, MFD_CLOEXEC | MFD_ALLOW_SEALING), "memfd_create", name);
  try {
    checked(Number(cFtruncate(fd, limitBytes)), "ftruncate", name);
    checked(cFcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK), "fcntl F_ADD_SEALS", name);
  } catch (error) {
    closeFd(fd);
    throw error;
  }
  return fd;
}

/** A nameless file in memory that holds `bytes`, positioned at its start: input for a child. */
export function makeInputFile(name: string, bytes: Uint8Array): number {
  const fd = checked(cMemfdCreate(name, MFD_CLOEXEC), "memfd_create", name);
  try {
    for (let done = 0; done < bytes.byteLength; ) done += writeFd(fd, bytes.subarray(done)) ?? 0;
    checked(Number(cLseek(fd, 0, SEEK_SET)), "lseek", name);
  } catch (error) {
    closeFd(fd);
    throw error;
  }
  return fd;
}

/** The shared file position: for an output file, how much was written. */
export const filePosition = (fd: number): number =>
  checked(Number(cLseek(fd, 0, SEEK_CUR)), "lseek", String(fd));
