/** How a process ended. */
export interface Exit {
  readonly pid: number;
  /** Exit code, or 128 + N when signal N ended it; 255 when nobody can know. */
  readonly exitStatus: number;
  /** When the process was reaped. */
  readonly exitedAt: Instant;
}

/** A point in UTC with nanoseconds, as protobuf's Timestamp has it: `nanos` is in 0..999_999_999. */
export interface Instant {
  readonly seconds: bigint;
  readonly nanos: number;
}

/** Go's zero time, 0001-01-01T00:00:00Z: how containerd says "has not exited". */
export const zeroInstant: Instant = Object.freeze({ seconds: -62135596800n, nanos: 0 });

export function instantFromMs(ms: number): Instant {
  const seconds = Math.floor(ms / 1000);
  return { seconds: BigInt(seconds), nanos: Math.round((ms - seconds * 1000) * 1e6) % 1_000_000_000 };
}

/** Milliseconds since the Unix epoch, rounded towards the past. */
export const instantToMs = (at: Instant): number => Number(at.seconds) * 1000 + Math.floor(at.nanos / 1e6);

export const isZeroInstant = (at: Instant | undefined): boolean =>
  at === undefined || (at.seconds === zeroInstant.seconds && at.nanos === 0);
