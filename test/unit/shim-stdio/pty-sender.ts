/** Does what a runtime does for a terminal: makes a pty, runs a child on its slave, sends the master away. */
import { spawn } from "node:child_process";
import { constants } from "node:fs";
import { closeFd, O_RDWR, openFd } from "../../../src/native/fds.js";
import { addressOf, bind, checked } from "../../../src/native/libc.js";
import type { Child } from "./plane-fixture.js";

const cIoctl = bind("int ioctl(int fd, unsigned long request, void *argument)");
const cSocket = bind("int socket(int domain, int type, int protocol)");
const cConnect = bind("int connect(int fd, void *address, uint32_t length)");
const cSendmsg = bind("long sendmsg(int fd, void *header, int flags)");

const TIOCSPTLCK = 0x40045431;
const TIOCGPTN = 0x80045430;

function openPty(): { readonly master: number; readonly slave: number } {
  const master = openFd("/dev/ptmx", O_RDWR | constants.O_NOCTTY);
  const number = Buffer.allocUnsafeSlow(4).fill(0);
  checked(cIoctl(master, TIOCSPTLCK, number), "TIOCSPTLCK");
  checked(cIoctl(master, TIOCGPTN, number), "TIOCGPTN");
  return { master, slave: openFd(`/dev/pts/${number.readInt32LE(0)}`, O_RDWR | constants.O_NOCTTY) };
}

/** Connects to the console socket; the caller closes the descriptor. */
export function connectTo(path: string): number {
  const fd = checked(cSocket(1, 1 | 0o2000000, 0), "socket");
  const address = Buffer.allocUnsafeSlow(110).fill(0);
  address.writeUInt16LE(1, 0);
  address.write(path, 2);
  checked(cConnect(fd, address, 110), "connect", path);
  return fd;
}

function sendFd(socket: number, fd: number): void {
  const text = Buffer.allocUnsafeSlow(8).fill("/dev/tty");
  const iovec = Buffer.allocUnsafeSlow(16);
  iovec.writeBigUInt64LE(addressOf(text), 0);
  iovec.writeBigUInt64LE(8n, 8);
  const control = Buffer.allocUnsafeSlow(24).fill(0);
  control.writeBigUInt64LE(20n, 0);
  control.writeInt32LE(1, 8);
  control.writeInt32LE(1, 12);
  control.writeInt32LE(fd, 16);
  const header = Buffer.allocUnsafeSlow(56).fill(0);
  header.writeBigUInt64LE(addressOf(iovec), 16);
  header.writeBigUInt64LE(1n, 24);
  header.writeBigUInt64LE(addressOf(control), 32);
  header.writeBigUInt64LE(24n, 40);
  checked(Number(cSendmsg(socket, header, 0)), "sendmsg");
}

/** Runs a shell command on a new terminal, its controlling one, and sends the master to the socket. */
export function startOnTerminal(consoleSocketPath: string, command: string): Child {
  const { master, slave } = openPty();
  try {
    const child = spawn("/usr/bin/setsid", ["--ctty", "/bin/sh", "-c", command], {
      stdio: [slave, slave, slave],
    });
    const exited = new Promise<number>((resolve) => {
      child.once("exit", (code, signal) => resolve(code ?? (signal === "SIGHUP" ? 129 : 255)));
    });
    const socket = connectTo(consoleSocketPath);
    sendFd(socket, master);
    closeFd(socket);
    return { process: child, exited };
  } finally {
    closeFd(slave);
    closeFd(master);
  }
}
