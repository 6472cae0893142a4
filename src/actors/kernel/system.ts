/** The front door of the kernel: one tree of actors over a clock, a scheduler and a logger that are handed in. */
import { failedPrecondition } from "../../core/errors.js";
import { ActorCell } from "./actor-cell.js";
import { checkChildren } from "./child-specs.js";
import { KernelRuntime } from "./runtime.js";
import { SupervisorCell } from "./supervisor-cell.js";
import type {
  ActorRef,
  ActorSystem,
  ActorSystemOptions,
  ExitReason,
  SupervisorSpec,
  TreeNode,
} from "./types.js";

/** Path of the root supervisor: its children are `root/<id>`. */
const rootPath = "root";

const noTree: TreeNode = {
  path: rootPath,
  type: "supervisor",
  kind: "supervisor",
  status: "dead",
  phase: undefined,
  strategy: undefined,
  restart: "temporary",
  mailboxDepth: 0,
  mailboxLimit: undefined,
  current: undefined,
  handled: 0,
  restarts: 0,
  lastCrash: undefined,
  handling: undefined,
  children: [],
};

/** A system without a tree yet; `start` gives it one. Throws failed-precondition when started twice or after shutdown. */
export function createActorSystem(options: ActorSystemOptions): ActorSystem {
  const runtime = new KernelRuntime(options);
  let root: SupervisorCell | undefined;
  let over = false;
  let settleEnded: (reason: ExitReason) => void;
  const ended = new Promise<ExitReason>((resolve) => {
    settleEnded = resolve;
  });

  return {
    ended,
    start(spec: SupervisorSpec) {
      if (root !== undefined || over) throw failedPrecondition("the actor system was started before");
      const place = {
        parent: undefined,
        path: rootPath,
        id: rootPath,
        restart: "temporary",
        // Bounded by its children's budgets.
        shutdownMs: Number.POSITIVE_INFINITY,
        order: 0,
        isStatic: true,
      } as const;
      checkChildren(rootPath, spec.children, runtime.cells);
      root = new SupervisorCell(runtime, place, spec);
      root.onEnd((reason) => {
        over = true;
        settleEnded(reason);
      });
      root.start();
      return root.ref;
    },
    async shutdown() {
      if (root === undefined && !over) {
        over = true;
        settleEnded({ kind: "shutdown" });
      }
      root?.requestStop("end");
      await ended;
    },
    lookup<M>(path: string): ActorRef<M> | undefined {
      const cell = runtime.cells.get(path);
      return cell instanceof ActorCell ? (cell.ref as ActorRef<M>) : undefined;
    },
    inspect: () => root?.inspect() ?? noTree,
    deadLetters: runtime.deadLetters,
    counters: runtime.counters,
    tap: (listener) => runtime.taps.add(listener),
  };
}
