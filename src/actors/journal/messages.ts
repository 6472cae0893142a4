/** The journal numbers events, keeps the recent ones and fans them out. */
import type { Envelope, EventSink, JournalEntry } from "../../ports/event-sink.js";
import type { Reply } from "../kernel/types.js";

export type JournalMessage =
  /** The reply comes once the event is in the journal: its sender may forget it. */
  | { readonly kind: "publish"; readonly envelope: Envelope; readonly reply: Reply<bigint> | undefined }
  /** `matches` is a compiled filter. The reply is the id to unsubscribe with. */
  | {
      readonly kind: "subscribe";
      readonly sink: EventSink;
      readonly matches: (envelope: Envelope) => boolean;
      readonly reply: Reply<number>;
    }
  | { readonly kind: "unsubscribe"; readonly id: number }
  /** The last `count` entries, oldest first, for inspection. */
  | { readonly kind: "recent"; readonly count: number; readonly reply: Reply<readonly JournalEntry[]> };
