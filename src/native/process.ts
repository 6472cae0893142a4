/**
 * Processes: starting one with posix_spawn (0.2 ms, where child_process needs 2), signalling by pid, group or
 * pidfd, waiting, and the facts of /proc that tell one owner of a pid from the next.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { closeFd, duplicateFd } from "./fds.js";
import { bind, bindOptional, checked, errno, lastErrno, SystemError } from "./libc.js";

const cFileActionsInit = bind("int posix_spawn_file_actions_init(void *actions)");
const cFileActionsDestroy = bind("int posix_spawn_file_actions_destroy(void *actions)");
const cFileActionsAddDup2 = bind("int posix_spawn_file_actions_adddup2(void *actions, int from, int to)");
const cFileActionsAddOpen = bind(
  "int posix_spawn_file_actions_addopen(void *actions, int fd, const char *path, int flags, uint32_t mode)",
);
const cFileActionsAddChdir = bind(
  "int posix_spawn_file_actions_addchdir_np(void *actions, const char *path)",
);
const cFileActionsAddCloseFrom = bindOptional(
  "int posix_spawn_file_actions_addclosefrom_np(void *actions, int from)",
);
const cAttrInit = bind("int posix_spawnattr_init(void *attributes)");
const cAttrSetFlags = bind("int posix_spawnattr_setflags(void *attributes, int16_t flags)");
const cAttrSetGroup = bind("int posix_spawnattr_setpgroup(void *attributes, int group)");
const cAttrSetDefault = bind("int posix_spawnattr_setsigdefault(void *attributes, void *set)");
const cAttrSetMask = bind("int posix_spawnattr_setsigmask(void *attributes, void *set)");
const cSpawn = bind(
  "int posix_spawn(_Out_ int *pid, const char *path, void *actions, void *attributes, const char **argv, const char **environment)",
);
const cKill = bind("int kill(int pid, int signal)");
const cPrctl = bind(
  "int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)",
);
const cPrctlOut = bind("int prctl(int option, void *a, unsigned long b, unsigned long c, unsigned long d)");
const cSyscall = bind<number | bigint>("long syscall(long number, long a, long b, long c, long d)");
const cWaitid = bind("int waitid(int idType, uint32_t id, void *info, int options)");
const cClockGettime = bind("int clock_gettime(int clock, void *time)");

const POSIX_SPAWN_SETPGROUP = 0x02;
const POSIX_SPAWN_SETSIGDEF = 0x04;
const POSIX_SPAWN_SETSIGMASK = 0x08;
const PR_SET_CHILD_SUBREAPER = 36;
const PR_GET_CHILD_SUBREAPER = 37;
const SYS_PIDFD_SEND_SIGNAL = 424;
const SYS_PIDFD_OPEN = 434;

// Opaque glibc objects; it needs 80 and 336 bytes.
const fileActions = Buffer.allocUnsafeSlow(128).fill(0);
const attributes = Buffer.allocUnsafeSlow(512).fill(0);
const allSignals = Buffer.allocUnsafeSlow(128).fill(0xff);
const noSignals = Buffer.allocUnsafeSlow(128).fill(0);

// The child starts with every signal at its default and unblocked (Node ignores SIGPIPE; a container must
// not inherit that), and leads a process group of its own, so that a deadline can end it with its helpers.
cAttrInit(attributes);
cAttrSetFlags(attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
cAttrSetGroup(attributes, 0);
cAttrSetDefault(attributes, allSignals);
cAttrSetMask(attributes, noSignals);

/** What one of a child's descriptors is: one of ours, or "null" for /dev/null. */
export type ChildFd = number | "null";

/** A child's descriptors from 0 on: its standard streams, and more where a protocol asks for them. */
export type ChildFds = readonly [ChildFd, ChildFd, ChildFd, ...ChildFd[]];

export interface SpawnRequest {
  /** The program's path (no PATH search); also argv[0] unless `argv0` says otherwise. */
  readonly path: string;
  readonly args: readonly string[];
  readonly argv0?: string;
  readonly stdio: ChildFds;
  /** The whole environment, as `NAME=value`. */
  readonly env: readonly string[];
  readonly cwd?: string;
}

/**
 * Starts a child in its own process group and returns its pid. It gets the listed descriptors and no others.
 * Throws a SystemError, also when exec itself failed (then no child is left). Ours stay ours to close.
 */
export function spawnProcess({ path, args, argv0, stdio, env, cwd }: SpawnRequest): number {
  const copies: number[] = [];
  cFileActionsInit(fileActions);
  try {
    stdio.forEach((source, target) => {
      if (source === "null") {
        must(cFileActionsAddOpen(fileActions, target, "/dev/null", target === 0 ? 0 : 1, 0));
        return;
      }
      // Placing one descriptor must not overwrite a source that is placed later, so those come from copies.
      const safe = source < stdio.length && source !== target ? duplicateFd(source, stdio.length) : source;
      if (safe !== source) copies.push(safe);
      must(cFileActionsAddDup2(fileActions, safe, target));
    });
    // Ours are close-on-exec, but whoever started this process may have left it some that are not.
    if (cFileActionsAddCloseFrom !== undefined) must(cFileActionsAddCloseFrom(fileActions, stdio.length));
    if (cwd !== undefined) must(cFileActionsAddChdir(fileActions, cwd));
    const pid = [0];
    const argv = [argv0 ?? path, ...args, null];
    const result = cSpawn(pid, path, fileActions, attributes, argv, [...env, null]);
    if (result !== 0) throw new SystemError(result, "posix_spawn", path);
    return pid[0] as number;
  } finally {
    cFileActionsDestroy(fileActions);
    for (const fd of copies) closeFd(fd);
  }
}

/** posix_spawn's helpers return the errno instead of setting it. */
function must(result: number): void {
  if (result !== 0) throw new SystemError(result, "posix_spawn_file_actions");
}

/** Sends a signal (0 only asks). False when there is no such process; throws for other errors. */
export function sendSignal(pid: number, signal: number): boolean {
  // 0 and -1 would reach our own group or everything.
  if (!Number.isInteger(pid) || pid < 1) throw new SystemError(errno.EINVAL, "kill", String(pid));
  return delivered(cKill(pid, signal), "kill", pid);
}

/** Sends a signal to every process of a group; false when it has none left. */
export function signalGroup(group: number, signal: number): boolean {
  if (!Number.isInteger(group) || group < 2) throw new SystemError(errno.EINVAL, "kill", `group ${group}`);
  return delivered(cKill(-group, signal), "kill group", group);
}

function delivered(result: number, name: string, subject: number): boolean {
  if (result === 0) return true;
  const failure = lastErrno();
  if (failure === errno.ESRCH) return false;
  throw new SystemError(failure, name, String(subject));
}

/** A descriptor of the process: readable once it has exited. Close-on-exec; undefined when it is gone. */
export function openPidfd(pid: number): number | undefined {
  const fd = Number(cSyscall(SYS_PIDFD_OPEN, pid, 0, 0, 0));
  if (fd >= 0) return fd;
  const failure = lastErrno();
  if (failure === errno.ESRCH) return undefined;
  throw new SystemError(failure, "pidfd_open", String(pid));
}

/** Signals exactly the process of the pidfd, whoever has its pid now; false when it was reaped. */
export function signalPidfd(pidfd: number, signal: number): boolean {
  return delivered(Number(cSyscall(SYS_PIDFD_SEND_SIGNAL, pidfd, signal, 0, 0)), "pidfd_send_signal", pidfd);
}

/** Makes orphaned descendants re-parent to this process. */
export function becomeSubreaper(): void {
  checked(cPrctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl PR_SET_CHILD_SUBREAPER");
}

export function isSubreaper(): boolean {
  const answer = Buffer.allocUnsafeSlow(4);
  checked(cPrctlOut(PR_GET_CHILD_SUBREAPER, answer, 0, 0, 0), "prctl PR_GET_CHILD_SUBREAPER");
  return answer.readInt32LE(0) === 1;
}

export const P_ALL = 0;
export const P_PID = 1;
export const P_PIDFD = 3;
export const WNOHANG = 1;
export const WEXITED = 4;
export const WNOWAIT = 0x01000000;
const CLD_EXITED = 1;

export interface ChildExit {
  readonly pid: number;
  /** Exit code, or 128 + the signal that ended it. */
  readonly exitStatus: number;
  readonly signalled: boolean;
}

const info = Buffer.allocUnsafeSlow(128);

/**
 * One exited child without waiting for it: undefined when none has exited, "no-child" when there is none to
 * wait for. With WNOWAIT the child stays a zombie.
 */
export function waitChild(
  idType: number,
  id: number,
  options = WEXITED | WNOHANG,
): ChildExit | "no-child" | undefined {
  for (;;) {
    // The kernel leaves the buffer alone when nothing is ready.
    info.fill(0);
    if (cWaitid(idType, id, info, options) === 0) {
      const pid = info.readInt32LE(16);
      if (pid === 0) return undefined;
      const signalled = info.readInt32LE(8) !== CLD_EXITED;
      const status = info.readInt32LE(24);
      return { pid, exitStatus: signalled ? 128 + status : status, signalled };
    }
    const failure = lastErrno();
    if (failure === errno.ECHILD) return "no-child";
    if (failure !== errno.EINTR) throw new SystemError(failure, "waitid", String(id));
  }
}

export interface ProcessStat {
  /** One letter: R, S, D, T, Z, X. */
  readonly state: string;
  readonly parentPid: number;
  readonly processGroup: number;
  /** Clock ticks after boot; with the pid it names one process for ever. */
  readonly startTicks: number;
  /** Wait status of a zombie (0 until it exits, and for those we may not trace). */
  readonly waitStatus: number;
}

/** Parses /proc/PID/stat; the name in it may hold anything, so fields count from the last parenthesis. */
export function parseProcessStat(text: string): ProcessStat {
  const fields = text
    .slice(text.lastIndexOf(")") + 2)
    .trimEnd()
    .split(" ");
  const number = (index: number): number => Number(fields[index] ?? 0);
  return {
    state: fields[0] ?? "",
    parentPid: number(1),
    processGroup: number(2),
    startTicks: number(19),
    waitStatus: number(49),
  };
}

/** Undefined when no such process is left. */
export function processStat(pid: number): ProcessStat | undefined {
  try {
    return parseProcessStat(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return undefined;
  }
}

/** The start time of a pid, in ticks after boot; compare it before trusting a pid read from disk. */
export const processStartTicks = (pid: number): number | undefined => processStat(pid)?.startTicks;

/** -1000 (never killed for memory) to 1000 (first). Throws a Node error when the process is gone. */
export const setOomScoreAdjustment = (pid: number | "self", value: number): void =>
  writeFileSync(`/proc/${pid}/oom_score_adj`, String(value));

export const oomScoreAdjustment = (pid: number | "self"): number =>
  Number(readFileSync(`/proc/${pid}/oom_score_adj`, "latin1"));

const timespec = Buffer.allocUnsafeSlow(16);

/** The wall clock with nanoseconds, also right after the clock was stepped. */
export function realtimeNow(): { readonly seconds: bigint; readonly nanos: number } {
  checked(cClockGettime(0, timespec), "clock_gettime");
  return { seconds: timespec.readBigInt64LE(0), nanos: Number(timespec.readBigInt64LE(8)) };
}
