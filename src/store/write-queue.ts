/**
 * Serialises changes and commits them in groups: whatever was asked for while the disk was busy goes into the
 * next commit. When a group fails, its changes are tried one by one, so that one that cannot be stored (a large
 * record on a full disk) does not take the others down.
 */
import { deadlineExceeded, resourceExhausted, toDaemonError, unavailable } from "../core/errors.js";
import { failed, type Outcome, succeeded } from "../core/outcome.js";
import type { CommitThread, WriteOperation } from "./commit-thread.js";

/** What is stored, as the change sees it: earlier changes of the same group included. */
export interface WriteView {
  get(key: string): Buffer | undefined;
  /** Keys from `start` to before `end`, in no particular order. */
  keys(start: string, end: string): readonly string[];
  put(key: string, value: Buffer): void;
  remove(key: string): void;
}

/** Computes and writes through the view; a throw refuses the change and undoes its writes. */
export type Change<T> = (view: WriteView) => T;

export interface StoredState {
  get(key: string): Buffer | undefined;
  keys(start: string, end: string): readonly string[];
  /** What the commit thread has written becomes visible. */
  refresh(): void;
  /** Makes sure that the disk has room; throws resource-exhausted otherwise. */
  cover(operations: readonly WriteOperation[]): void;
}

const maxWaiting = 10_000;
const maxGroup = 256;
/** A disk this slow is broken; the change may still be stored later. */
const writeTimeoutMs = 30_000;

interface Waiting {
  readonly apply: (stage: Stage) => Outcome<unknown>;
  readonly settle: (outcome: Outcome<unknown>) => void;
}

export class WriteQueue {
  readonly #state: StoredState;
  readonly #thread: CommitThread;
  #waiting: Waiting[] = [];
  #draining: Promise<void> | undefined;
  #closed = false;

  constructor(state: StoredState, thread: CommitThread) {
    this.#state = state;
    this.#thread = thread;
  }

  /** Resolves with the change's result once it is on disk. */
  write<T>(change: Change<T>): Promise<T> {
    if (this.#closed) return Promise.reject(unavailable("metadata store is closed"));
    if (this.#waiting.length >= maxWaiting) {
      return Promise.reject(resourceExhausted(`more than ${maxWaiting} metadata writes wait for the disk`));
    }
    return new Promise<T>((resolve, reject) => {
      const timer = setTimeout(
        () => reject(deadlineExceeded(`metadata write is not on disk after ${writeTimeoutMs} ms`)),
        writeTimeoutMs,
      );
      this.#waiting.push({
        apply: (stage) => stage.apply(change),
        settle: (outcome) => {
          clearTimeout(timer);
          // `apply` made the outcome from this very change.
          if (outcome.ok) resolve(outcome.value as T);
          else reject(outcome.error);
        },
      });
      this.#draining ??= this.#drain();
    });
  }

  /** Refuses further writes and waits for those accepted. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#draining;
  }

  async #drain(): Promise<void> {
    // Let the rest of this turn's writes join the first group.
    await new Promise<void>((resolve) => setImmediate(resolve));
    while (this.#waiting.length > 0) {
      const group = this.#waiting.splice(0, maxGroup);
      const done = await this.#commit(group);
      if (!done) for (const single of group) await this.#commit([single]);
    }
    this.#draining = undefined;
  }

  /** True when everything in the group is settled. */
  async #commit(group: readonly Waiting[]): Promise<boolean> {
    const stage = new Stage(this.#state);
    const outcomes = group.map(({ apply }) => apply(stage));
    let failure: unknown;
    const { operations } = stage;
    if (operations.length > 0) {
      try {
        this.#state.cover(operations);
        await this.#thread.commit(operations);
      } catch (error) {
        if (group.length > 1) {
          this.#state.refresh();
          return false;
        }
        failure = error;
      }
      this.#state.refresh();
    }
    for (const [index, { settle }] of group.entries()) {
      const outcome = outcomes[index];
      settle(failure !== undefined || outcome === undefined ? failed(toDaemonError(failure)) : outcome);
    }
    return true;
  }
}

/** Stored state plus the changes of one group. */
class Stage {
  readonly #state: StoredState;
  readonly #writes = new Map<string, Buffer | undefined>();

  constructor(state: StoredState) {
    this.#state = state;
  }

  get operations(): WriteOperation[] {
    return [...this.#writes].map(([key, value]) => ({ key, value }));
  }

  apply<T>(change: Change<T>): Outcome<T> {
    const own = new Map<string, Buffer | undefined>();
    const layers = [own, this.#writes];
    const view: WriteView = {
      get: (key) => {
        const layer = layers.find((writes) => writes.has(key));
        return layer === undefined ? this.#state.get(key) : layer.get(key);
      },
      keys: (start, end) => {
        const keys = new Set(this.#state.keys(start, end));
        for (const [key, value] of [...this.#writes, ...own]) {
          if (key < start || key >= end) continue;
          if (value === undefined) keys.delete(key);
          else keys.add(key);
        }
        return [...keys];
      },
      put: (key, value) => own.set(key, value),
      remove: (key) => own.set(key, undefined),
    };
    let result: T;
    try {
      result = change(view);
    } catch (error) {
      return failed(error);
    }
    for (const [key, value] of own) this.#writes.set(key, value);
    return succeeded(result);
  }
}
