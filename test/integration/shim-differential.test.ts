/**
 * The built shim and containerd's own, asked the same questions in the same states: codes and texts must be the
 * same, except where a difference is listed with its reason.
 */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DaemonError } from "../../src/core/errors.js";
import { taskMethods } from "../../src/wire/task-methods.js";
import { makeFifo, readFifo } from "../support/fifo.js";
import { processAny } from "../support/spec.js";
import { until } from "../support/until.js";
import {
  type BuiltShim,
  buildShim,
  type ShimUnderTest,
  startGoShim,
  startShim,
  unavailable,
} from "./shim-harness.js";

const hasGoShim = ((): boolean => {
  try {
    execFileSync("containerd-shim-runc-v2", ["-v"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
})();
if (!hasGoShim) console.warn("SKIPPED: comparison with containerd-shim-runc-v2, which is not installed");

const stdio = { terminal: false, stdin: "", stdout: "", stderr: "" };
const resources = {
  typeUrl: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources",
  value: Buffer.from("{}"),
};

type Ask = (shim: ShimUnderTest, id: string) => Promise<unknown>;

const reach: Record<string, Ask> = {
  created: async () => {},
  running: (shim, id) => shim.start(id),
  paused: async (shim, id) => {
    await shim.start(id);
    await shim.call(taskMethods.pause, { id });
  },
  stopped: async (shim, id) => {
    await shim.start(id);
    await shim.kill(id, 9);
    await shim.wait(id);
  },
  "with a created exec": async (shim, id) => {
    await shim.start(id);
    await shim.call(taskMethods.exec, {
      id,
      execId: "e",
      ...stdio,
      spec: processAny({ args: ["sleep", "1000"] }),
    });
  },
  "with a running exec": async (shim, id) => {
    await reach["with a created exec"]?.(shim, id);
    await shim.start(id, "e");
  },
  "with a stopped exec": async (shim, id) => {
    await reach["with a running exec"]?.(shim, id);
    await shim.kill(id, 9, { execId: "e" });
    await shim.wait(id, "e");
  },
  "with an exec that could not start": async (shim, id) => {
    await shim.start(id);
    await shim.call(taskMethods.exec, { id, execId: "e", ...stdio, spec: processAny({ args: ["/nope"] }) });
    await shim.start(id, "e").catch(() => {});
  },
  "with an exec of an unknown scheme": async (shim, id) => {
    await shim.start(id);
    const spec = processAny({ args: ["true"] });
    await shim.call(taskMethods.exec, { id, execId: "e", ...stdio, stdout: "zzz:///x", spec });
  },
  "with a paused exec": async (shim, id) => {
    await reach["with a running exec"]?.(shim, id);
    await shim.call(taskMethods.pause, { id });
  },
};

const stateOf = async (shim: ShimUnderTest, id: string, execId = ""): Promise<unknown> => {
  const { pid, bundle, exitedAt, ...state } = await shim.call(taskMethods.state, { id, execId });
  return { ...state, hasPid: pid > 0, exited: (exitedAt?.seconds ?? 0n) > 0n, hasBundle: bundle !== "" };
};

const initQuestions: Record<string, Ask> = {
  start: (shim, id) => shim.start(id).then(() => "started"),
  pause: (shim, id) => shim.call(taskMethods.pause, { id }),
  resume: (shim, id) => shim.call(taskMethods.resume, { id }),
  update: (shim, id) => shim.call(taskMethods.update, { id, resources, annotations: {} }),
  checkpoint: (shim, id) =>
    shim.call(taskMethods.checkpoint, {
      id,
      path: join(shim.workspace.directory, "images"),
      options: undefined,
    }),
  "kill 0": (shim, id) => shim.kill(id, 0),
  "kill 77": (shim, id) => shim.kill(id, 77),
  "kill all 0": (shim, id) => shim.kill(id, 0, { all: true }),
  resize: (shim, id) => shim.call(taskMethods.resizePty, { id, execId: "", width: 1, height: 1 }),
  "close stdin": (shim, id) => shim.call(taskMethods.closeIo, { id, execId: "", stdin: true }),
  "count pids": async (shim, id) => (await shim.call(taskMethods.pids, { id })).processes.length,
  "type of stats": async (shim, id) => (await shim.call(taskMethods.stats, { id })).stats?.typeUrl,
  state: (shim, id) => stateOf(shim, id),
  "state of an unknown exec": (shim, id) => stateOf(shim, id, "nope"),
  exec: (shim, id) =>
    shim.call(taskMethods.exec, { id, execId: "x", ...stdio, spec: processAny({ args: ["true"] }) }),
  delete: async (shim, id) => {
    const { exitStatus, exitedAt, pid } = await shim
      .delete(id)
      .then((answer) => ({ exitedAt: undefined, ...answer }));
    return {
      exitStatus,
      hasPid: pid > 0,
      zeroTime: (exitedAt as { seconds: bigint } | undefined)?.seconds === -62135596800n,
    };
  },
};
const execQuestions: Record<string, Ask> = {
  state: (shim, id) => stateOf(shim, id, "e"),
  "start exec": (shim, id) => shim.start(id, "e").then(() => "started"),
  "kill exec 0": (shim, id) => shim.kill(id, 0, { execId: "e" }),
  "kill exec 77": (shim, id) => shim.kill(id, 77, { execId: "e" }),
  "resize exec": (shim, id) => shim.call(taskMethods.resizePty, { id, execId: "e", width: 1, height: 1 }),
  "close stdin of exec": (shim, id) => shim.call(taskMethods.closeIo, { id, execId: "e", stdin: true }),
  "register it again": (shim, id) =>
    shim.call(taskMethods.exec, { id, execId: "e", ...stdio, spec: processAny({ args: ["true"] }) }),
  "delete exec": async (shim, id) => {
    const { exitStatus, pid } = await shim.delete(id, "e");
    return { exitStatus, hasPid: pid > 0 };
  },
};
const plainStates = ["created", "running", "paused", "stopped"];

/** What cannot be asked, because containerd 1.6's shim crashes at it. */
const crashes = new Set(["start exec, with an exec that could not start"]);
/** Where berth answers otherwise, and why that is better or harmless. */
const differences: Record<string, string> = {};

async function answerOf(shim: ShimUnderTest, ask: Ask, id: string): Promise<string> {
  const text = await ask(shim, id).then(
    (value) =>
      `ok ${JSON.stringify(value ?? {}, (_key, item) => (typeof item === "bigint" ? `${item}` : item))}`,
    (error: unknown) => (error instanceof DaemonError ? `${error.kind}: ${error.message}` : String(error)),
  );
  return text
    .replaceAll(id, "ID")
    .replaceAll(shim.workspace.directory, "DIR")
    .replaceAll(/DIR\/(b|shim)\//g, "BUNDLES/");
}

describe.skipIf(unavailable !== "" || !hasGoShim)("berth's shim and containerd's", () => {
  let built: BuiltShim;
  let ours: ShimUnderTest;
  let theirs: ShimUnderTest;
  let counter = 0;
  beforeAll(async () => {
    built = await buildShim();
    [ours, theirs] = [await startShim(built), await startGoShim("g0")];
  }, 60_000);
  afterAll(async () => {
    await ours?.dispose();
    await theirs?.dispose();
    built?.remove();
  }, 60_000);

  const ask = async (shim: ShimUnderTest, state: string, question: Ask): Promise<string> => {
    const id = `t${++counter}`;
    await shim.create({ id, args: ["sleep", "1000"] });
    await reach[state]?.(shim, id);
    const answer = await answerOf(shim, question, id);
    await shim.call(taskMethods.resume, { id }).catch(() => {});
    await shim.kill(id, 9, { all: true }).catch(() => {});
    await shim.delete(id).catch(async () => {
      await shim.wait(id).catch(() => {});
      await shim.delete(id).catch(() => {});
    });
    return answer;
  };

  for (const state of Object.keys(reach)) {
    const questions = plainStates.includes(state) ? initQuestions : execQuestions;
    for (const [what, question] of Object.entries(questions)) {
      const name = `${what}, ${state}`;
      if (crashes.has(name)) continue;
      it(`answer alike: ${name}`, async () => {
        const [mine, real] = [await ask(ours, state, question), await ask(theirs, state, question)];
        if (differences[name] === undefined) expect(mine).toBe(real);
        else expect(mine, `no longer different: ${differences[name]}`).not.toBe(real);
      }, 30_000);
    }
  }

  const story = async (shim: ShimUnderTest, id: string, live: Ask): Promise<string> => {
    await live(shim, id);
    await until("its deletion to be told", () =>
      shim.daemon.of(id).some((text) => text.startsWith("delete")),
    );
    return shim.daemon.of(id).join(", ").replaceAll(id, "ID");
  };
  const stories: Record<string, Ask> = {
    "a whole life with an exec and a pause": async (shim, id) => {
      await shim.create({ id, args: ["sleep", "1000"] });
      await shim.start(id);
      await shim.call(taskMethods.exec, {
        id,
        execId: "e",
        ...stdio,
        spec: processAny({ args: ["sh", "-c", "exit 9"] }),
      });
      await shim.start(id, "e");
      await shim.wait(id, "e");
      await shim.delete(id, "e");
      await shim.call(taskMethods.pause, { id });
      await shim.call(taskMethods.resume, { id });
      await shim.kill(id, 9);
      await shim.wait(id);
      await shim.delete(id);
    },
    "an exec that cannot start": async (shim, id) => {
      await shim.create({ id, args: ["sleep", "1000"] });
      await shim.start(id);
      await shim.call(taskMethods.exec, { id, execId: "e", ...stdio, spec: processAny({ args: ["/nope"] }) });
      await shim.start(id, "e").catch(() => {});
      await shim.delete(id, "e");
      await shim.kill(id, 9);
      await shim.wait(id);
      await shim.delete(id);
    },
    "a death while paused": async (shim, id) => {
      await shim.create({ id, args: ["sleep", "1000"] });
      await shim.start(id);
      await shim.call(taskMethods.pause, { id });
      await shim.kill(id, 9);
      await shim.wait(id);
      await shim.delete(id);
    },
  };
  for (const [what, live] of Object.entries(stories)) {
    it(`tell the same story of ${what}`, async () => {
      const [mine, real] = [
        await story(ours, `s${++counter}`, live),
        await story(theirs, `s${++counter}`, live),
      ];
      expect(mine).toBe(real);
    }, 30_000);
  }

  const creations: Record<string, Parameters<ShimUnderTest["create"]>[0]> = {
    "a program that does not exist": { id: "", args: ["/nope"] },
    "a program that is not in PATH": { id: "", args: ["nope"] },
    "a program that cannot be run": { id: "", args: ["/etc/passwd"] },
    "a runtime that does not exist": { id: "", args: ["true"], options: { binaryName: "/nonexistent/runc" } },
    "a runtime that is not in PATH": { id: "", args: ["true"], options: { binaryName: "nonexistent-runc" } },
    "a rootfs mount that fails": {
      id: "",
      args: ["true"],
      rootfs: [{ type: "bind", source: "/nonexistent", target: "", options: ["bind", "ro"] }],
    },
    "an unknown scheme": { id: "", args: ["true"], stdout: "zzz:///x" },
    "a terminal without output": { id: "", args: ["true"], terminal: true },
  };
  for (const [what, request] of Object.entries(creations)) {
    it(`refuse alike to create ${what}`, async () => {
      const create: Ask = (shim, id) => shim.create({ ...request, id }).then(() => "created");
      const [mine, real] = [
        await answerOf(ours, create, `n${++counter}`),
        await answerOf(theirs, create, `n${++counter}`),
      ];
      expect(mine).toBe(real);
    }, 60_000);
  }

  it("hand over the same output", async () => {
    const outputs: string[] = [];
    for (const shim of [ours, theirs]) {
      const id = `o${++counter}`;
      const stdout = makeFifo(join(shim.workspace.directory, id));
      const reader = readFifo(stdout);
      await shim.create({ id, args: ["sh", "-c", "seq 1 5000; echo end"], stdout, stderr: stdout });
      await shim.start(id);
      await shim.wait(id);
      outputs.push((await reader.end()).toString());
      await shim.delete(id);
    }
    expect(outputs[0]).toBe(outputs[1]);
  }, 30_000);
});
