/** FIFOs as a containerd client uses them: made by the client, read without blocking, held open for writing. */
import { closeSync, constants, openSync, writeSync } from "node:fs";
import { Socket } from "node:net";
import koffi from "koffi";

const mkfifoNative = koffi.load("libc.so.6").func("int mkfifo(const char *path, uint32_t mode)");

export function makeFifo(path: string): string {
  if (mkfifoNative(path, 0o700) !== 0) throw new Error(`mkfifo ${path}: errno ${koffi.errno()}`);
  return path;
}

export interface FifoReader {
  /** Everything that came so far. */
  bytes(): Buffer;
  text(): string;
  /** Resolves with all of it when the last writer has closed; rejects after `timeoutMs`. */
  end(timeoutMs?: number): Promise<Buffer>;
  /** Resolves when the text so far matches. */
  match(pattern: RegExp, timeoutMs?: number): Promise<string>;
  /** Stops reading, as a client does that dies. */
  close(): void;
}

/** Opens the read end at once, whether or not there is a writer yet. */
export function readFifo(path: string): FifoReader {
  const socket = new Socket({
    fd: openSync(path, constants.O_RDONLY | constants.O_NONBLOCK),
    readable: true,
    writable: false,
  });
  const chunks: Buffer[] = [];
  const listeners = new Set<() => void>();
  let ended = false;
  const wake = (): void => {
    for (const listener of [...listeners]) listener();
  };
  socket.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    wake();
  });
  const finish = (): void => {
    ended = true;
    wake();
  };
  socket.on("end", finish);
  socket.on("close", finish);
  socket.on("error", finish);
  const bytes = (): Buffer => Buffer.concat(chunks);
  const waitFor = <T>(what: string, probe: () => T | undefined, timeoutMs: number): Promise<T> =>
    new Promise((resolve, reject) => {
      const settle = (done: () => void): void => {
        clearTimeout(timer);
        listeners.delete(look);
        done();
      };
      const look = (): void => {
        const value = probe();
        if (value !== undefined) settle(() => resolve(value));
        else if (ended) settle(() => reject(new Error(`${path} ended before ${what}: ${tail(bytes())}`)));
      };
      const timer = setTimeout(
        () => settle(() => reject(new Error(`${path}: no ${what} in ${timeoutMs} ms: ${tail(bytes())}`))),
        timeoutMs,
      );
      listeners.add(look);
      look();
    });
  return {
    bytes,
    text: () => bytes().toString("latin1"),
    end: (timeoutMs = 30_000) => waitFor("end", () => (ended ? bytes() : undefined), timeoutMs),
    match: (pattern, timeoutMs = 20_000) =>
      waitFor(
        String(pattern),
        () => {
          const text = bytes().toString("latin1");
          return pattern.test(text) ? text : undefined;
        },
        timeoutMs,
      ),
    close: () => socket.destroy(),
  };
}

const tail = (bytes: Buffer): string => JSON.stringify(bytes.subarray(-200).toString("latin1"));

export interface FifoWriter {
  write(text: string): void;
  close(): void;
}

/** Holds the FIFO open for writing (and reading, so that the open never waits). For input below 64 KiB. */
export function writeFifo(path: string): FifoWriter {
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  let open = true;
  return {
    write: (text) => {
      writeSync(fd, text);
    },
    close: () => {
      if (open) closeSync(fd);
      open = false;
    },
  };
}
