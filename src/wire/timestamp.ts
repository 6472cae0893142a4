/** Times on the wire. An absent Timestamp means different moments to different clients, so ours are always sent. */
import { type Instant, zeroInstant } from "../core/exit.js";
import type { Timestamp } from "./gen/google/protobuf/timestamp.js";

/** Always explicit: no time at all travels as Go's zero time, containerd's "has not happened". */
export const toTimestamp = (at: Instant | undefined): Timestamp => {
  const { seconds, nanos } = at ?? zeroInstant;
  return { seconds, nanos };
};

/** An absent Timestamp is the zero time; nanos outside 0..999_999_999 are carried into the seconds. */
export function fromTimestamp(timestamp: Timestamp | undefined): Instant {
  if (timestamp === undefined) return zeroInstant;
  const { seconds, nanos } = timestamp;
  if (nanos >= 0 && nanos < 1_000_000_000) return { seconds, nanos };
  const carried = Math.floor(nanos / 1_000_000_000);
  return { seconds: seconds + BigInt(carried), nanos: nanos - carried * 1_000_000_000 };
}

/** RFC 3339 in UTC with as many digits of fraction as needed, as Go prints it. */
export function formatInstant(at: Instant): string {
  const whole = new Date(Number(at.seconds) * 1000);
  const date = whole.toISOString().slice(0, 19);
  const fraction = at.nanos === 0 ? "" : `.${String(at.nanos).padStart(9, "0").replace(/0+$/, "")}`;
  return `${date}${fraction}Z`;
}
