/**
 * One run of the daemon's actors over fakes, drawn by a seed: clients that create, start, exec, kill and delete
 * tasks of a few containers while processes end, shims fail and die, events travel late and twice, and actors
 * crash. Afterwards everything is deleted, and the run says what it saw that must not be.
 */
import type { TreeNode } from "../../src/actors/kernel/types.js";
import { toDaemonError, unknownError } from "../../src/core/errors.js";
import { zeroInstant } from "../../src/core/exit.js";
import {
  type ContainerId,
  type Namespace,
  type ShimId,
  type TaskKey,
  taskKeyString,
} from "../../src/core/ids.js";
import type { TaskEvent } from "../../src/ports/event-codec-port.js";
import type { Envelope } from "../../src/ports/event-sink.js";
import type { ContainerRecord } from "../../src/ports/store-port.js";
import { eventCodec } from "../../src/wire/event-codec.js";
import { checkHistory, type Seen } from "./event-history.js";
import { FakeShims } from "./fake-shim.js";
import { createFakeWorld, emptySpec, nullIo } from "./fake-world.js";
import { seededRandom } from "./seeded-scheduler.js";

const namespaces = ["n1", "n2"] as Namespace[];
const ids = ["a", "b"] as ContainerId[];
const execIds = ["e1", "e2"];
export const keys: readonly TaskKey[] = namespaces.flatMap((namespace) =>
  ids.map((id) => ({ namespace, id })),
);

export interface SimulationOptions {
  readonly seed: number;
  /** Chances that are zero switch a kind of trouble off; for finding out what a failure needs. */
  readonly trouble?: Partial<Trouble>;
}

/** Chances, from 0 to 1. */
export interface Trouble {
  readonly callFails: number;
  readonly callHangs: number;
  readonly shimDies: number;
  readonly actorCrashes: number;
  readonly clientAborts: number;
  readonly eventRepeats: number;
  readonly placementCrashes: number;
}

const usualTrouble: Trouble = {
  callFails: 0.05,
  callHangs: 0.01,
  shimDies: 0.04,
  actorCrashes: 0.04,
  clientAborts: 0.15,
  eventRepeats: 0.1,
  placementCrashes: 0.01,
};

const record = (id: string): ContainerRecord => ({
  id,
  labels: {},
  image: "",
  runtime: { name: "io.containerd.runc.v2", options: undefined },
  spec: emptySpec,
  snapshotter: "",
  snapshotKey: "",
  createdAt: zeroInstant,
  updatedAt: zeroInstant,
  extensions: {},
  sandbox: "",
});

/** Runs one simulation; resolves with what is wrong, nothing if all is well, and a log of what happened. */
export async function simulate({ seed, trouble: changes }: SimulationOptions): Promise<{
  readonly faults: readonly string[];
  readonly log: readonly string[];
}> {
  // An actor that crashed has forgotten which events it has seen, so the two do not go together.
  const repeating = seed % 2 === 0;
  const trouble = {
    ...usualTrouble,
    ...(repeating ? { actorCrashes: 0, placementCrashes: 0 } : { eventRepeats: 0 }),
    ...changes,
  };
  const random = seededRandom(seed ^ 0x5bd1e995);
  const chance = (probability: number): boolean => random() < probability;
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
  const between = (low: number, high: number): number => low + Math.floor(random() * (high - low + 1));

  const shims = new FakeShims();
  const world = createFakeWorld({ seed, shims });
  const { clock, tree, store, system } = world;
  const faults: string[] = [];
  const log: string[] = [];
  const note = (line: string): void => {
    log.push(`${String(clock.monotonicMs()).padStart(7)} ${line}`);
  };
  const sleep = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      clock.setTimer(ms, resolve);
    });
  let calm = false;

  // The shims' calls take a while, fail, or hang until their deadline.
  shims.before = async (operation, id) => {
    await sleep(chance(0.5) ? 0 : between(1, 40));
    if (calm || operation === "open") return;
    // What hangs for ever inside a shim fails there in the end: its own runtime calls have deadlines.
    if (chance(trouble.callHangs)) {
      note(`${operation} ${id} hangs`);
      await sleep(70_000);
      throw unknownError(`${operation} timed out`);
    }
    if (chance(trouble.callFails)) throw unknownError(`${operation} failed`);
  };
  shims.after = () => sleep(chance(0.5) ? 0 : between(1, 30));
  shims.afterStart = () => undefined;

  // Each shim delivers the events of one container one after the other, again until they are taken.
  interface Spool {
    readonly queue: Envelope[];
    running: boolean;
    dead: boolean;
  }
  const spools = new Map<string, Spool>();
  const emitted: Seen[] = [];
  const spoolOf = (shimId: ShimId, key: TaskKey): Spool => {
    const name = `${shimId} ${taskKeyString(key)}`;
    const known = spools.get(name);
    if (known !== undefined) return known;
    const spool: Spool = { queue: [], running: false, dead: false };
    spools.set(name, spool);
    return spool;
  };
  const seen = (key: TaskKey, envelope: Envelope): Seen => ({
    key: taskKeyString(key),
    event: eventCodec.decodeTask(envelope) as TaskEvent,
  });
  const deliver = (key: TaskKey, envelope: Envelope): Promise<void> =>
    tree.directory.shimEvent(key, { kind: "shim-event", envelope }, { timeoutMs: 30_000 });
  const pump = async (key: TaskKey, spool: Spool): Promise<void> => {
    if (spool.running) return;
    spool.running = true;
    for (let head = spool.queue[0]; head !== undefined && !spool.dead; head = spool.queue[0]) {
      await sleep(chance(0.6) ? 0 : between(1, 200));
      if (spool.dead) break;
      try {
        await deliver(key, head);
        const isKnowable = ["/tasks/create", "/tasks/start", "/tasks/exit"].includes(head.topic);
        // Beyond the life of its actor the API's own memory of delivered events takes over, which is not here.
        const actor = system.lookup(`root/containers/${key.namespace}/${key.id}`);
        if (isKnowable && actor !== undefined && !spool.dead && chance(trouble.eventRepeats)) {
          note(`again ${head.topic} of ${taskKeyString(key)}`);
          await deliver(key, head);
        }
        if (!spool.dead) spool.queue.shift();
      } catch (error) {
        note(`  event ${head.topic} of ${taskKeyString(key)} refused: ${toDaemonError(error).message}`);
        await sleep(20);
      }
    }
    spool.running = false;
  };
  shims.deliver = (key, envelope, shimId) => {
    emitted.push(seen(key, envelope));
    const spool = spoolOf(shimId, key);
    spool.queue.push(envelope);
    void pump(key, spool);
  };
  shims.undelivered = (shimId, id) => {
    const namespace = shimNamespaces.get(shimId);
    if (namespace === undefined) return [];
    const spool = spoolOf(shimId, { namespace, id: id as ContainerId });
    return spool.queue.splice(0);
  };
  const shimNamespaces = new Map<ShimId, Namespace>();
  const open = shims.launcher.open;
  (shims.launcher as { open: typeof open }).open = async (request, signal) => {
    shimNamespaces.set(request.shimId, request.namespace);
    return open(request, signal);
  };
  shims.pidOf = (key) => {
    const last = emitted.findLast(
      (one) => one.key === taskKeyString(key) && one.event.topic === "/tasks/create",
    );
    return last?.event.topic === "/tasks/create" ? last.event.pid : 0;
  };
  const killShim = (): void => {
    const living = [...shims.running];
    if (living.length === 0) return;
    const [shimId, shim] = pick(living);
    note(`shim ${[...shimNamespaces.keys()].indexOf(shimId)} dies with ${[...shim.tasks.keys()].join(" ")}`);
    for (const [name, spool] of spools) if (name.startsWith(`${shimId} `)) spool.dead = true;
    shim.die();
  };

  const history: Seen[] = [];
  tree.journal.tell({
    kind: "subscribe",
    matches: () => true,
    sink: {
      push({ envelope }) {
        const event = eventCodec.decodeTask(envelope);
        if (event === undefined) return true;
        const key = `${envelope.namespace}/${event.containerId}`;
        note(`  journal ${key} ${describeEvent(event)}`);
        history.push({ key, event });
        return true;
      },
      end: () => undefined,
    },
    reply: { settled: false, resolve: () => undefined, reject: () => undefined },
  });

  /** Execs whose calls took too long: nothing tells whether a late deletion has happened. */
  const doubtful = new Set<string>();
  let open_ = 0;
  let calls = 0;
  async function ask(key: TaskKey, request: Record<string, unknown> & { kind: string }, abortable = true) {
    const number = ++calls;
    const controller = new AbortController();
    if (abortable && !calm && chance(trouble.clientAborts))
      void sleep(between(0, 60)).then(() => controller.abort());
    const text = `#${number} ${request.kind}${request.execId ? ` ${request.execId}` : ""} ${taskKeyString(key)}`;
    note(text);
    open_ += 1;
    try {
      const value = await tree.directory.ask(key, request as never, {
        timeoutMs: "none",
        signal: controller.signal,
      });
      note(`${text}: ok`);
      return { ok: true as const, value: value as unknown };
    } catch (thrown) {
      const error = toDaemonError(thrown);
      const late = ["deadline-exceeded", ...(request.kind === "delete" ? ["cancelled", "unavailable"] : [])];
      if (late.includes(error.kind)) doubtful.add(`${taskKeyString(key)} ${request.execId ?? ""}`);
      note(`${text}: ${error.kind} ${error.message}`);
      return { ok: false as const, error };
    } finally {
      open_ -= 1;
    }
  }
  const create = (key: TaskKey) =>
    ask(key, {
      kind: "create",
      rootfs: [],
      stdio: nullIo,
      options: undefined,
      runtimePath: "",
      checkpoint: undefined,
    });
  const kill = (key: TaskKey, execId = "") => ask(key, { kind: "kill", execId, signalNumber: 9, all: false });

  const actions: readonly (readonly [number, (key: TaskKey) => void])[] = [
    [8, (key) => void create(key)],
    [8, (key) => void ask(key, { kind: "start", execId: "" })],
    [4, (key) => void ask(key, { kind: "delete", execId: undefined })],
    [3, (key) => void kill(key)],
    [2, (key) => void kill(key, pick(execIds))],
    [2, (key) => void ask(key, { kind: "pause" })],
    [3, (key) => void ask(key, { kind: "resume" })],
    [4, (key) => void ask(key, { kind: "exec", execId: pick(execIds), stdio: nullIo, spec: emptySpec })],
    [4, (key) => void ask(key, { kind: "start", execId: pick(execIds) })],
    [2, (key) => void ask(key, { kind: "delete", execId: pick(execIds) })],
    [2, (key) => void ask(key, { kind: "get", execId: "" })],
    [3, (key) => void ask(key, { kind: "wait", execId: chance(0.5) ? "" : pick(execIds) })],
    [
      4,
      ({ namespace, id }) => {
        for (const [shimId, shim] of shims.running) {
          if (shimNamespaces.get(shimId) !== namespace || !shim.tasks.has(id)) continue;
          const running = [...(shim.tasks.get(id) ?? [])].filter(([, { status }]) => status === "running");
          if (running.length > 0) shim.exit(id, pick(running)[0], between(0, 9));
        }
      },
    ],
  ];
  const weight = actions.reduce((sum, [share]) => sum + share, 0);
  const act = (): void => {
    let at = random() * weight;
    for (const [share, run] of actions) {
      at -= share;
      if (at < 0) return run(pick(keys));
    }
  };
  const crash = (path: string): void => {
    const actor = system.lookup<unknown>(path);
    if (actor === undefined) return;
    note(`crash of ${path}`);
    actor.tell({ kind: "__proto__" });
  };

  for (const { namespace, id } of keys) await store.createContainer(namespace, record(id));
  const turns = between(20, 80);
  for (let turn = 0; turn < turns; turn++) {
    for (let burst = between(1, 3); burst > 0; burst--) act();
    if (chance(trouble.shimDies)) killShim();
    const { namespace, id } = pick(keys);
    if (chance(trouble.actorCrashes)) crash(`root/containers/${namespace}/${id}`);
    if (chance(trouble.placementCrashes)) crash("root/shims/placement");
    await clock.advance(chance(0.3) ? 0 : between(1, 80));
  }
  // Everything that was asked for comes to its end, hung calls included.
  calm = true;
  note("calm");
  await clock.advance(200_000);

  for (const key of keys) await compare(key);
  for (const key of keys) await remove(key);
  await clock.advance(60_000);
  check();
  return { faults, log };

  /** Runs the world until the promise has settled. */
  async function run<T>(promise: Promise<T>): Promise<T> {
    return world.run(promise, 300_000);
  }

  /** What the actor says is what the shim says. */
  async function compare(key: TaskKey): Promise<void> {
    const told = await run(ask(key, { kind: "get", execId: "" }));
    const processes = processesOf(key);
    const expected = processes?.get("")?.status ?? "none";
    const found = told.ok ? (told.value as { status: string }).status : "none";
    if (found !== expected)
      faults.push(`${taskKeyString(key)} is said to be ${found}, its shim says ${expected}`);
    if (!told.ok) return;
    for (const execId of execIds) {
      const answer = await run(ask(key, { kind: "get", execId }));
      const process = processes?.get(execId);
      const truth = process === undefined ? "none" : process.status;
      const said = answer.ok ? (answer.value as { status: string; pid: number }).status : "none";
      const alike = said === truth || (said === "paused" && truth === "running" && found === "paused");
      if (!alike && !doubtful.has(`${taskKeyString(key)} ${execId}`))
        faults.push(`${taskKeyString(key)} ${execId} is said to be ${said}, its shim says ${truth}`);
    }
  }

  function processesOf({ namespace, id }: TaskKey) {
    for (const [shimId, shim] of shims.running) {
      if (shimNamespaces.get(shimId) === namespace && shim.tasks.has(id)) return shim.tasks.get(id);
    }
    return undefined;
  }

  async function remove(key: TaskKey): Promise<void> {
    for (let attempt = 0; attempt < 5; attempt++) {
      await run(kill(key));
      await clock.advance(1000);
      const deleted = await run(ask(key, { kind: "delete", execId: undefined }));
      if (!deleted.ok && deleted.error.message === `task ${key.id} not found`) return;
    }
    faults.push(`${taskKeyString(key)} cannot be deleted`);
  }

  function check(): void {
    if (open_ > 0) faults.push(`${open_} asks were never answered`);
    if (world.bundles.size > 0) faults.push(`bundles left: ${[...world.bundles].join(" ")}`);
    if (tree.hosts.size > 0) faults.push(`places left: ${[...tree.hosts.keys()].join(" ")}`);
    if (shims.orphans.size > 0) faults.push(`containers left: ${[...shims.orphans].join(" ")}`);
    for (const shim of shims.running.values())
      faults.push(`shim left, with ${[...shim.tasks.keys()].join(" ")}`);
    for (const [name, { queue }] of spools) {
      if (queue.length > 0 && !spools.get(name)?.dead) faults.push(`${queue.length} events left in ${name}`);
    }
    const visit = (node: TreeNode): void => {
      if (node.kind === "container") faults.push(`actor left: ${node.path}, ${node.phase}`);
      if (node.kind === "admission" && node.phase !== "0/2 running, 0 waiting")
        faults.push(`gate: ${node.phase}`);
      if (node.mailboxDepth > 0) faults.push(`${node.mailboxDepth} messages left for ${node.path}`);
      node.children.forEach(visit);
    };
    visit(system.inspect());
    faults.push(...checkHistory(history, emitted));
  }
}

const describeEvent = (event: TaskEvent): string => {
  const pid = "pid" in event ? event.pid : "exit" in event ? event.exit.pid : "";
  const what = "execId" in event ? event.execId : "processId" in event ? event.processId : "";
  return `${event.topic.slice("/tasks/".length)} ${what} ${pid}`;
};
