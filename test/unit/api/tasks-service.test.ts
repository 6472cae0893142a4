import { setMaxListeners } from "node:events";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { zeroInstant } from "../../../src/core/exit.js";
import * as messages from "../../../src/wire/gen/containerd/services/tasks/v1/tasks.js";
import { TasksService as T } from "../../../src/wire/gen/containerd/services/tasks/v1/tasks.js";
import { Status } from "../../../src/wire/gen/containerd/v1/types/types.js";
import { key, processState, rejecting } from "./fakes.js";
import { type Harness, startApi } from "./harness.js";

const zeroTime = { seconds: -62135596800n, nanos: 0 };
const any = { typeUrl: "t", value: Buffer.from([1, 0, 255]) };

describe("the tasks service", () => {
  let api: Harness;
  beforeEach(async () => {
    api = await startApi();
  });
  afterEach(() => api[Symbol.asyncDispose]());
  const last = () => api.containers.asks.at(-1);

  test("create passes on rootfs, stdio, options, runtime path and checkpoint, and echoes the id", async () => {
    api.containers.answers.create = () => ({ pid: 7 });
    const mount = { type: "bind", source: "/s", target: "", options: ["ro"] };
    const response = await api.call(
      T.create,
      messages.CreateTaskRequest.fromPartial({
        containerId: "c1",
        rootfs: [mount],
        stdin: "/i",
        stdout: "/o",
        terminal: true,
        options: any,
        runtimePath: "/bin/shim",
        checkpoint: { mediaType: "m", digest: "sha256:0" },
      }),
    );
    expect(response).toEqual({ containerId: "c1", pid: 7 });
    expect(last()?.key).toEqual({ namespace: "n1", id: "c1" });
    expect(last()?.request).toEqual({
      kind: "create",
      rootfs: [mount],
      stdio: { stdin: "/i", stdout: "/o", stderr: "", terminal: true },
      options: any,
      runtimePath: "/bin/shim",
      checkpoint: { mediaType: "m", digest: "sha256:0" },
    });
    expect(last()?.options.timeoutMs).toBe(300_000);
  });

  test("create without options and checkpoint says so", async () => {
    api.containers.answers.create = () => ({ pid: 7 });
    await api.call(T.create, messages.CreateTaskRequest.fromPartial({ containerId: "c1" }));
    expect(last()?.request).toMatchObject({ options: undefined, checkpoint: undefined });
  });

  test("the runtime's words reach the client with code 2 and their suffix", async () => {
    const words =
      'failed to create shim task: OCI runtime create failed: exec: "/x": no such file or directory';
    api.containers.answers.create = rejecting("unknown", words);
    expect(await api.failure(T.create, messages.CreateTaskRequest.fromPartial({ containerId: "c1" }))).toBe(
      `2 ${words}: unknown`,
    );
  });

  test("start answers the pid, for init and for an exec", async () => {
    api.containers.answers.start = ({ request }) => ({ pid: request["execId"] === "" ? 1 : 2 });
    expect(await api.call(T.start, { containerId: "c1", execId: "" })).toEqual({ pid: 1 });
    expect(await api.call(T.start, { containerId: "c1", execId: "e1" })).toEqual({ pid: 2 });
  });

  test("delete leaves the id empty, deleteProcess names the exec, both with an explicit time", async () => {
    api.containers.answers.delete = () => ({ pid: 9, exitStatus: 137, exitedAt: zeroInstant });
    const gone = { pid: 9, exitStatus: 137, exitedAt: zeroTime };
    expect(await api.call(T.delete, { containerId: "c1" })).toEqual({ id: "", ...gone });
    expect(last()?.request).toEqual({ kind: "delete", execId: undefined });
    expect(await api.call(T.deleteProcess, { containerId: "c1", execId: "e1" })).toEqual({
      id: "e1",
      ...gone,
    });
    expect(last()?.request).toEqual({ kind: "delete", execId: "e1" });
    await api.call(T.deleteProcess, { containerId: "c1", execId: "" });
    expect(last()?.request).toEqual({ kind: "delete", execId: "" });
  });

  test("get leaves container_id empty and always sends exited_at", async () => {
    api.containers.answers.get = () => processState();
    const { process } = await api.call(T.get, { containerId: "c1", execId: "" });
    expect(process).toEqual({
      containerId: "",
      id: "c1",
      pid: 42,
      status: Status.RUNNING,
      stdin: "",
      stdout: "/fifo/out",
      stderr: "",
      terminal: true,
      exitStatus: 0,
      exitedAt: zeroTime,
    });
    expect((await api.call(T.get, { containerId: "c1", execId: "e1" })).process?.id).toBe("e1");
    expect(last()?.options.timeoutMs).toBe(2_000);
  });

  test("errors of the actor pass with code and text", async () => {
    api.containers.answers.get = rejecting("not-found", "task c1 not found", true);
    expect(await api.failure(T.get, { containerId: "c1", execId: "" })).toBe("5 task c1 not found");
    api.containers.answers.pause = rejecting("unknown", "cannot pause a paused container");
    expect(await api.failure(T.pause, { containerId: "c1" })).toBe(
      "2 cannot pause a paused container: unknown",
    );
    api.containers.answers.resume = rejecting("deadline-exceeded", "resuming c1");
    expect(await api.failure(T.resume, { containerId: "c1" })).toBe(
      "4 resuming c1: context deadline exceeded",
    );
  });

  test("an id that no container can have is an unknown container", async () => {
    expect(await api.failure(T.get, { containerId: "no pe", execId: "" })).toBe(
      '5 container "no pe" in namespace "n1": not found',
    );
    expect(await api.failure(T.start, { containerId: "", execId: "" })).toBe(
      '5 container "" in namespace "n1": not found',
    );
    expect(await api.failure(T.get, { containerId: "c1", execId: "" }, { namespace: null })).toBe(
      "9 namespace is required: failed precondition",
    );
  });

  test("list skips tasks that cannot be read", async () => {
    api.containers.tasks.push(key("n1", "a"), key("n1", "b"), key("n2", "c"));
    api.containers.answers.get = ({ key: { id } }) =>
      id === "a" ? processState() : rejecting("unknown", "no")();
    const { tasks } = await api.call(T.list, { filter: "" });
    expect(tasks.map(({ id, status }) => [id, status])).toEqual([["a", Status.RUNNING]]);
  });

  test("metrics filter, stamp, and leave out tasks that cannot be measured", async () => {
    api.containers.tasks.push(key("n1", "a"), key("n1", "b"), key("n1", "c"));
    api.containers.answers.stats = ({ key: { id } }) => (id === "b" ? rejecting("unknown", "no")() : any);
    const measured = async (...filters: string[]) => (await api.call(T.metrics, { filters })).metrics;
    expect((await measured()).map(({ id }) => id)).toEqual(["a", "c"]);
    expect(await measured("id==c")).toEqual([
      { id: "c", timestamp: { seconds: 1_700_000_000n, nanos: 123_500_000 }, data: any },
    ]);
    expect(await measured("id==none")).toEqual([]);
    expect(await measured("namespace==n1,id==a")).toHaveLength(1);
  });

  test("metrics answer a bad filter and a missing namespace with code 2", async () => {
    expect(await api.failure(T.metrics, { filters: ["a===b"] })).toBe(
      '2 filters: parse error: [a >|=|< ==b]: unsupported operator "===": invalid argument',
    );
    expect(await api.failure(T.metrics, { filters: [] }, { namespace: null })).toBe(
      "2 namespace is required: failed precondition",
    );
  });

  test("kill passes signal, exec and all on, and signal 0 is one", async () => {
    api.containers.answers.kill = () => undefined;
    await api.call(T.kill, { containerId: "c1", execId: "e1", signal: 0, all: true });
    expect(last()?.request).toEqual({ kind: "kill", execId: "e1", signalNumber: 0, all: true });
  });

  test("a signal that may not exist is passed on: the shim says in which states it matters", async () => {
    api.containers.answers.kill = rejecting("unknown", "unknown error after kill");
    expect(await api.failure(T.kill, { containerId: "c1", execId: "", signal: 77, all: false })).toBe(
      "2 unknown error after kill: unknown",
    );
    expect(last()?.request).toMatchObject({ kind: "kill", signalNumber: 77 });
  });

  const exec = (over: object) =>
    messages.ExecProcessRequest.fromPartial({ containerId: "c1", execId: "e1", spec: any, ...over });

  test("exec passes id, stdio and spec on", async () => {
    api.containers.answers.exec = () => undefined;
    await api.call(T.exec, exec({ stdout: "/o", terminal: true }));
    const stdio = { stdin: "", stdout: "/o", stderr: "", terminal: true };
    expect(last()?.request).toEqual({ kind: "exec", execId: "e1", stdio, spec: any });
  });

  test("exec refuses an empty id before, a bad id or no spec after looking for the task", async () => {
    api.containers.answers.get = rejecting("not-found", "task c1 not found", true);
    expect(await api.failure(T.exec, exec({ execId: "" }))).toBe("3 exec id cannot be empty");
    expect(await api.failure(T.exec, exec({ execId: "a/b" }))).toBe("5 task c1 not found");
    api.containers.answers.get = () => processState();
    expect(await api.failure(T.exec, exec({ execId: "a/b" }))).toMatch(
      /^3 invalid exec id a\/b: identifier "a\/b" must match .*: invalid argument$/,
    );
    expect(await api.failure(T.exec, exec({ spec: undefined }))).toBe(
      "3 exec spec must be set: invalid argument",
    );
  });

  test("resizePty cuts to 16 bits, closeIo says what to close", async () => {
    api.containers.answers["resize-pty"] = () => undefined;
    api.containers.answers["close-io"] = () => undefined;
    await api.call(T.resizePty, { containerId: "c1", execId: "", width: 65_536 + 80, height: 24 });
    expect(last()?.request).toEqual({ kind: "resize-pty", execId: "", width: 80, height: 24 });
    await api.call(T.closeIo, { containerId: "c1", execId: "e1", stdin: true });
    expect(last()?.request).toEqual({ kind: "close-io", execId: "e1", stdin: true });
  });

  test("pause, resume and update reach the actor; a missing resources Any is sent on empty", async () => {
    for (const kind of ["pause", "resume", "update"] as const) api.containers.answers[kind] = () => undefined;
    await api.call(T.pause, { containerId: "c1" });
    await api.call(T.resume, { containerId: "c1" });
    await api.call(T.update, { containerId: "c1", resources: any, annotations: { a: "b" } });
    expect(last()?.request).toEqual({ kind: "update", resources: any, annotations: { a: "b" } });
    await api.call(T.update, { containerId: "c1", resources: undefined, annotations: {} });
    expect(last()?.request).toMatchObject({ resources: { typeUrl: "" } });
    expect(api.containers.asks.map(({ request }) => request.kind)).toEqual([
      "pause",
      "resume",
      "update",
      "update",
    ]);
  });

  test("listPids carries the process details of execs only", async () => {
    api.containers.answers.pids = () => [
      { pid: 1, info: undefined },
      { pid: 2, info: any },
    ];
    expect(await api.call(T.listPids, { containerId: "c1" })).toEqual({
      processes: [
        { pid: 1, info: undefined },
        { pid: 2, info: any },
      ],
    });
  });

  test("checkpoint is unimplemented, for a task that exists", async () => {
    const request = { containerId: "c1", parentCheckpoint: "", options: undefined };
    api.containers.answers.get = () => processState();
    expect(await api.failure(T.checkpoint, request)).toBe("12 checkpoint of task c1: not implemented");
    api.containers.answers.get = rejecting("not-found", "task c1 not found", true);
    expect(await api.failure(T.checkpoint, request)).toBe("5 task c1 not found");
  });

  test("wait has no deadline of ours and answers the exit", async () => {
    api.containers.answers.wait = () => ({ exitStatus: 3, exitedAt: { seconds: 5n, nanos: 6 } });
    expect(await api.call(T.wait, { containerId: "c1", execId: "e1" })).toEqual({
      exitStatus: 3,
      exitedAt: { seconds: 5n, nanos: 6 },
    });
    expect(last()?.options.timeoutMs).toBe("none");
  });

  test("wait is withdrawn when its client cancels, or its deadline passes", async () => {
    const client = new AbortController();
    const cancelled = api.failure(T.wait, { containerId: "c1", execId: "" }, { signal: client.signal });
    const { options } = await api.containers.asked("wait");
    const withdrawn = new Promise<unknown>((resolve) =>
      options.signal?.addEventListener("abort", () => resolve(options.signal?.reason)),
    );
    client.abort();
    expect(await cancelled).toMatch(/^1 /);
    expect(await withdrawn).toMatchObject({ kind: "cancelled" });

    expect(await api.failure(T.wait, { containerId: "c2", execId: "" }, { timeoutMs: 50 })).toMatch(/^4 /);
    const late = api.containers.asks.find(({ key: { id } }) => id === "c2")?.options.signal;
    if (late?.aborted === false) await new Promise((resolve) => late.addEventListener("abort", resolve));
    // Client and daemon race for the same moment: whichever is first names the reason.
    expect(late?.reason.kind).toMatch(/^(cancelled|deadline-exceeded)$/);
  });

  test("several hundred waits share one connection", async () => {
    const release = new AbortController();
    setMaxListeners(0, release.signal);
    api.containers.answers.wait = () =>
      new Promise((resolve) =>
        release.signal.addEventListener("abort", () => resolve({ exitStatus: 0, exitedAt: zeroInstant })),
      );
    const waits = Array.from({ length: 400 }, (_, index) =>
      api.call(T.wait, { containerId: `c${index}`, execId: "" }, { timeoutMs: 30_000 }),
    );
    while (api.containers.asks.length < 400) await new Promise((resolve) => setImmediate(resolve));
    release.abort();
    expect(await Promise.all(waits)).toHaveLength(400);
    expect(api.api.connections).toBe(1);
  });
});
