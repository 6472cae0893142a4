/**
 * Lets a bounded number of runtime invocations run at once. A burst of creates beyond the cores only makes each
 * of them slower; queued here, throughput stays and the median falls. Namespaces take turns, so one tenant's
 * burst does not starve another's single command.
 */
import type { Behavior, Reply } from "../kernel/types.js";
import type { AdmissionMessage, Permit } from "./messages.js";

export interface AdmissionOptions {
  /** Invocations at once. */
  readonly slots: number;
  /** A permit held longer than this is taken back: its holder has lost it. Milliseconds. */
  readonly maxHoldMs: number;
}

interface AdmissionState {
  readonly held: Set<number>;
  /** Waiting replies per namespace; the map's order is the order of turns. */
  readonly waiting: Map<string, Reply<Permit>[]>;
}

export function createAdmissionBehavior(
  options: AdmissionOptions,
): Behavior<AdmissionState, AdmissionMessage> {
  // Goes on after a restart: permits given out before must not look like those of today.
  let nextPermit = 1;
  return {
    kind: "admission",
    init: () => ({ held: new Set(), waiting: new Map() }),
    lane: (message) => (message.kind === "acquire" ? "normal" : "priority"),
    phaseOf: (state) => {
      let waiting = 0;
      for (const queue of state.waiting.values()) waiting += queue.length;
      return `${state.held.size}/${options.slots} running, ${waiting} waiting`;
    },
    handle(state, message, ctx) {
      switch (message.kind) {
        case "acquire": {
          const queue = state.waiting.get(message.namespace);
          if (queue === undefined) state.waiting.set(message.namespace, [message.reply]);
          else queue.push(message.reply);
          break;
        }
        case "release":
          if (state.held.delete(message.permit)) ctx.cancelTimer(`hold-${message.permit}`);
          break;
        case "reclaim":
          if (state.held.delete(message.permit)) {
            ctx.log.error(
              { permit: message.permit, maxHoldMs: options.maxHoldMs },
              "runtime permit taken back",
            );
          }
          break;
      }
      while (state.held.size < options.slots) {
        const reply = nextWaiting(state.waiting);
        if (reply === undefined) break;
        const permit = nextPermit++;
        state.held.add(permit);
        ctx.startTimer(`hold-${permit}`, options.maxHoldMs, { kind: "reclaim", permit });
        const { self, path } = ctx;
        reply.resolve({ release: () => self.tell({ kind: "release", permit }, path) });
      }
      return state;
    },
  };
}

/** The next asker that still waits; its namespace goes to the end of the turns. */
function nextWaiting(waiting: Map<string, Reply<Permit>[]>): Reply<Permit> | undefined {
  for (const [namespace, queue] of waiting) {
    let reply = queue.shift();
    while (reply?.settled === true) reply = queue.shift();
    waiting.delete(namespace);
    if (queue.length > 0) waiting.set(namespace, queue);
    if (reply !== undefined) return reply;
  }
  return undefined;
}
