/**
 * One run of an OCI runtime binary: found in PATH, started in a process group of its own, its small output
 * kept in memory, ended by SIGKILL to the group at the deadline.
 */
import { accessSync, constants, readSync, statSync } from "node:fs";
import { delimiter, join } from "node:path";
import { closeFd, filePosition, makeInputFile, makeOutputFile } from "../native/fds.js";
import { errnoText, hasCode } from "../native/libc.js";
import type { ChildFd } from "../native/process.js";
import type { Reaper, Spawned, WaitStatus } from "../native/reaper.js";
import { RuntimeFailure } from "./runtime-errors.js";

/** How a runtime process is started and, at its deadline, ended. */
export interface RuntimeHost {
  readonly spawn: Reaper["spawn"];
  /** Sends a signal to a process group; false when it is gone. */
  readonly killGroup: (group: number, signal: number) => boolean;
}

export interface CommandRequest {
  /** As configured: a name to look up in PATH, or a path. Named in error texts. */
  readonly binary: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly deadlineMs: number;
  /** The child's descriptors; absent, its input is `input` or /dev/null and its output is captured. */
  readonly stdio?: readonly [ChildFd, ChildFd, ChildFd];
  readonly input?: Uint8Array;
}

export interface CommandResult {
  readonly status: WaitStatus;
  readonly timedOut: boolean;
  readonly stdout: string;
  readonly stderr: string;
}

/** What a runtime may print before further writes fail. */
const maxOutputBytes = 1024 * 1024;
/** How long after SIGKILL the exit may take: a process in uninterruptible sleep must not hold its caller. */
const killGraceMs = 2000;
const SIGKILL = 9;

/** Runs the command to its end or deadline. Rejects with a RuntimeFailure when it cannot be started. */
export async function runCommand(host: RuntimeHost, request: CommandRequest): Promise<CommandResult> {
  const owned: number[] = [];
  const own = (fd: number): number => {
    owned.push(fd);
    return fd;
  };
  try {
    let { stdio } = request;
    let captured: readonly [number, number] | undefined;
    if (stdio === undefined) {
      const stdin = request.input === undefined ? "null" : own(makeInputFile("runtime-input", request.input));
      captured = [
        own(makeOutputFile("runtime-stdout", maxOutputBytes)),
        own(makeOutputFile("runtime-stderr", maxOutputBytes)),
      ];
      stdio = [stdin, ...captured];
    }
    const spawned = start(host, request, stdio);
    const { status, timedOut } = await settle(host, spawned, request.deadlineMs);
    const [stdout, stderr] = captured?.map(contents) ?? ["", ""];
    return { status, timedOut, stdout: stdout ?? "", stderr: stderr ?? "" };
  } finally {
    for (const fd of owned) closeFd(fd);
  }
}

function start(
  host: RuntimeHost,
  request: CommandRequest,
  stdio: readonly [ChildFd, ChildFd, ChildFd],
): Spawned {
  const { binary, args, cwd } = request;
  const path = knownPath(binary);
  try {
    return host.spawn([path, ...args], { stdio, cwd, env: runtimeEnvironment, argv0: binary });
  } catch (error) {
    // It may have moved since; whoever calls next looks anew.
    knownPaths.delete(binary);
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    if (code === "") throw error;
    // posix_spawn has one errno for its chdir and its exec: see which it was, to say what Go says.
    const subject =
      hasCode(error, "ENOENT", "ENOTDIR") && !isDirectory(cwd) ? `chdir ${cwd}` : `fork/exec ${path}`;
    throw new RuntimeFailure(`${subject}: ${errnoText(code)}`, undefined, error);
  }
}

async function settle(
  host: RuntimeHost,
  spawned: Spawned,
  deadlineMs: number,
): Promise<{ readonly status: WaitStatus; readonly timedOut: boolean }> {
  const first = await within(spawned.exited, deadlineMs);
  if (first !== undefined) return { status: first, timedOut: false };
  host.killGroup(spawned.pid, SIGKILL);
  const status = await within(spawned.exited, killGraceMs);
  const unknownExit = {
    pid: spawned.pid,
    exitStatus: 137,
    signalled: true,
    reapedAt: { seconds: 0n, nanos: 0 },
  };
  return { status: status ?? unknownExit, timedOut: true };
}

function within<T>(promise: Promise<T>, timeoutMs: number): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => resolve(undefined), timeoutMs);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

function contents(fd: number): string {
  const buffer = Buffer.alloc(Math.min(filePosition(fd), maxOutputBytes));
  return buffer.toString("utf8", 0, readSync(fd, buffer, 0, buffer.length, 0));
}

/**
 * The path that `binary` means: itself when it has a slash, else the first executable in PATH. Throws Go's
 * sentence for one that is nowhere.
 */
export function resolveBinary(binary: string, searchPath = process.env.PATH ?? ""): string {
  if (binary.includes("/")) return binary;
  for (const directory of searchPath.split(delimiter)) {
    const candidate = join(directory === "" ? "." : directory, binary);
    try {
      accessSync(candidate, constants.X_OK);
      if (statSync(candidate).isFile()) return candidate;
    } catch {
      // Not here; the next directory may have it.
    }
  }
  throw new RuntimeFailure(`exec: ${JSON.stringify(binary)}: executable file not found in $PATH`, undefined);
}

const isDirectory = (path: string): boolean =>
  statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;

/** Our environment as it was at the start; reading it costs a call into the C library for each variable. */
const runtimeEnvironment: Readonly<Record<string, string | undefined>> = (() => {
  // The notify socket is the daemon's: a runtime that sees it would pass it on to the container.
  const { NOTIFY_SOCKET: _, ...env } = process.env;
  return env;
})();

/** Where binaries were found. A search of PATH costs as much as the start of a small program. */
const knownPaths = new Map<string, { readonly path: string; readonly foundAt: number }>();
/** After this a binary is looked for again: another may have come before it in PATH. */
const trustMs = 5000;
const maxKnownPaths = 64;

function knownPath(binary: string): string {
  const known = knownPaths.get(binary);
  if (known !== undefined && performance.now() - known.foundAt < trustMs) return known.path;
  const path = resolveBinary(binary);
  if (knownPaths.size >= maxKnownPaths) knownPaths.clear();
  knownPaths.set(binary, { path, foundAt: performance.now() });
  return path;
}
