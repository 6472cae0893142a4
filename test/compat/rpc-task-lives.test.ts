/** Whole lives by the raw client: waits, execs, deletes, output, events; the order in which things become true. */
import { jsonAny, processAny, processTypeUrl, resourcesTypeUrl, specTypeUrl } from "../support/spec.js";
import { compareDaemons, type Scenario } from "./scenarios.js";
import type { Side } from "./side.js";

const shellExec = (script: string) => processAny({ args: ["/bin/sh", "-c", script] });

/** Exec, start, wait and delete, each recorded. */
async function runExec(side: Side, containerId: string, execId: string, script: string): Promise<void> {
  const { tasks } = side.clients;
  const request = { containerId, execId };
  await side.rpc("exec", tasks.exec({ ...request, spec: shellExec(script) }, side.call));
  await side.rpc("get added", tasks.get(request, side.call));
  await side.rpc("start", tasks.start(request, side.call));
  await side.rpc("wait", tasks.wait(request, side.call));
  await side.rpc("get stopped", tasks.get(request, side.call));
  await side.rpc("delete", tasks.deleteProcess(request, side.call));
  await side.rpc("get deleted", tasks.get(request, side.call));
}

const scenarios: readonly Scenario[] = [
  {
    title: "a task's whole life shows the same answers and events",
    proves: /"exitStatus":5/,
    run: async (side) => {
      const { tasks } = side.clients;
      const containerId = "life";
      await side.container({ id: containerId, args: ["/bin/sh", "-c", "exit 5"] });
      await side.rpc("create", tasks.create({ containerId }, side.call));
      await side.rpc("get", tasks.get({ containerId }, side.call));
      const waiting = tasks.wait({ containerId }, side.call);
      await side.rpc("start", tasks.start({ containerId }, side.call));
      await side.rpc("wait begun before start", waiting);
      await side.rpc("wait after the exit", tasks.wait({ containerId }, side.call));
      await side.rpc("get", tasks.get({ containerId }, side.call));
      await side.rpc("list", tasks.list({}, side.call));
      await side.rpc("delete", tasks.delete({ containerId }, side.call));
      await side.rpc("wait after delete", tasks.wait({ containerId }, side.call));
      await side.rpc("list", tasks.list({}, side.call));
      await side.event("/tasks/delete");
      await side.recordEvents();
    },
  },
  {
    title: "a created task can be killed: wait says 137 and start is refused",
    proves: /"exitStatus":137/,
    run: async (side) => {
      const { tasks } = side.clients;
      await side.container({ id: "early", args: ["/bin/sleep", "1000"] });
      await tasks.create({ containerId: "early" }, side.call);
      await side.rpc("kill", tasks.kill({ containerId: "early", signal: 9 }, side.call));
      await side.rpc("wait", tasks.wait({ containerId: "early" }, side.call));
      await side.rpc("start", tasks.start({ containerId: "early" }, side.call));
      await side.rpc("delete", tasks.delete({ containerId: "early" }, side.call));
      await side.event("/tasks/delete");
      await side.recordEvents();
    },
  },
  {
    title: "a created task can be deleted without having run",
    proves: /\/tasks\/delete/,
    intended: {
      reason:
        "containerd's exit event of a task that never ran has the zero time; berth's says when it was reaped",
      change: (reference) =>
        JSON.parse(
          JSON.stringify(reference).replace(
            /("exitStatus":137,"exitedAt":|"exitedAt":)"<zero time>"/g,
            (text, before: string) => (before.startsWith('"exitStatus"') ? `${before}"<time>"` : text),
          ),
        ),
    },
    run: async (side) => {
      const { tasks } = side.clients;
      await side.container({ id: "unborn", args: ["/bin/sleep", "1000"] });
      await tasks.create({ containerId: "unborn" }, side.call);
      await side.rpc("delete", tasks.delete({ containerId: "unborn" }, side.call));
      await side.event("/tasks/delete");
      await side.recordEvents();
    },
  },
  {
    title: "execs have a life of their own and free their ids",
    proves: /"exitStatus":11/,
    run: async (side) => {
      await side.sleeper("host");
      await runExec(side, "host", "first", "exit 11");
      await runExec(side, "host", "first", "kill -9 $$");
      await side.recordEvents();
    },
  },
  {
    title: "an exec that was added can be seen and deleted, killed or waited for only when started",
    proves: /process not created/,
    run: async (side) => {
      const { tasks } = side.clients;
      await side.sleeper("host");
      const request = { containerId: "host", execId: "idle" };
      await side.rpc("exec", tasks.exec({ ...request, spec: shellExec("sleep 100") }, side.call));
      await side.rpc("exec again", tasks.exec({ ...request, spec: shellExec("sleep 100") }, side.call));
      await side.rpc("kill", tasks.kill({ ...request, signal: 9 }, side.call));
      await side.rpc("resize", tasks.resizePty({ ...request, width: 1, height: 1 }, side.call));
      await side.rpc("pids", tasks.listPids({ containerId: "host" }, side.call));
      await side.rpc("delete", tasks.deleteProcess(request, side.call));
      await side.rpc("get", tasks.get(request, side.call));
    },
  },
  {
    title: "a running exec refuses delete and a second start; kill ends it with 137",
    proves: /cannot delete a running process/,
    run: async (side) => {
      const { tasks } = side.clients;
      await side.sleeper("host");
      const request = { containerId: "host", execId: "busy" };
      await tasks.exec({ ...request, spec: shellExec("exec sleep 100") }, side.call);
      await tasks.start(request, side.call);
      await side.rpc("delete", tasks.deleteProcess(request, side.call));
      await side.rpc("start", tasks.start(request, side.call));
      await side.rpc("pids", tasks.listPids({ containerId: "host" }, side.call));
      await side.rpc("kill", tasks.kill({ ...request, signal: 9 }, side.call));
      await side.rpc("wait", tasks.wait(request, side.call));
      await side.rpc("kill again", tasks.kill({ ...request, signal: 9 }, side.call));
      await side.rpc("start again", tasks.start(request, side.call));
      await side.rpc("resize", tasks.resizePty({ ...request, width: 1, height: 1 }, side.call));
      await side.rpc("close stdin", tasks.closeIo({ ...request, stdin: true }, side.call));
      await side.rpc("delete", tasks.deleteProcess(request, side.call));
      await side.rpc("wait after delete", tasks.wait(request, side.call));
      await side.recordEvents();
    },
  },
  ...(
    [
      ["a binary that does not exist", { args: ["/no/such"] }],
      ["a name that is not in PATH", { args: ["nosuchcommand"] }],
      ["a file that may not be executed", { args: ["/etc/passwd"] }],
      ["a working directory that does not exist", { args: ["/bin/true"], cwd: "/no/such/dir" }],
    ] as const
  ).map(
    ([what, process]): Scenario => ({
      title: `an exec of ${what} fails to start, stays created and can be deleted`,
      proves: /OCI runtime exec failed/,
      run: async (side) => {
        const { tasks } = side.clients;
        await side.sleeper("host");
        const request = { containerId: "host", execId: "failing" };
        await side.rpc("exec", tasks.exec({ ...request, spec: processAny(process) }, side.call));
        await side.rpc("start", tasks.start(request, side.call));
        await side.rpc("get", tasks.get(request, side.call));
        await side.rpc("delete", tasks.deleteProcess(request, side.call));
        await side.rpc("exec again", tasks.exec({ ...request, spec: shellExec("exit 0") }, side.call));
        await side.recordEvents();
      },
    }),
  ),
  {
    title: "an exec with a process spec that is not JSON is refused",
    proves: /"code":2/,
    intended: {
      reason: "containerd shows its JSON parser's words under code 2; for a bad argument berth says so",
      change: () => [
        { did: "exec", saw: { code: 3, message: "the process spec is not valid JSON: invalid argument" } },
      ],
    },
    run: async (side) => {
      await side.sleeper("host");
      const spec = { typeUrl: processTypeUrl, value: Buffer.from("not json") };
      const request = { containerId: "host", execId: "garbled", spec };
      await side.rpc("exec", side.clients.tasks.exec(request, side.call));
    },
  },
  {
    title: "execs end before init's exit is told",
    proves: /exec-started/,
    run: async (side) => {
      const { tasks } = side.clients;
      const task = await side.sleeper("host");
      await tasks.exec({ containerId: "host", execId: "e", spec: shellExec("exec sleep 100") }, side.call);
      await tasks.start({ containerId: "host", execId: "e" }, side.call);
      await task.kill(9);
      await side.event("/tasks/exit", (event) => event.payload?.id === "host");
      await side.rpc("exec's wait", tasks.wait({ containerId: "host", execId: "e" }, side.call));
      await side.rpc("exec's delete", tasks.deleteProcess({ containerId: "host", execId: "e" }, side.call));
      await side.rpc("delete", tasks.delete({ containerId: "host" }, side.call));
      await side.event("/tasks/delete");
      await side.recordEvents();
    },
  },
  {
    title: "pause and resume show in get, in pids and in events",
    proves: /\/tasks\/paused/,
    run: async (side) => {
      const { tasks } = side.clients;
      const containerId = "still";
      const task = await side.sleeper(containerId);
      await side.rpc("pause", tasks.pause({ containerId }, side.call));
      await side.rpc("get", tasks.get({ containerId }, side.call));
      await side.rpc("pids", tasks.listPids({ containerId }, side.call));
      await side.rpc("resume", tasks.resume({ containerId }, side.call));
      await side.rpc("get", tasks.get({ containerId }, side.call));
      await task.kill(9);
      await side.rpc("wait", tasks.wait({ containerId }, side.call));
      await side.recordEvents();
    },
  },
  {
    title: "output and exit code of both streams arrive through the client's FIFOs",
    proves: /"stdout":"out/,
    run: async (side) => {
      const task = await side.task({
        id: "voice",
        args: ["/bin/sh", "-c", "echo out; echo err >&2; exit 2"],
      });
      await task.start();
      const exitStatus = await task.wait();
      const [stdout, stderr] = await Promise.all([task.stdout?.end(), task.stderr?.end()]);
      side.note("ended", { exitStatus, stdout: stdout?.toString(), stderr: stderr?.toString() });
      await side.rpc("delete", side.clients.tasks.delete({ containerId: "voice" }, side.call));
    },
  },
  {
    title: "a create that fails leaves no task, and the id is free at once",
    proves: /OCI runtime create failed/,
    run: async (side) => {
      const { tasks, containers } = side.clients;
      await side.container({ id: "bad", args: ["/no/such"] });
      await side.rpc("create", tasks.create({ containerId: "bad" }, side.call));
      await side.rpc("get", tasks.get({ containerId: "bad" }, side.call));
      await side.rpc("create again", tasks.create({ containerId: "bad" }, side.call));
      await side.rpc("delete", containers.delete({ id: "bad" }, side.call));
      await side.container({ id: "bad", args: ["/bin/true"] });
      await side.rpc("create", tasks.create({ containerId: "bad" }, side.call));
      await side.recordEvents();
    },
  },
  {
    title: "specs that runc cannot use are refused with its words",
    proves: /OCI runtime create failed/,
    intended: {
      reason: "containerd shows its JSON parser's words under code 2; for a bad argument berth says so",
      change: (reference) =>
        reference.map((step) => {
          if (step.did !== "create text" && step.did !== "create list") return step;
          const problem = step.did === "create text" ? "is not valid JSON" : "is not a JSON object";
          const message = `failed to create shim task: the spec ${problem}: invalid argument`;
          return { ...step, saw: { code: 3, message } };
        }),
    },
    run: async (side) => {
      const { tasks } = side.clients;
      for (const [id, value] of [
        ["text", "not json"],
        ["empty", "{}"],
        ["list", "[]"],
        ["noroot", JSON.stringify({ ociVersion: "1.0.2", process: { args: ["/bin/true"], cwd: "/" } })],
      ] as const) {
        await side.container({
          id,
          args: [],
          spec: { typeUrl: specTypeUrl, value: Buffer.from(value) },
        });
        await side.rpc(`create ${id}`, tasks.create({ containerId: id }, side.call));
        await side.rpc("get", tasks.get({ containerId: id }, side.call));
      }
    },
  },
  {
    title: "an unknown stdio scheme fails the create",
    proves: /STDIO scheme/,
    run: async (side) => {
      await side.container({ id: "odd", args: ["/bin/true"] });
      const request = { containerId: "odd", stdout: "zzz:///x", stderr: "zzz:///x" };
      await side.rpc("create", side.clients.tasks.create(request, side.call));
      await side.rpc("get", side.clients.tasks.get({ containerId: "odd" }, side.call));
    },
  },
  {
    title: "an update with resources that are not JSON is refused and a good one is applied",
    proves: /"code":2/,
    run: async (side) => {
      const { tasks } = side.clients;
      const containerId = "sized";
      await side.sleeper(containerId);
      const text = { typeUrl: resourcesTypeUrl, value: Buffer.from("nonsense") };
      // The words are those of the JSON parser, of containerd's or of the runtime.
      const code = await tasks.update({ containerId, resources: text }, side.call).then(
        () => 0,
        (error: { statusCode?: number }) => error.statusCode,
      );
      side.note("update", { code });
      const good = jsonAny(resourcesTypeUrl, { memory: { limit: 50 << 20 } });
      await side.rpc("update", tasks.update({ containerId, resources: good }, side.call));
      const zeros = jsonAny(resourcesTypeUrl, { memory: { limit: 0 }, cpu: { shares: 0 } });
      await side.rpc("update with zeros", tasks.update({ containerId, resources: zeros }, side.call));
    },
  },
  {
    title: "tasks of one namespace are invisible in another",
    proves: /"code":5/,
    run: async (side) => {
      await side.sleeper("hidden");
      const elsewhere = { namespace: `${side.namespace}-other` };
      await side.rpc("get", side.clients.tasks.get({ containerId: "hidden" }, elsewhere));
      await side.rpc("list", side.clients.tasks.list({}, elsewhere));
      await side.rpc("metrics", side.clients.tasks.metrics({}, elsewhere));
      const { task } = await side.clients.tasks
        .list({}, elsewhere)
        .then((answer) => ({ task: answer.tasks[0] }));
      side.note("first task elsewhere", task?.id ?? "none");
    },
  },
  {
    title: "a container record may be deleted under its running task, and hides it",
    proves: /"code":5/,
    run: async (side) => {
      const { tasks, containers } = side.clients;
      await side.sleeper("orphan");
      await side.rpc("delete container", containers.delete({ id: "orphan" }, side.call));
      await side.rpc("get task", tasks.get({ containerId: "orphan" }, side.call));
      await side.container({ id: "orphan", args: ["/bin/true"] });
      await side.rpc("get task after the record is back", tasks.get({ containerId: "orphan" }, side.call));
    },
  },
];

compareDaemons("Tasks lives", scenarios);
