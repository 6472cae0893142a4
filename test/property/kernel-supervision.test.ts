/** Random trees under random chaos and schedules: the tree's promises hold whatever the order of events. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type {
  ActorContext,
  Behavior,
  ChildSpec,
  Down,
  RestartType,
  Strategy,
  SupervisorRef,
  SupervisorSpec,
  TreeNode,
} from "../../src/actors/kernel/types.js";
import type { DaemonError } from "../../src/core/errors.js";
import { seededRandom } from "../support/seeded-scheduler.js";
import { boom, child, createWorld, type Script, supervisor } from "../unit/actors/kernel/harness.js";

const strategies: readonly Strategy[] = ["one-for-one", "one-for-all", "rest-for-one"];
const restarts: readonly RestartType[] = ["permanent", "transient", "temporary"];
const budgetMs = 20;

interface Life {
  inits: number;
  ends: number;
}

function chaos(seed: number, steps: number) {
  const world = createWorld(seed);
  const random = seededRandom(seed ^ 0x5bd1e995);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
  const lives = new Map<string, Life>();
  const violations: string[] = [];
  const paths: string[] = [];
  const supervisors = ["root"];
  const watches: { watcher: string; target: string; downs: Down[]; open: boolean }[] = [];

  const behavior = (path: string): Behavior<unknown, Script> => ({
    kind: "chaotic",
    init: () => {
      if (random() < 0.1) boom();
      const life = lives.get(path) ?? { inits: 0, ends: 0 };
      life.inits += 1;
      lives.set(path, life);
      // A throw here would only be one more crash, so violations are kept for the end.
      if (life.inits - life.ends !== 1) violations.push(`${path} has ${life.inits - life.ends} incarnations`);
      return undefined;
    },
    handle: (state, message, ctx) => {
      message.run?.(ctx);
      return state;
    },
    terminated: () => {
      (lives.get(path) as Life).ends += 1;
      // What this incarnation watched is forgotten with it.
      for (const watch of watches) if (watch.watcher === path) watch.open = false;
    },
    ...(random() < 0.3
      ? {
          stopping: (state: unknown, ctx: ActorContext<Script>) => {
            const kind = pick(["slow", "never", "crash"]);
            if (kind === "slow") ctx.startTimer("end", 5, { kind: "end", run: (inner) => inner.stop() });
            if (kind === "crash") boom();
            return state;
          },
        }
      : {}),
  });

  const actor = (
    path: string,
    id: string,
  ): ChildSpec & { start: { type: "actor"; behavior: Behavior<unknown, Script> } } => {
    paths.push(`${path}/${id}`);
    return child(
      id,
      { type: "actor" as const, behavior: behavior(`${path}/${id}`) },
      pick(restarts),
      budgetMs,
    );
  };

  const tree = (path: string, depth: number): SupervisorSpec => {
    const children: ChildSpec[] = [];
    const count = 1 + Math.floor(random() * 3);
    for (let n = 0; n < count; n++) {
      if (depth > 0 && random() < 0.4) {
        supervisors.push(`${path}/s${n}`);
        children.push(child(`s${n}`, tree(`${path}/s${n}`, depth - 1), pick(restarts), budgetMs * 4));
      } else children.push(actor(path, `a${n}`));
    }
    return supervisor(pick(strategies), children, {
      intensity: pick([0, 1, 3, 100]),
      periodMs: 10,
      stopOrder: pick(["reverse", "together"] as const),
    });
  };

  const root = world.system.start(tree("root", 2));

  const supervisorAt = (path: string): SupervisorRef | undefined => {
    let at: SupervisorRef | undefined = root;
    for (const id of path.split("/").slice(1)) at = at?.child(id) as SupervisorRef | undefined;
    return at;
  };
  const actions: readonly ((ctx: ActorContext<Script>) => void)[] = [
    boom,
    boom,
    (ctx) => ctx.stop(),
    (ctx) => void ctx.stopIfIdle(),
    (ctx) => void ctx.supervisor.stopChild(pick(ctx.supervisor.childIds()) ?? ""),
    (ctx) => {
      try {
        const id = `d${Math.floor(random() * 1e9)}`;
        ctx.supervisor.startActor(actor(ctx.supervisor.path, id));
      } catch (error) {
        if ((error as DaemonError).kind !== "unavailable") violations.push(String(error));
      }
    },
    (ctx) => {
      const target = pick(paths);
      const watch = { watcher: ctx.path, target, downs: [] as Down[], open: true };
      watches.push(watch);
      ctx.watch(world.system.lookup(target) ?? { path: target }, (down) => {
        watch.downs.push(down);
        return { kind: "down" };
      });
    },
    (ctx) =>
      ctx.perform(
        () => (random() < 0.5 ? Promise.resolve() : new Promise(() => {})),
        () => ({ kind: "effect", ...(random() < 0.3 ? { run: boom } : {}) }),
        { deadlineMs: 5 },
      ),
    (ctx) => ctx.startTimer(pick(["x", "y"]), 3, { kind: "timer", run: pick(actions) }),
  ];

  return {
    world,
    lives,
    watches,
    violations,
    async run() {
      for (let step = 0; step < steps; step++) {
        const roll = random();
        if (roll < 0.7) {
          world.system.lookup<Script>(pick(paths))?.tell({ kind: "act", run: pick(actions) });
          for (let n = Math.floor(random() * 4); n > 0; n--) world.scheduler.step();
        } else if (roll < 0.75) void supervisorAt(pick(supervisors))?.stopChild(pick(["a0", "s1", "a2"]));
        else if (roll < 0.85) await world.clock.advance(1 + Math.floor(random() * 12));
        else await world.clock.runUntilIdle();
      }
    },
  };
}

function* nodes(tree: TreeNode): Generator<TreeNode> {
  yield tree;
  for (const inner of tree.children) yield* nodes(inner);
}

describe("a random tree under chaos", () => {
  it("comes to rest with everything running, one incarnation each, and one DOWN per ended watch", async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: 2 ** 31 }), fc.nat(60), async (seed, steps) => {
        const { world, lives, watches, violations, run } = chaos(seed, steps);
        await run();
        // Long enough for every budget, timer and deadline, not for ever: crashing timers may re-arm.
        await world.clock.advance(2000);
        const alive = new Set<string>();
        for (const node of nodes(world.system.inspect())) {
          if (node.path === "root" && node.status === "dead") continue;
          expect([node.path, node.status]).toEqual([node.path, "running"]);
          alive.add(node.path);
        }
        expect(violations).toEqual([]);
        for (const [path, life] of lives)
          expect([path, life.inits - life.ends]).toEqual([path, alive.has(path) ? 1 : 0]);
        for (const watch of watches) {
          expect(watch.downs.length).toBeLessThanOrEqual(1);
          if (watch.open) expect(watch.downs.length).toBe(alive.has(watch.target) ? watch.downs.length : 1);
        }
      }),
      { numRuns: 300 },
    );
  });

  it("always shuts down within the sum of its budgets and leaves nothing", async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: 2 ** 31 }), fc.nat(30), async (seed, steps) => {
        const { world, lives, violations, run } = chaos(seed, steps);
        await run();
        let ended = false;
        void world.system.shutdown().then(() => {
          ended = true;
        });
        const children = world.system.inspect().children;
        const sum = children.reduce((ms, { type }) => ms + (type === "actor" ? budgetMs : budgetMs * 4), 0);
        await world.clock.advance(sum);
        expect(ended).toBe(true);
        expect(violations).toEqual([]);
        for (const [path, life] of lives) expect([path, life.inits - life.ends]).toEqual([path, 0]);
        expect(world.system.inspect()).toMatchObject({ status: "dead", children: [] });
        expect(world.clock.pendingTimers).toBe(0);
        expect(world.scheduler.pending).toBe(0);
        for (const path of lives.keys()) expect(world.system.lookup(path)).toBeUndefined();
      }),
      { numRuns: 300 },
    );
  });
});
