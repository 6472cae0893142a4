/** Counts open calls, so that a shutdown can refuse new ones and wait for those that end by themselves. */
export interface CallTracker {
  /** How to say that the call is over; undefined when no more calls are taken. */
  begin(subscription: boolean): (() => void) | undefined;
  /** From now on calls are refused. Resolves when none is open, subscriptions aside, or `graceMs` have passed. */
  drain(graceMs: number): Promise<void>;
  readonly draining: boolean;
  /** Open calls, subscriptions included. */
  readonly open: number;
}

export function createCallTracker(): CallTracker {
  let finite = 0;
  let subscriptions = 0;
  let draining = false;
  const idle = new Set<() => void>();
  return {
    get draining() {
      return draining;
    },
    get open() {
      return finite + subscriptions;
    },
    begin(subscription) {
      if (draining) return undefined;
      if (subscription) {
        subscriptions += 1;
        return () => {
          subscriptions -= 1;
        };
      }
      finite += 1;
      return () => {
        finite -= 1;
        if (finite === 0) for (const resolve of [...idle]) resolve();
      };
    },
    async drain(graceMs) {
      draining = true;
      if (finite === 0) return;
      await new Promise<void>((resolve) => {
        const done = (): void => {
          clearTimeout(timer);
          idle.delete(done);
          resolve();
        };
        const timer = setTimeout(done, graceMs);
        idle.add(done);
      });
    },
  };
}
