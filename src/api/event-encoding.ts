/** Envelopes on their way out: encoded once, however many subscribers take them. */
import type { JournalEntry } from "../ports/event-sink.js";
import { toWireEnvelope } from "../wire/envelope.js";
import { Envelope } from "../wire/gen/containerd/types/types.js";

const encoded = new WeakMap<JournalEntry, Buffer>();

/** The entry's envelope as a message; the payload's bytes are the sender's. */
export function encodedEntry(entry: JournalEntry): Buffer {
  const known = encoded.get(entry);
  if (known !== undefined) return known;
  const bytes = Envelope.encode(toWireEnvelope(entry.envelope)).finish();
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  encoded.set(entry, buffer);
  return buffer;
}
