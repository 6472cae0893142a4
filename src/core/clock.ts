/** Time as actors see it: real in the daemon, virtual in simulation. */
export interface Clock {
  /** Milliseconds since the Unix epoch, with fraction. */
  now(): number;
  /** Milliseconds on a clock that never steps back; only differences mean anything. */
  monotonicMs(): number;
  /** Calls `fire` once, not before `delayMs` have passed. */
  setTimer(delayMs: number, fire: () => void): Timer;
}

export interface Timer {
  /** Forgets the timer; harmless when it has fired. */
  cancel(): void;
}

export const systemClock: Clock = {
  now: () => performance.timeOrigin + performance.now(),
  monotonicMs: () => performance.now(),
  setTimer: (delayMs, fire) => {
    const handle = setTimeout(fire, delayMs);
    return { cancel: () => clearTimeout(handle) };
  },
};
