/** Terminals: the window size, and taking over a pty master that a runtime sends through the console socket. */
import { closeFd } from "./fds.js";
import { addressOf, bind, checked, errno, lastErrno, SystemError } from "./libc.js";

const cIoctl = bind("int ioctl(int fd, unsigned long request, void *argument)");
const cRecvmsg = bind("long recvmsg(int fd, void *header, int flags)");

const TIOCGWINSZ = 0x5413;
const TIOCSWINSZ = 0x5414;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_DONTWAIT = 0x40;
const MSG_CMSG_CLOEXEC = 0x40000000;

const winsize = Buffer.allocUnsafeSlow(8);

export interface WindowSize {
  readonly columns: number;
  readonly rows: number;
}

/** Sets a terminal's size; the foreground process group gets SIGWINCH when it changes. Values wrap at 16 bits. */
export function setWindowSize(fd: number, { columns, rows }: WindowSize): void {
  winsize.fill(0);
  winsize.writeUInt16LE(rows & 0xffff, 0);
  winsize.writeUInt16LE(columns & 0xffff, 2);
  checked(cIoctl(fd, TIOCSWINSZ, winsize), "ioctl TIOCSWINSZ", String(fd));
}

export function windowSize(fd: number): WindowSize {
  checked(cIoctl(fd, TIOCGWINSZ, winsize), "ioctl TIOCGWINSZ", String(fd));
  return { columns: winsize.readUInt16LE(2), rows: winsize.readUInt16LE(0) };
}

// One message of at most 4 KiB (the runtime sends the terminal's name) with room for a few descriptors. The
// buffers outlive each call because the header holds their addresses.
const maxFds = 4;
const payload = Buffer.allocUnsafeSlow(4096);
const control = Buffer.allocUnsafeSlow(16 + maxFds * 4);
const iovec = Buffer.allocUnsafeSlow(16);
const header = Buffer.allocUnsafeSlow(56);

/**
 * One message from a connected unix socket, with the descriptors it carried (close-on-exec, now the
 * caller's). Undefined when nothing has come yet; an empty `data` without descriptors is end of file.
 */
export function receiveFds(
  socket: number,
): { readonly data: Buffer; readonly fds: readonly number[] } | undefined {
  iovec.writeBigUInt64LE(addressOf(payload), 0);
  iovec.writeBigUInt64LE(BigInt(payload.length), 8);
  header.fill(0);
  header.writeBigUInt64LE(addressOf(iovec), 16);
  header.writeBigUInt64LE(1n, 24);
  header.writeBigUInt64LE(addressOf(control), 32);
  header.writeBigUInt64LE(BigInt(control.length), 40);
  control.fill(0);
  for (;;) {
    const count = Number(cRecvmsg(socket, header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC));
    if (count >= 0) return { data: Buffer.from(payload.subarray(0, count)), fds: descriptorsIn(header) };
    const failure = lastErrno();
    if (failure === errno.EAGAIN) return undefined;
    if (failure !== errno.EINTR) throw new SystemError(failure, "recvmsg", String(socket));
  }
}

function descriptorsIn(received: Buffer): number[] {
  const fds: number[] = [];
  const controlLength = Number(received.readBigUInt64LE(40));
  if (controlLength < 20) return fds;
  const length = Number(control.readBigUInt64LE(0));
  if (control.readInt32LE(8) !== SOL_SOCKET || control.readInt32LE(12) !== SCM_RIGHTS) return fds;
  for (let at = 16; at + 4 <= Math.min(length, control.length); at += 4) fds.push(control.readInt32LE(at));
  return fds;
}

/** The one descriptor that a console socket's peer sends; undefined while it has not come. */
export function receiveTerminal(socket: number): number | undefined {
  const message = receiveFds(socket);
  if (message === undefined) return undefined;
  const [master, ...extra] = message.fds;
  // Descriptors that nobody asked for would leak.
  for (const fd of extra) closeFd(fd);
  if (master === undefined) throw new Error("console socket closed without sending a terminal");
  return master;
}
