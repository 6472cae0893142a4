/**
 * Full file systems: state and root each on a small tmpfs that is then filled. Requests that need room fail with
 * a status, the daemon lives, nothing half-made stays, and all works again once there is room.
 */

import { execFileSync } from "node:child_process";
import { closeSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import { afterEach, beforeEach, expect, it } from "vitest";
import { RpcError } from "../support/clients.js";
import { type Daemon, startDaemon, subjectKind } from "../support/daemon.js";
import { expectNoLeaks, keptShim, takeLeakSnapshot } from "../support/leaks.js";
import { describeWith } from "../support/requirements.js";
import { createContainer, createTask, endTask } from "../support/tasks.js";
import { createWorkspace, type Workspace } from "../support/workspace.js";

/** What a client may be told: anything but success, a hang, or a wrong reason. */
const outOfSpace = [status.UNKNOWN, status.RESOURCE_EXHAUSTED, status.INTERNAL, status.UNAVAILABLE];

describeWith(["runc"], "full file systems", () => {
  let workspace: Workspace;
  let daemon: Daemon;
  let namespace: string;
  let call: { readonly namespace: string };
  let state: string;
  let root: string;

  const smallDisk = (): string => {
    const directory = workspace.newDirectory("d");
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=24m,mode=711", "bt-small", directory]);
    return directory;
  };

  beforeEach(async () => {
    workspace = createWorkspace();
    state = smallDisk();
    root = smallDisk();
    daemon = await startDaemon({ kind: subjectKind(), workspace, state, root });
    namespace = workspace.newNamespace();
    call = { namespace };
    const first = await createTask(daemon, namespace, { id: "first", args: ["/bin/true"] });
    await first.start();
    await first.wait();
    await first.remove();
  }, 60_000);

  afterEach(async () => {
    await daemon?.dispose();
    await workspace?.dispose();
  }, 60_000);

  /** Takes every last byte; returns how to give them back. */
  function fill(directory: string): () => void {
    const path = join(directory, "ballast.log");
    const fd = openSync(path, "w");
    const chunk = Buffer.alloc(64 << 10);
    for (const size of [chunk.length, 4096, 1]) {
      try {
        while (writeSync(fd, chunk, 0, size) > 0);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
      }
    }
    closeSync(fd);
    return () => rmSync(path);
  }

  const outcomeOf = async (request: Promise<unknown>): Promise<number> => {
    try {
      await request;
      return status.OK;
    } catch (error) {
      if (error instanceof RpcError) return error.statusCode;
      throw error;
    }
  };

  const runsWell = async (id: string): Promise<void> => {
    const task = await createTask(daemon, namespace, { id, args: ["/bin/sh", "-c", "exit 3"] });
    await task.start();
    expect(await task.wait()).toBe(3);
    await task.remove();
  };

  it("a create on a full state directory fails with a status and leaves nothing", {
    timeout: 120_000,
  }, async () => {
    await createContainer(daemon, namespace, { id: "late", args: ["/bin/sleep", "100"] });
    const before = takeLeakSnapshot(daemon);
    const pid = daemon.pid;
    const free = fill(state);
    for (let attempt = 0; attempt < 3; attempt++) {
      const code = await outcomeOf(daemon.clients.tasks.create({ containerId: "late" }, call));
      expect(outOfSpace, `status ${status[code]}`).toContain(code);
    }
    expect(await outcomeOf(daemon.clients.tasks.get({ containerId: "late" }, call))).toBe(status.NOT_FOUND);
    expect(await daemon.clients.isServing()).toBe(true);
    free();
    await daemon.clients.containers.delete({ id: "late" }, call);
    await expectNoLeaks(daemon, before, keptShim);
    await runsWell("after");
    expect(daemon.pid).toBe(pid);
  });

  it("a running task can be listed, killed and removed while the state directory is full", {
    timeout: 120_000,
  }, async () => {
    const before = takeLeakSnapshot(daemon);
    const task = await createTask(daemon, namespace, { id: "steady", args: ["/bin/sleep", "1000"] });
    await task.start();
    const free = fill(state);
    const waiting = task.wait(30_000);
    const answer = await daemon.clients.tasks.get({ containerId: "steady" }, call);
    expect(answer.process?.status).toBe(2);
    await task.kill(9);
    expect(await waiting).toBe(137);
    // Deleting needs no room; where a daemon wants some it may fail, but only for as long as there is none.
    const code = await outcomeOf(daemon.clients.tasks.delete({ containerId: "steady" }, call));
    expect([status.OK, ...outOfSpace], `status ${status[code]}`).toContain(code);
    free();
    await endTask(daemon, namespace, "steady");
    await daemon.clients.containers.delete({ id: "steady" }, call);
    await expectNoLeaks(daemon, before, keptShim);
    await runsWell("after");
  });

  it("metadata that finds no room on root is refused, whole or not at all", {
    timeout: 120_000,
  }, async () => {
    const before = takeLeakSnapshot(daemon);
    const free = fill(root);
    const value = Buffer.alloc(1 << 20, "x");
    const accepted: string[] = [];
    let refusals = 0;
    for (let i = 0; i < 40; i++) {
      const id = `fat${String(i).padStart(2, "0")}`;
      const spec = { typeUrl: "x", value };
      const code = await outcomeOf(createContainer(daemon, namespace, { id, args: [], spec }));
      if (code === status.OK) {
        accepted.push(id);
        continue;
      }
      expect(outOfSpace, `status ${status[code]}`).toContain(code);
      refusals++;
    }
    expect(refusals).toBeGreaterThan(0);
    expect(await daemon.clients.isServing()).toBe(true);
    const stored = await daemon.clients.containers.list({}, call);
    expect(stored.containers.map((container) => container.id)).toEqual(accepted);
    expect(stored.containers.every((container) => container.spec?.value.length === value.length)).toBe(true);
    free();
    for (const id of accepted) await daemon.clients.containers.delete({ id }, call);
    await runsWell("after");
    await expectNoLeaks(daemon, before, keptShim);
  });
});
