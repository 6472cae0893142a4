/**
 * One actor's queue: a bounded normal lane and a priority lane that overtakes it. What is stale (an ask its
 * caller gave up, a cancelled timer, an effect of an earlier incarnation) is skipped when it comes up.
 */
import type { PendingAsk } from "./reply.js";
import { Ring } from "./ring.js";
import type { Lane } from "./types.js";

/** Marks a message as an actor's own; a message whose token has died is stale. */
export interface Token {
  readonly live: boolean;
}

/** Stands for an own message that could not be built: the actor crashes with `error` when it comes up. */
export class Poison implements Token {
  constructor(
    readonly error: unknown,
    readonly of: Token,
  ) {}

  get live(): boolean {
    return this.of.live;
  }
}

export interface Letter {
  readonly message: unknown;
  readonly from: string | undefined;
  readonly ask: PendingAsk | undefined;
  readonly token: Token | undefined;
}

const isStale = (letter: Letter): boolean =>
  letter.ask !== undefined ? letter.ask.settled : letter.token !== undefined && !letter.token.live;

export class Mailbox {
  readonly #normal = new Ring<Letter>();
  #priority: Ring<Letter> | undefined;

  constructor(readonly limit: number) {}

  get depth(): number {
    return this.#normal.length + (this.#priority?.length ?? 0);
  }

  /** True when the normal lane takes no more from outside. */
  get full(): boolean {
    return this.#normal.length >= this.limit;
  }

  push(letter: Letter, lane: Lane): void {
    if (lane === "normal") this.#normal.push(letter);
    else {
      this.#priority ??= new Ring();
      this.#priority.push(letter);
    }
  }

  /** The next letter that is still wanted. */
  shift(): Letter | undefined {
    for (;;) {
      const letter = this.#priority?.shift() ?? this.#normal.shift();
      if (letter === undefined || !isStale(letter)) return letter;
    }
  }

  /** True when nothing wanted is waiting; drops stale letters on its way. */
  idle(): boolean {
    return Mailbox.#trim(this.#priority) && Mailbox.#trim(this.#normal);
  }

  static #trim(ring: Ring<Letter> | undefined): boolean {
    if (ring === undefined) return true;
    for (let head = ring.peek(); head !== undefined; head = ring.peek()) {
      if (!isStale(head)) return false;
      ring.shift();
    }
    return true;
  }
}
