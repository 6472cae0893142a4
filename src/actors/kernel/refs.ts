/** The handles that leave the kernel. A handle shows a path and nothing else: the cell behind it stays private. */
import type { DaemonError } from "../../core/errors.js";
import { toDaemonError } from "../../core/errors.js";
import type { ActorCell } from "./actor-cell.js";
import type { Cell } from "./cell.js";
import { abortError, PendingAsk } from "./reply.js";
import type { SupervisorCell } from "./supervisor-cell.js";
import type {
  ActorRef,
  ActorSpec,
  AnyActorRef,
  AskOptions,
  ChildSpec,
  Reply,
  SupervisorRef,
  SupervisorSpec,
} from "./types.js";

export class ActorHandle<M> implements ActorRef<M> {
  readonly path: string;
  readonly #cell: ActorCell;

  constructor(cell: ActorCell) {
    this.#cell = cell;
    this.path = cell.path;
  }

  static cellOf(ref: AnyActorRef): ActorCell | undefined {
    return #cell in ref ? ref.#cell : undefined;
  }

  tell(message: M, from?: string): void {
    this.#cell.tell(message, from);
  }

  ask<T>(build: (reply: Reply<T>) => M, options: AskOptions): Promise<T> {
    return new Promise<T>((resolve, reject: (error: DaemonError) => void) => {
      if (options.signal?.aborted) {
        reject(abortError(options.signal));
        return;
      }
      const cell = this.#cell;
      const pending = new PendingAsk(cell.runtime, this.path, resolve as (value: unknown) => void, reject);
      let message: M;
      try {
        message = build(pending);
      } catch (error) {
        pending.reject(toDaemonError(error));
        return;
      }
      if (!pending.settled) cell.ask(message, pending, options);
    });
  }
}

export class SupervisorHandle implements SupervisorRef {
  readonly path: string;
  readonly #cell: SupervisorCell;

  constructor(cell: SupervisorCell) {
    this.#cell = cell;
    this.path = cell.path;
  }

  static cellOf(ref: AnyActorRef): SupervisorCell | undefined {
    return #cell in ref ? ref.#cell : undefined;
  }

  startActor<M>(child: ChildSpec & { readonly start: ActorSpec<unknown, M> }): ActorRef<M> {
    return this.#cell.startChild(child).ref as ActorRef<M>;
  }

  startSupervisor(child: ChildSpec & { readonly start: SupervisorSpec }): SupervisorRef {
    return this.#cell.startChild(child).ref as SupervisorRef;
  }

  stopChild(id: string): Promise<void> {
    return this.#cell.stopChild(id);
  }

  child(id: string): AnyActorRef | undefined {
    return this.#cell.children.get(id)?.ref;
  }

  childIds(): readonly string[] {
    return [...this.#cell.children.keys()];
  }
}

export const cellOf = (ref: AnyActorRef): Cell | undefined =>
  ActorHandle.cellOf(ref) ?? SupervisorHandle.cellOf(ref);
