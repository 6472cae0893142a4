/**
 * Every Tasks call in every state of a task, right or wrong, by the raw client: status code, message and
 * answer must be containerd's, and so must the state that the call leaves behind.
 */
import { jsonAny, processAny, resourcesTypeUrl } from "../support/spec.js";
import { compareDaemons, type Scenario } from "./scenarios.js";
import type { Side, Step } from "./side.js";

/** Brings a task called `id` into the state; "none" is a container without task, "unknown" not even that. */
const states: Readonly<Record<string, (side: Side, id: string) => Promise<void>>> = {
  unknown: async () => {},
  none: (side, id) => side.container({ id, args: ["/bin/sleep", "1000"] }),
  created: async (side, id) => {
    await side.container({ id, args: ["/bin/sleep", "1000"] });
    await side.clients.tasks.create({ containerId: id }, side.call);
  },
  running: async (side, id) => {
    await side.sleeper(id);
  },
  paused: async (side, id) => {
    await side.sleeper(id);
    await side.clients.tasks.pause({ containerId: id }, side.call);
  },
  stopped: async (side, id) => {
    const task = await side.sleeper(id);
    await task.kill(9);
    await task.wait();
  },
  deleted: async (side, id) => {
    const task = await side.sleeper(id);
    await task.kill(9);
    await task.wait();
    await side.clients.tasks.delete({ containerId: id }, side.call);
  },
};

/** An answer that differs from containerd's on purpose, in these states. */
interface Intended {
  readonly states: readonly string[];
  readonly reason: string;
  readonly saw: Step["saw"];
}

interface Call {
  readonly name: string;
  readonly send: (side: Side, containerId: string) => Promise<unknown>;
  /** What follows is a matter of time, so the state afterwards is not looked at. */
  readonly settlesLater?: boolean;
  /** States in which the call would wait for ever, or where containerd itself has no steady answer. */
  readonly except?: readonly string[];
  readonly intended?: Intended;
}

const limit = jsonAny(resourcesTypeUrl, { memory: { limit: 64 << 20 } });

const calls: readonly Call[] = [
  { name: "create", send: (s, containerId) => s.clients.tasks.create({ containerId }, s.call) },
  { name: "start", send: (s, containerId) => s.clients.tasks.start({ containerId }, s.call) },
  {
    name: "start of an unknown exec",
    send: (s, containerId) => s.clients.tasks.start({ containerId, execId: "e" }, s.call),
  },
  { name: "get", send: (s, containerId) => s.clients.tasks.get({ containerId }, s.call) },
  {
    name: "get of an unknown exec",
    send: (s, containerId) => s.clients.tasks.get({ containerId, execId: "e" }, s.call),
  },
  {
    name: "kill with 9",
    settlesLater: true,
    send: (s, containerId) => s.clients.tasks.kill({ containerId, signal: 9 }, s.call),
  },
  {
    name: "kill of all with 9",
    settlesLater: true,
    send: (s, containerId) => s.clients.tasks.kill({ containerId, signal: 9, all: true }, s.call),
  },
  {
    name: "kill with 0",
    send: (s, containerId) => s.clients.tasks.kill({ containerId, signal: 0 }, s.call),
  },
  {
    name: "kill with a number that is no signal",
    send: (s, containerId) => s.clients.tasks.kill({ containerId, signal: 77 }, s.call),
  },
  {
    name: "kill of an unknown exec",
    send: (s, containerId) => s.clients.tasks.kill({ containerId, execId: "e", signal: 9 }, s.call),
  },
  {
    name: "exec",
    send: (s, containerId) =>
      s.clients.tasks.exec({ containerId, execId: "e", spec: processAny({ args: ["/bin/true"] }) }, s.call),
  },
  {
    name: "exec without an id",
    send: (s, containerId) =>
      s.clients.tasks.exec({ containerId, spec: processAny({ args: ["/bin/true"] }) }, s.call),
  },
  {
    name: "exec with an id that breaks the rules",
    send: (s, containerId) =>
      s.clients.tasks.exec({ containerId, execId: "a/b", spec: processAny({ args: ["/bin/true"] }) }, s.call),
  },
  {
    name: "resize",
    send: (s, containerId) => s.clients.tasks.resizePty({ containerId, width: 80, height: 24 }, s.call),
  },
  {
    name: "resize of an unknown exec",
    send: (s, containerId) => s.clients.tasks.resizePty({ containerId, execId: "e", width: 80 }, s.call),
  },
  {
    name: "close of stdin",
    send: (s, containerId) => s.clients.tasks.closeIo({ containerId, stdin: true }, s.call),
  },
  {
    name: "close of an unknown exec's stdin",
    send: (s, containerId) => s.clients.tasks.closeIo({ containerId, execId: "e", stdin: true }, s.call),
  },
  { name: "pause", send: (s, containerId) => s.clients.tasks.pause({ containerId }, s.call) },
  { name: "resume", send: (s, containerId) => s.clients.tasks.resume({ containerId }, s.call) },
  { name: "list of pids", send: (s, containerId) => s.clients.tasks.listPids({ containerId }, s.call) },
  {
    name: "update",
    send: (s, containerId) => s.clients.tasks.update({ containerId, resources: limit }, s.call),
  },
  {
    name: "metrics by id",
    send: (s, containerId) => s.clients.tasks.metrics({ filters: [`id==${containerId}`] }, s.call),
  },
  {
    name: "wait for an unknown exec",
    send: (s, containerId) => s.clients.tasks.wait({ containerId, execId: "e" }, s.call),
  },
  {
    name: "wait",
    except: ["created", "running", "paused"],
    send: (s, containerId) => s.clients.tasks.wait({ containerId }, s.call),
  },
  {
    name: "checkpoint",
    except: ["running", "paused"],
    intended: {
      states: ["created", "stopped"],
      reason: "berth has no checkpoint yet, and says so before it looks at the state",
      saw: { code: 12, message: "checkpoint of task it: not implemented" },
    },
    send: (s, containerId) => s.clients.tasks.checkpoint({ containerId }, s.call),
  },
  { name: "delete", send: (s, containerId) => s.clients.tasks.delete({ containerId }, s.call) },
  {
    name: "delete of an unknown exec",
    send: (s, containerId) => s.clients.tasks.deleteProcess({ containerId, execId: "e" }, s.call),
  },
  {
    name: "delete of a process without an exec id",
    except: ["created", "stopped"],
    send: (s, containerId) => s.clients.tasks.deleteProcess({ containerId }, s.call),
  },
];

const article = (state: string): string =>
  ({
    unknown: "an unknown container",
    none: "a container without a task",
    created: "a created task",
    running: "a running task",
    paused: "a paused task",
    stopped: "a stopped task",
    deleted: "a deleted task",
  })[state] ?? state;

const answering = (name: string, { reason, saw }: Intended): NonNullable<Scenario["intended"]> => ({
  reason,
  change: (reference) => reference.map((step) => (step.did === name ? { ...step, saw } : step)),
});

const scenarios = Object.entries(states).flatMap(([state, reach]) =>
  calls
    .filter((call) => call.except?.includes(state) !== true)
    .map(
      (call): Scenario => ({
        title: `${call.name} on ${article(state)} answers as containerd does`,
        proves: /"(answer|code)":/,
        ...(call.intended?.states.includes(state) === true
          ? { intended: answering(call.name, call.intended) }
          : {}),
        run: async (side) => {
          await reach(side, "it");
          await side.rpc(call.name, call.send(side, "it"));
          if (call.settlesLater !== true) {
            await side.rpc("get afterwards", side.clients.tasks.get({ containerId: "it" }, side.call));
          }
        },
      }),
    ),
);

compareDaemons("Tasks calls by state", scenarios);
