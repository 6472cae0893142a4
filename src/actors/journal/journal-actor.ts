/**
 * Numbers events, keeps the most recent ones and hands each to every subscriber whose filter takes it. One
 * actor for all, so every subscriber sees the same order. Events live in memory; a subscriber that cannot keep
 * up is cut off alone.
 */
import type { Envelope, EventSink, JournalEntry } from "../../ports/event-sink.js";
import type { Behavior } from "../kernel/types.js";
import type { JournalMessage } from "./messages.js";

interface Subscription {
  readonly sink: EventSink;
  readonly matches: (envelope: Envelope) => boolean;
}

interface JournalState {
  readonly subscriptions: Map<number, Subscription>;
  readonly recent: JournalEntry[];
  nextSequence: bigint;
  nextSubscription: number;
}

export interface JournalOptions {
  /** How many entries are kept for inspection. */
  readonly keepEntries: number;
}

export function createJournalBehavior(options: JournalOptions): Behavior<JournalState, JournalMessage> {
  return {
    kind: "journal",
    init: () => ({ subscriptions: new Map(), recent: [], nextSequence: 1n, nextSubscription: 1 }),
    phaseOf: (state) => `${state.subscriptions.size} subscribers`,
    handle(state, message, ctx) {
      switch (message.kind) {
        case "publish": {
          const entry: JournalEntry = { sequence: state.nextSequence, envelope: message.envelope };
          state.nextSequence += 1n;
          state.recent.push(entry);
          // Trimmed in chunks: shifting an array once per event would cost more than the event.
          if (state.recent.length > options.keepEntries * 2) state.recent.splice(0, options.keepEntries);
          for (const [id, subscription] of state.subscriptions) {
            if (!subscription.matches(entry.envelope)) continue;
            if (subscription.sink.push(entry)) continue;
            state.subscriptions.delete(id);
            ctx.log.warn(
              { subscription: id, topic: entry.envelope.topic },
              "subscriber lagged and was cut off",
            );
            subscription.sink.end("lagging");
          }
          message.reply?.resolve(entry.sequence);
          return state;
        }
        case "subscribe": {
          const id = state.nextSubscription++;
          state.subscriptions.set(id, { sink: message.sink, matches: message.matches });
          message.reply.resolve(id);
          return state;
        }
        case "unsubscribe":
          state.subscriptions.delete(message.id);
          return state;
        case "recent":
          message.reply.resolve(state.recent.slice(-Math.min(message.count, options.keepEntries)));
          return state;
      }
    },
    terminated(state) {
      for (const { sink } of state.subscriptions.values()) sink.end("shutdown");
    },
  };
}
