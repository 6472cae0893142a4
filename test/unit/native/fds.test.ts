import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createEpoll, EPOLLIN, EPOLLOUT } from "../../../src/native/epoll.js";
import { createEventFd, drainEventFd, signalEventFd } from "../../../src/native/eventfd.js";
import * as fds from "../../../src/native/fds.js";
import { SystemError } from "../../../src/native/libc.js";
import { splice, tee } from "../../../src/native/splice.js";

const openFds = (): number => readdirSync("/proc/self/fd").length;
let directory: string;
let opened: number[];
let before: number;

const own = (...numbers: number[]): void => void opened.push(...numbers);

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "berth-fds-"));
  opened = [];
  before = openFds();
});

afterEach(() => {
  for (const fd of opened) fds.closeFd(fd);
  rmSync(directory, { recursive: true, force: true });
  expect(openFds()).toBe(before);
});

const pipe = (flags = 0): [number, number] => {
  const ends = fds.makePipe(flags);
  own(...ends);
  return ends;
};

describe("descriptors", () => {
  it("reading an empty non-blocking pipe answers undefined, and 0 once its writers are gone", () => {
    const [read, write] = fds.makePipe(fds.O_NONBLOCK);
    own(read);
    const buffer = Buffer.alloc(8);
    expect(fds.readFd(read, buffer)).toBeUndefined();
    expect(fds.writeFd(write, Buffer.from("abc"))).toBe(3);
    expect(fds.readableBytes(read)).toBe(3);
    expect(fds.readFd(read, buffer)).toBe(3);
    expect(buffer.toString("latin1", 0, 3)).toBe("abc");
    fds.closeFd(write);
    expect(fds.readFd(read, buffer)).toBe(0);
  });

  it("writing to a full non-blocking pipe answers undefined", () => {
    const [, write] = pipe(fds.O_NONBLOCK);
    expect(fds.setPipeSize(write, 4096)).toBe(4096);
    expect(fds.pipeSize(write)).toBe(4096);
    expect(fds.writeFd(write, Buffer.alloc(4096))).toBe(4096);
    expect(fds.writeFd(write, Buffer.alloc(1))).toBeUndefined();
    expect(fds.pollFd(write, fds.POLLOUT)).toBe(0);
  });

  it("a FIFO is made, opened without blocking, and its lack of a reader shows as POLLERR", () => {
    const path = join(directory, "fifo");
    fds.makeFifo(path, 0o600);
    expect(() => fds.makeFifo(path)).toThrow(expect.objectContaining({ code: "EEXIST" }));
    expect(() => fds.openFd(path, fds.O_WRONLY | fds.O_NONBLOCK)).toThrow(
      expect.objectContaining({ code: "ENXIO" }),
    );
    const holder = fds.openFd(path, fds.O_RDWR | fds.O_NONBLOCK);
    const writer = fds.openFd(path, fds.O_WRONLY);
    own(writer);
    expect(fds.isFifo(writer)).toBe(true);
    expect(fds.pollFd(writer, fds.POLLOUT)).toBe(fds.POLLOUT);
    fds.closeFd(holder);
    expect(fds.pollFd(writer, fds.POLLOUT) & fds.POLLERR).toBe(fds.POLLERR);
  });

  it("O_NONBLOCK is switched without touching other flags, and duplicates share it", () => {
    const [read] = pipe();
    const duplicate = fds.duplicateFd(read);
    own(duplicate);
    fds.setNonblocking(read, true);
    expect(fds.statusFlags(duplicate) & fds.O_NONBLOCK).toBe(fds.O_NONBLOCK);
    fds.setNonblocking(duplicate, false);
    expect(fds.statusFlags(read) & fds.O_NONBLOCK).toBe(0);
  });

  it("closing a descriptor twice is an error, not silence", () => {
    const [read, write] = fds.makePipe();
    fds.closeFd(read);
    fds.closeFd(write);
    expect(() => fds.closeFd(write)).toThrow(SystemError);
  });

  it("a failed call names the errno, the call and the subject, and carries no numeric code", () => {
    const failure = (() => {
      try {
        return fds.openFd(join(directory, "missing"), fds.O_RDONLY);
      } catch (error) {
        return error as SystemError;
      }
    })();
    expect(failure).toMatchObject({ code: "ENOENT", syscall: "open", errno: 2 });
    expect(String(failure)).toContain(`open ${directory}/missing: no such file or directory`);
  });

  it("an output file refuses to grow past its limit and knows how much was written", () => {
    const fd = fds.makeOutputFile("test", 4);
    own(fd);
    expect(fds.writeFd(fd, Buffer.from("abcd"))).toBe(4);
    expect(() => fds.writeFd(fd, Buffer.from("e"))).toThrow(expect.objectContaining({ code: "EPERM" }));
    expect(fds.filePosition(fd)).toBe(4);
  });

  it("an input file is read from its start", () => {
    const fd = fds.makeInputFile("test", Buffer.from("hello"));
    own(fd);
    const buffer = Buffer.alloc(16);
    expect(buffer.toString("latin1", 0, fds.readFd(fd, buffer))).toBe("hello");
  });
});

describe("splice and tee", () => {
  it("tee copies what splice then moves, and an empty source answers undefined", () => {
    const [sourceRead, sourceWrite] = pipe(fds.O_NONBLOCK);
    const [copyRead, copyWrite] = pipe(fds.O_NONBLOCK);
    const [sinkRead, sinkWrite] = pipe(fds.O_NONBLOCK);
    expect(splice(sourceRead, sinkWrite, 100)).toBeUndefined();
    fds.writeFd(sourceWrite, Buffer.from("payload"));
    expect(tee(sourceRead, copyWrite, 100)).toBe(7);
    expect(splice(sourceRead, sinkWrite, 100)).toBe(7);
    const buffer = Buffer.alloc(16);
    expect(buffer.toString("latin1", 0, fds.readFd(copyRead, buffer))).toBe("payload");
    expect(buffer.toString("latin1", 0, fds.readFd(sinkRead, buffer))).toBe("payload");
    expect(tee(sourceRead, copyWrite, 100)).toBeUndefined();
  });
});

describe("epoll and eventfd", () => {
  it("events bring back the data they were registered with, also beyond 32 bits", () => {
    const epoll = createEpoll();
    const eventFd = createEventFd();
    const [read, write] = pipe(fds.O_NONBLOCK);
    own(eventFd);
    const large = 2 ** 52 + 12345;
    epoll.add(eventFd, EPOLLIN, large);
    epoll.add(read, EPOLLIN, 7);
    const seen: Array<[number, number]> = [];
    expect(epoll.wait(0, (data, events) => void seen.push([data, events]))).toBe(0);
    signalEventFd(eventFd);
    signalEventFd(eventFd);
    fds.writeFd(write, Buffer.from("x"));
    expect(epoll.wait(1000, (data, events) => void seen.push([data, events]))).toBe(2);
    expect(new Map(seen)).toEqual(
      new Map([
        [large, EPOLLIN],
        [7, EPOLLIN],
      ]),
    );
    expect(drainEventFd(eventFd)).toBe(2);
    expect(drainEventFd(eventFd)).toBe(0);
    epoll.remove(read);
    epoll.remove(read);
    expect(epoll.wait(0, () => {})).toBe(0);
    epoll.add(write, EPOLLOUT, 1);
    epoll.modify(write, 0, 1);
    expect(epoll.wait(0, () => {})).toBe(0);
    epoll.close();
  });
});
