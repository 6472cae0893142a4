/**
 * Starts a created runc container without running `runc start`. After `runc create`, the container's init
 * opens `exec.fifo` in runc's state directory for writing, which blocks until a reader comes; then it writes
 * one byte and execs the user's program. `runc start` does no more than be that reader and remove the FIFO,
 * whose presence means "created" to runc. So does this file, for a few system calls in place of a process.
 * Hooks of kind poststart are the runtime's business; a container that has them starts through the runtime.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { deadlineExceeded, unknownError } from "../core/errors.js";
import { closeFd, O_NONBLOCK, O_RDONLY, openFd, readFd } from "../native/fds.js";
import { hasCode } from "../native/libc.js";
import { processStat } from "../native/process.js";
import type { OciRuntime, RuntimeCall } from "./oci-runtime.js";
import type { RuntimeProbe } from "./runtime-probe.js";
import type { SpecFacts } from "./spec.js";

export interface StartRequest extends RuntimeCall {
  /** The created init process. */
  readonly pid: number;
  readonly spec: Pick<SpecFacts, "hooks">;
}

/** How a container was started. */
export type StartedBy = "gate" | "runtime";

/** Starts a created container the cheapest way that is sure; errors are those of `runtime.start`. */
export async function startContainer(
  runtime: OciRuntime,
  probe: RuntimeProbe,
  request: StartRequest,
): Promise<StartedBy> {
  if (!request.spec.hooks.has("poststart") && (await probe(runtime.binary)).kind === "runc") {
    const outcome = await openStartGate(runtime.root, request);
    if (outcome === "started") return "gate";
  }
  await runtime.start(request);
  return "runtime";
}

const defaultDeadlineMs = 30_000;
// Init needs the processor to answer: asking more often only takes it away, and measured slower under load.
const firstPauseMs = 1;
const longestPauseMs = 20;

/**
 * Lets a created container run. "not-created" means that nothing was done: it has no FIFO (running already, or
 * gone) or its init is dead, and the runtime has the words for that. Rejects when init dies on the way, or with
 * deadline-exceeded; then the container is still created.
 */
export async function openStartGate(root: string, request: StartRequest): Promise<"started" | "not-created"> {
  const { id, pid } = request;
  const deadlineMs = request.deadlineMs ?? defaultDeadlineMs;
  const path = join(root, id, "exec.fifo");
  if (isDead(pid)) return "not-created";
  let fd: number;
  try {
    fd = openFd(path, O_RDONLY | O_NONBLOCK);
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENXIO", "ENOTDIR")) return "not-created";
    throw unknownError(`OCI runtime start failed: ${error instanceof Error ? error.message : error}`, {
      cause: error,
    });
  }
  try {
    const end = performance.now() + deadlineMs;
    for (let pauseMs = firstPauseMs; !readByte(fd); pauseMs = Math.min(pauseMs * 2, longestPauseMs)) {
      if (isDead(pid)) {
        // It may have written, run and ended between the read and this look.
        if (readByte(fd)) break;
        throw unknownError("OCI runtime start failed: container process is already dead");
      }
      if (performance.now() >= end)
        throw deadlineExceeded(`init of ${id} did not open its start FIFO within ${deadlineMs} ms`);
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
    rmSync(path, { force: true });
    return "started";
  } finally {
    closeFd(fd);
  }
}

const byte = Buffer.allocUnsafeSlow(16);

/** End of file says that no writer has come yet, EAGAIN that one has and did not write yet. */
const readByte = (fd: number): boolean => (readFd(fd, byte) ?? 0) > 0;

function isDead(pid: number): boolean {
  const stat = processStat(pid);
  return stat === undefined || stat.state === "Z" || stat.state === "X";
}
