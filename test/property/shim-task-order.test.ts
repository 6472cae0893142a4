/** Any order of requests, settlements and exits leaves one terminal state, no lost answer, and events in order. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { parseExecId } from "../../src/core/ids.js";
import { fakeWorld, gate, initPid, settle } from "../unit/shim/task-fakes.js";

const stdio = { stdin: "", stdout: "/o", stderr: "", terminal: false };
const execIds = ["a", "b"].map((id) => parseExecId(id));

const action = fc.oneof(
  fc.constantFrom(
    "start",
    "kill9",
    "kill15",
    "killAll",
    "pause",
    "resume",
    "delete",
    "settleStart",
    "reapInit",
    "turn",
  ),
  fc
    .constantFrom("register", "startExec", "killExec", "reapExec", "settleExec", "deleteExec")
    .chain((kind) => fc.constantFrom("a", "b").map((id) => `${kind} ${id}`)),
);

it("tells every life once and in order, whatever happens in whatever order", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(action, { maxLength: 30 }), fc.boolean(), async (actions, shared) => {
      const world = fakeWorld({ sharesPidNamespace: shared });
      try {
        const task = await world.createTask();
        const asked: Promise<unknown>[] = [];
        const ask = (work: () => unknown): void => {
          asked.push(
            (async () => work())().then(
              () => "ok",
              () => "refused",
            ),
          );
        };
        const starting = gate();
        world.answers.set("start", () => starting.promise);
        const execing = new Map(execIds.map((id) => [id as string, gate()]));
        const { exec } = world.context.runtime;
        const execPids = new Map<string, number>();
        world.context.runtime.exec = async (id, ...rest) => {
          // The process exists, and may end, before the runtime has returned.
          const pid = await exec(id, ...rest);
          execPids.set(id, pid);
          await execing.get(id)?.promise;
          return pid;
        };
        for (const text of actions) {
          const [kind = "", id = ""] = text.split(" ");
          const perform: Record<string, () => unknown> = {
            start: () => ask(() => task.start("")),
            kill9: () => ask(() => task.kill("", 9, false)),
            kill15: () => ask(() => task.kill("", 15, false)),
            killAll: () => ask(() => task.kill("", 9, true)),
            pause: () => ask(() => task.pause()),
            resume: () => ask(() => task.resume()),
            delete: () => ask(() => task.delete("")),
            settleStart: () => starting.open(),
            reapInit: () => world.reap(initPid, 1),
            turn: () => settle(),
            register: () => ask(() => task.exec(parseExecId(id), Buffer.from("{}"), stdio)),
            startExec: () => ask(() => task.start(id)),
            killExec: () => ask(() => task.kill(id, 9, false)),
            reapExec: () => world.reap(execPids.get(id) ?? 0, 2),
            settleExec: () => execing.get(id)?.open(),
            deleteExec: () => ask(() => task.delete(id)),
          };
          await perform[kind]?.();
        }
        // Whatever is left to come, comes.
        starting.open();
        for (const { open } of execing.values()) open();
        await settle();
        ask(() => task.kill("", 9, false));
        for (let round = 0; round < 4; round++) {
          for (const pid of [...world.alive]) world.reap(pid, 3);
          await settle();
        }
        ask(() => task.delete(""));
        const answers = await Promise.all(asked);
        expect(answers).toHaveLength(asked.length);
        expect(task.pid).toBe(initPid);
        checkOrder(world.events);
        expect(world.streams.every((streams) => streams.closed >= 1)).toBe(true);
        expect(world.clock.timers).toBe(0);
      } finally {
        world.cleanUp();
      }
    }),
    { numRuns: 400 },
  );
});

function checkOrder(events: readonly string[]): void {
  const at = (prefix: string): number => events.findIndex((event) => event.startsWith(prefix));
  const count = (prefix: string): number => events.filter((event) => event.startsWith(prefix)).length;
  const story = events.join(" | ");
  expect(events[0], story).toBe("create");
  expect(events.at(-1), story).toMatch(/^delete/);
  expect(count("exit init"), story).toBe(1);
  expect(count("delete"), story).toBe(1);
  expect(count("start "), story).toBeLessThanOrEqual(1);
  if (count("start ") === 1) expect(at("start "), story).toBeLessThan(at("exit init"));
  expect(at("exit init"), story).toBe(events.length - 2);
  for (const id of execIds) {
    const lives = events.filter(
      (event) => event.startsWith(`exec-started ${id}`) || event.startsWith(`exit ${id}`),
    );
    const words = lives.map((event) => event.split(" ")[0]);
    expect(words, story).toEqual(words.map((_, index) => (index % 2 === 0 ? "exec-started" : "exit")));
    expect(words.length % 2, story).toBe(0);
  }
}
