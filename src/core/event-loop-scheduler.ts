/**
 * The daemon's scheduler: work runs in slices between the phases of Node's event loop. An idle loop starts in
 * a microtask, so a message need not wait a turn; a busy one is cut off after a budget, so that sockets and
 * timers get in. The budget is shared by all slices of one turn: promises that keep waking actors cannot
 * hold the loop.
 */

/** Longest stay in one turn of the event loop; one piece of work may overrun it. */
const defaultSliceMs = 2;

export interface EventLoopScheduler {
  /** Runs `run` later, after everything scheduled before. */
  schedule(run: () => void): void;
  /** Pieces of work that wait. */
  readonly pending: number;
}

/** `sliceMs`: the budget per turn of the event loop, in milliseconds. */
export function createEventLoopScheduler(sliceMs: number = defaultSliceMs): EventLoopScheduler {
  let queue: (() => void)[] = [];
  let head = 0;
  /** A drain is running, or a microtask or immediate for one is on its way. */
  let armed = false;
  /** When the first slice of this turn began; undefined in a turn that has not worked yet. */
  let turnBeganAt: number | undefined;

  const endTurn = (): void => {
    turnBeganAt = undefined;
  };

  const drain = (): void => {
    if (turnBeganAt === undefined) {
      turnBeganAt = performance.now();
      setImmediate(endTurn);
    }
    const deadline = turnBeganAt + sliceMs;
    try {
      while (head < queue.length) {
        const run = queue[head] as () => void;
        head += 1;
        run();
        if (performance.now() >= deadline) break;
      }
    } finally {
      // Also when `run` threw: the rest must not be stranded by one fault.
      if (head === queue.length) {
        queue = [];
        head = 0;
        armed = false;
      } else {
        if (head > 1024) {
          queue = queue.slice(head);
          head = 0;
        }
        setImmediate(drain);
      }
    }
  };

  return {
    get pending() {
      return queue.length - head;
    },
    schedule(run) {
      queue.push(run);
      if (armed) return;
      armed = true;
      // Within the budget a microtask is soonest; past it the loop must turn first.
      if (turnBeganAt === undefined || performance.now() < turnBeganAt + sliceMs) queueMicrotask(drain);
      else setImmediate(drain);
    },
  };
}
