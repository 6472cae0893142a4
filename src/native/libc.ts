/**
 * The one place that loads libc through koffi, and the error every binding throws. Bindings are declared once
 * per thread, at the top of the module that owns their subject; nothing here or there uses koffi's async
 * calls (they run on libuv's small pool and do not keep Buffer arguments alive).
 */
import { constants } from "node:os";
import koffi from "koffi";

const library = koffi.load("libc.so.6");

/** A libc function: arguments are numbers, bigints, strings, null, Buffers or arrays as its prototype says. */
export type LibcFunction<R> = (...args: readonly unknown[]) => R;

/** Binds one C prototype, such as `int close(int fd)`. The type parameter is what the result arrives as. */
export function bind<R = number>(prototype: string): LibcFunction<R> {
  return library.func(prototype) as LibcFunction<R>;
}

/** The errno of the last call on this thread; read it before any other binding is called. */
export const lastErrno = (): number => koffi.errno();

/** `bind` for a function that older glibc versions lack: undefined there. */
export function bindOptional(prototype: string): LibcFunction<number> | undefined {
  try {
    return bind(prototype);
  } catch {
    return undefined;
  }
}

/** Where a Buffer's bytes are, for structs that hold pointers. Only for Buffers of their own (allocUnsafeSlow). */
export const addressOf = (buffer: Buffer): bigint => koffi.address(buffer);

export const errno = constants.errno;

const errnoNames = new Map<number, string>();
for (const [name, value] of Object.entries(constants.errno)) {
  // Aliases share a number (EAGAIN, EWOULDBLOCK); the first is the usual name.
  if (!errnoNames.has(value)) errnoNames.set(value, name);
}

/** `ENOENT` for 2; `E<number>` for one that Node does not know. */
export const errnoName = (value: number): string => errnoNames.get(value) ?? `E${value}`;

/** A failed system call. `code` is the errno's name, as in Node's own errors; never a number. */
export class SystemError extends Error {
  override readonly name = "SystemError";
  readonly code: string;
  readonly errno: number;
  readonly syscall: string;

  constructor(errnoValue: number, syscall: string, subject?: string) {
    const code = errnoName(errnoValue);
    super(`${syscall}${subject === undefined ? "" : ` ${subject}`}: ${errnoText(code)} (${code})`);
    this.code = code;
    this.errno = errnoValue;
    this.syscall = syscall;
  }
}

/** True for a SystemError or a Node error of that name, such as `"ENOENT"`. */
export const hasCode = (thrown: unknown, ...codes: readonly string[]): boolean =>
  thrown instanceof Error && "code" in thrown && codes.includes(String(thrown.code));

/** `result` unless it is negative; then the SystemError of `errno`. */
export function checked(result: number, syscall: string, subject?: string): number {
  if (result < 0) throw new SystemError(koffi.errno(), syscall, subject);
  return result;
}

// The words Go (and so runc and containerd) prints for an errno; clients search error texts for them.
const goTexts: Readonly<Record<string, string>> = {
  E2BIG: "argument list too long",
  EACCES: "permission denied",
  EAGAIN: "resource temporarily unavailable",
  EBADF: "bad file descriptor",
  EBUSY: "device or resource busy",
  ECHILD: "no child processes",
  EEXIST: "file exists",
  EFAULT: "bad address",
  EINTR: "interrupted system call",
  EINVAL: "invalid argument",
  EIO: "input/output error",
  EISDIR: "is a directory",
  ELOOP: "too many levels of symbolic links",
  EMFILE: "too many open files",
  ENAMETOOLONG: "file name too long",
  ENFILE: "too many open files in system",
  ENODEV: "no such device",
  ENOENT: "no such file or directory",
  ENOEXEC: "exec format error",
  ENOMEM: "cannot allocate memory",
  ENOSPC: "no space left on device",
  ENOTDIR: "not a directory",
  ENOTEMPTY: "directory not empty",
  ENXIO: "no such device or address",
  EPERM: "operation not permitted",
  EPIPE: "broken pipe",
  EROFS: "read-only file system",
  ESRCH: "no such process",
  ETXTBSY: "text file busy",
};

/** Go's words for an errno's name, such as `no such file or directory`; the name itself when unlisted. */
export const errnoText = (code: string): string => goTexts[code] ?? code;
