/**
 * Requests that must be refused: each has its documented status, leaves nothing behind, and the daemon goes on
 * serving. The exact words are compared with containerd's in test/compat; here it is the status that counts.
 */

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { RpcError } from "../support/clients.js";
import { type Daemon, startDaemon, subjectKind } from "../support/daemon.js";
import { expectNoLeaks, keptShim, type LeakSnapshot, takeLeakSnapshot } from "../support/leaks.js";
import { describeWith } from "../support/requirements.js";
import { containerSpec, jsonAny, processAny, resourcesTypeUrl, specTypeUrl } from "../support/spec.js";
import { createContainer, createTask, endTask, runcRuntime } from "../support/tasks.js";

describeWith(["runc"], "requests that must be refused", () => {
  let daemon: Daemon;
  let namespace: string;
  let call: { readonly namespace: string };
  let before: LeakSnapshot;

  beforeAll(async () => {
    daemon = await startDaemon({ kind: subjectKind() });
    const warm = daemon.workspace.newNamespace();
    const first = await createTask(daemon, warm, { id: "first", args: ["/bin/sleep", "100"] });
    await first.start();
    await first.remove();
  }, 60_000);

  afterAll(async () => {
    await daemon?.dispose();
  }, 60_000);

  beforeEach(() => {
    namespace = daemon.workspace.newNamespace();
    call = { namespace };
    before = takeLeakSnapshot(daemon);
  });

  /** Whatever the test left on purpose goes first; then there must be nothing that nobody asked for. */
  afterEach(async () => {
    for (const { id } of (await daemon.clients.containers.list({}, call)).containers) {
      await endTask(daemon, namespace, id);
      await daemon.clients.containers.delete({ id }, call);
    }
    expect(await daemon.clients.isServing()).toBe(true);
    await expectNoLeaks(daemon, before, keptShim);
  }, 60_000);

  const refused = async (request: Promise<unknown>): Promise<RpcError> => {
    try {
      await request;
    } catch (error) {
      if (error instanceof RpcError) return error;
      throw error;
    }
    throw new Error("the request was accepted");
  };
  const codeOf = async (request: Promise<unknown>): Promise<string> =>
    status[(await refused(request)).statusCode] ?? "none";

  const spec = { typeUrl: "x", value: Buffer.from("{}") };
  const record = (id: string, labels: Readonly<Record<string, string>> = {}) => ({
    container: { id, labels, spec, runtime: { name: runcRuntime } },
  });
  const sleeper = async (id: string): Promise<void> => {
    const task = await createTask(daemon, namespace, { id, args: ["/bin/sleep", "1000"] });
    await task.start();
  };
  const noTask = async (id: string): Promise<void> => {
    expect(await codeOf(daemon.clients.tasks.get({ containerId: id }, call))).toBe("NOT_FOUND");
  };

  it.each(["", "a b", "-a", "a-", "a..b", "a/b", "../../etc", "é", "x".repeat(77), "a\0b", "a\nb"])(
    "the container id %j is an invalid argument",
    async (id) => {
      expect(await codeOf(daemon.clients.containers.create(record(id), call))).toBe("INVALID_ARGUMENT");
    },
  );

  it.each(["a b", "-a", "a..b", "../x", "x".repeat(77)])(
    "the namespace %j is an invalid argument in the header and as a name",
    async (name) => {
      const { containers, namespaces, tasks } = daemon.clients;
      const bad = { namespace: name };
      expect(await codeOf(containers.list({}, bad))).toBe("INVALID_ARGUMENT");
      expect(await codeOf(containers.create(record("a"), bad))).toBe("INVALID_ARGUMENT");
      expect(await codeOf(tasks.create({ containerId: "a" }, bad))).toBe("INVALID_ARGUMENT");
      expect(await codeOf(namespaces.create({ namespace: { name } }, call))).toBe("INVALID_ARGUMENT");
    },
  );

  it("a call without a namespace header is a failed precondition", async () => {
    expect(await codeOf(daemon.clients.containers.list({}))).toBe("FAILED_PRECONDITION");
    expect(await codeOf(daemon.clients.tasks.list({}))).toBe("FAILED_PRECONDITION");
  });

  it("an exec id that breaks the rules is an invalid argument", async () => {
    await sleeper("host");
    for (const execId of ["", "a b", "a/b", "../x", "x".repeat(77)]) {
      const request = { containerId: "host", execId, spec: processAny({ args: ["/bin/true"] }) };
      expect(await codeOf(daemon.clients.tasks.exec(request, call)), execId).toBe("INVALID_ARGUMENT");
    }
  });

  it("labels above 4096 bytes are an invalid argument and nothing is stored", async () => {
    const labels = { key: "v".repeat(4094) };
    expect(await codeOf(daemon.clients.containers.create(record("big", labels), call))).toBe(
      "INVALID_ARGUMENT",
    );
    expect((await daemon.clients.containers.list({}, call)).containers).toEqual([]);
  });

  const withoutProcess = (change: (full: Record<string, unknown>) => unknown): (() => string) => {
    return () =>
      JSON.stringify(change(containerSpec({ rootfs: daemon.workspace.rootfs, args: ["/bin/true"] })));
  };
  it.each<[string, () => string]>([
    ["that is not JSON", () => "this is not JSON"],
    ["that is empty", () => ""],
    ["that is a JSON list", () => "[]"],
    ["that is an empty object", () => "{}"],
    ["without arguments", withoutProcess((s) => ({ ...s, process: { ...(s.process as object), args: [] } }))],
    ["without a process", withoutProcess(({ process: _, ...s }) => s)],
    ["without a root", withoutProcess(({ root: _, ...s }) => s)],
    ["whose root does not exist", withoutProcess((s) => ({ ...s, root: { path: "/no/such/root" } }))],
    ["whose host name is too long", withoutProcess((s) => ({ ...s, hostname: "x".repeat(5000) }))],
  ])("a spec %s fails the create, and leaves no task", async (_, text) => {
    await createContainer(daemon, namespace, {
      id: "odd",
      args: [],
      spec: { typeUrl: specTypeUrl, value: Buffer.from(text()) },
    });
    expect(["UNKNOWN", "INVALID_ARGUMENT"]).toContain(
      await codeOf(daemon.clients.tasks.create({ containerId: "odd" }, call)),
    );
    await noTask("odd");
  });

  it("an exec whose process spec is not JSON is refused", async () => {
    await sleeper("host");
    const garbled = { typeUrl: "x", value: Buffer.from("not JSON") };
    const request = { containerId: "host", execId: "e", spec: garbled };
    expect(["UNKNOWN", "INVALID_ARGUMENT"]).toContain(await codeOf(daemon.clients.tasks.exec(request, call)));
  });

  it.skipIf(subjectKind() === "containerd")("an exec without a spec is an invalid argument", async () => {
    await sleeper("host");
    const request = { containerId: "host", execId: "e" };
    expect(await codeOf(daemon.clients.tasks.exec(request, call))).toBe("INVALID_ARGUMENT");
  });

  it("stdio paths that do not exist fail the create, and leave no task", async () => {
    const missing = join(daemon.workspace.directory, "missing");
    await createContainer(daemon, namespace, { id: "mute", args: ["/bin/true"] });
    const request = { containerId: "mute", stdout: `${missing}-out`, stderr: `${missing}-err` };
    expect(await codeOf(daemon.clients.tasks.create(request, call))).toBe("UNKNOWN");
    await noTask("mute");
  });

  it("stdio paths that are directories fail the create, and leave no task", async () => {
    const directory = join(daemon.workspace.newDirectory("w"), "dir");
    mkdirSync(directory);
    await createContainer(daemon, namespace, { id: "mute", args: ["/bin/true"] });
    const request = { containerId: "mute", stdout: directory, stderr: directory };
    expect(await codeOf(daemon.clients.tasks.create(request, call))).toBe("UNKNOWN");
    await noTask("mute");
  });

  it("an exec with stdio paths that do not exist fails to start and can be deleted", async () => {
    await sleeper("host");
    const missing = join(daemon.workspace.directory, "missing");
    const request = { containerId: "host", execId: "e" };
    const paths = { stdout: `${missing}-out`, stderr: `${missing}-err` };
    const { tasks } = daemon.clients;
    await tasks.exec({ ...request, ...paths, spec: processAny({ args: ["/bin/true"] }) }, call);
    expect(await codeOf(tasks.start(request, call))).toBe("UNKNOWN");
    await endExec(request);
    expect(await codeOf(tasks.get(request, call))).toBe("NOT_FOUND");
  });
  const endExec = async (request: { containerId: string; execId: string }): Promise<void> => {
    const { tasks } = daemon.clients;
    await tasks.kill({ ...request, signal: 9 }, call).catch(() => {});
    await tasks.wait({ ...request }, { ...call, timeoutMs: 5_000 }).catch(() => {});
    await tasks.deleteProcess(request, call);
  };

  it("a message above the size limit is resource exhausted", async () => {
    const huge = { ...spec, value: Buffer.alloc(17 << 20) };
    const { container } = record("huge");
    const request = daemon.clients.containers.create({ container: { ...container, spec: huge } }, call);
    expect(await codeOf(request)).toBe("RESOURCE_EXHAUSTED");
    expect((await daemon.clients.containers.list({}, call)).containers).toEqual([]);
  });

  it("runtime options of an unknown type fail the create, and leave no task", async () => {
    await createContainer(daemon, namespace, {
      id: "alien",
      args: ["/bin/true"],
      runtimeOptions: { typeUrl: "example.com/unknown.Options", value: Buffer.from([1, 2, 3]) },
    });
    expect(["UNKNOWN", "INVALID_ARGUMENT"]).toContain(
      await codeOf(daemon.clients.tasks.create({ containerId: "alien" }, call)),
    );
    await noTask("alien");
  });

  it("resources that are not JSON are refused and the task runs on", async () => {
    await sleeper("host");
    const resources = { typeUrl: "example.com/unknown", value: Buffer.from([255, 0]) };
    const request = { containerId: "host", resources };
    expect(["UNKNOWN", "INVALID_ARGUMENT"]).toContain(
      await codeOf(daemon.clients.tasks.update(request, call)),
    );
    const negative = jsonAny(resourcesTypeUrl, { memory: { limit: 1 } });
    expect(await codeOf(daemon.clients.tasks.update({ ...request, resources: negative }, call))).toBe(
      "UNKNOWN",
    );
    expect((await daemon.clients.tasks.get({ containerId: "host" }, call)).process?.status).toBe(2);
  });

  it.each(["id==", "id===a", "==a", "id==/a/", "labels.", "id,"])(
    "the filter %j, which does not parse, is refused",
    async (filter) => {
      const filters = [filter];
      expect(await codeOf(daemon.clients.containers.list({ filters }, call))).toBe("INVALID_ARGUMENT");
      expect(await codeOf(daemon.clients.leases.list({ filters }, call))).toBe("INVALID_ARGUMENT");
      expect(await codeOf(daemon.clients.introspection.plugins({ filters }, call))).toBe("INVALID_ARGUMENT");
      expect(await codeOf(daemon.clients.tasks.metrics({ filters }, call))).toBe("UNKNOWN");
      await expect(daemon.clients.subscribe(filters)).rejects.toThrow(/failed parsing subscription filters/);
    },
  );

  it("a second create answers already exists and the first task runs on", async () => {
    await sleeper("once");
    expect(await codeOf(daemon.clients.tasks.create({ containerId: "once" }, call))).toBe("ALREADY_EXISTS");
    expect(await codeOf(daemon.clients.containers.create(record("once"), call))).toBe("ALREADY_EXISTS");
    expect((await daemon.clients.tasks.get({ containerId: "once" }, call)).process?.status).toBe(2);
  });

  it("two creates at the same time give one task and one already exists", async () => {
    await createContainer(daemon, namespace, { id: "race", args: ["/bin/sleep", "100"] });
    const outcomes = await Promise.allSettled([
      daemon.clients.tasks.create({ containerId: "race" }, call),
      daemon.clients.tasks.create({ containerId: "race" }, call),
    ]);
    const failures = outcomes.flatMap((outcome) => (outcome.status === "rejected" ? [outcome.reason] : []));
    expect(failures.map((error: RpcError) => error.statusCode)).toEqual([
      // containerd lets both into its bundle directory, where mkdir stops one.
      subjectKind() === "containerd" ? status.UNKNOWN : status.ALREADY_EXISTS,
    ]);
  });

  it("calls in the wrong state answer their documented status", async () => {
    const { tasks } = daemon.clients;
    const it = { containerId: "it" };
    await createContainer(daemon, namespace, { id: "it", args: ["/bin/sleep", "1000"] });
    for (const name of ["start", "get", "kill", "pause", "resume", "delete", "listPids", "wait"] as const) {
      expect(await codeOf(tasks[name](it, call)), `${name} without a task`).toBe("NOT_FOUND");
    }
    await tasks.create(it, call);
    expect(await codeOf(tasks.pause(it, call)), "pause of a created task").toBe("UNKNOWN");
    expect(await codeOf(tasks.resume(it, call)), "resume of a created task").toBe("UNKNOWN");
    await tasks.start(it, call);
    expect(await codeOf(tasks.start(it, call)), "start of a running task").toBe("UNKNOWN");
    expect(await codeOf(tasks.delete(it, call)), "delete of a running task").toBe("UNKNOWN");
    expect(await codeOf(tasks.resume(it, call)), "resume of a running task").toBe("UNKNOWN");
    await tasks.pause(it, call);
    expect(await codeOf(tasks.pause(it, call)), "pause of a paused task").toBe("UNKNOWN");
    expect(await codeOf(tasks.delete(it, call)), "delete of a paused task").toBe("UNKNOWN");
    await tasks.resume(it, call);
    await tasks.kill({ ...it, signal: 9 }, call);
    expect((await tasks.wait(it, call)).exitStatus).toBe(137);
    expect(await codeOf(tasks.kill({ ...it, signal: 9 }, call)), "kill of a stopped task").toBe("NOT_FOUND");
    expect(await codeOf(tasks.start(it, call)), "start of a stopped task").toBe("UNKNOWN");
    expect(await codeOf(tasks.pause(it, call)), "pause of a stopped task").toBe("UNKNOWN");
    await tasks.delete(it, call);
    expect(await codeOf(tasks.delete(it, call)), "delete of a deleted task").toBe("NOT_FOUND");
    expect(await codeOf(tasks.wait(it, call)), "wait for a deleted task").toBe("NOT_FOUND");
  });
});
