/**
 * Numbers events, keeps the most recent ones and hands each to every subscriber whose filter takes it. One
 * actor for all, so every subscriber sees the same order. Events live in memory; a subscriber that cannot keep
 * up is cut off alone.
 */
import type { Logger } from "../../core/logger.js";
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
}

export interface JournalOptions {
  /** How many entries are kept for inspection. */
  readonly keepEntries: number;
}

export function createJournalBehavior(options: JournalOptions): Behavior<JournalState, JournalMessage> {
  // Both go on after a restart, so that no number ever means two things.
  let nextSequence = 1n;
  let nextSubscription = 1;

  /** False when the subscriber can take no more, or is broken: its fault must not reach the others. */
  function offer({ sink, matches }: Subscription, entry: JournalEntry, log: Logger): boolean {
    try {
      return !matches(entry.envelope) || sink.push(entry);
    } catch (error) {
      log.error({ err: error, topic: entry.envelope.topic }, "subscriber threw");
      return false;
    }
  }

  return {
    kind: "journal",
    init: () => ({ subscriptions: new Map(), recent: [] }),
    phaseOf: (state) => `${state.subscriptions.size} subscribers`,
    handle(state, message, ctx) {
      switch (message.kind) {
        case "publish": {
          const entry: JournalEntry = { sequence: nextSequence, envelope: message.envelope };
          nextSequence += 1n;
          state.recent.push(entry);
          // Trimmed in chunks: shifting an array once per event would cost more than the event.
          if (state.recent.length > options.keepEntries * 2) state.recent.splice(0, options.keepEntries);
          for (const [id, subscription] of state.subscriptions) {
            if (offer(subscription, entry, ctx.log)) continue;
            state.subscriptions.delete(id);
            ctx.log.warn(
              { subscription: id, topic: entry.envelope.topic },
              "subscriber lagged and was cut off",
            );
            endQuietly(subscription.sink, "lagging");
          }
          message.reply?.resolve(entry.sequence);
          return state;
        }
        case "subscribe": {
          // Its asker has gone, and would never unsubscribe.
          if (message.reply.settled) return state;
          const id = nextSubscription++;
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
      for (const { sink } of state.subscriptions.values()) endQuietly(sink, "shutdown");
    },
  };
}

function endQuietly(sink: EventSink, reason: Parameters<EventSink["end"]>[0]): void {
  try {
    sink.end(reason);
  } catch {
    // It is let go of either way.
  }
}
