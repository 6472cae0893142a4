/**
 * The way to a container's actor: `containers/<namespace>/<id>`, started on demand under its namespace's
 * supervisor. Runs in the sender's turn, so an actor cannot end between being found and being sent to.
 */
import type { Clock } from "../../core/clock.js";
import { cancelled, DaemonError, deadlineExceeded } from "../../core/errors.js";
import { type Namespace, type TaskKey, taskKeyString } from "../../core/ids.js";
import { type ContainerMessage, createContainerBehavior } from "../container/container-actor.js";
import type { ContainerDependencies } from "../container/dependencies.js";
import type { JournalMessage } from "../journal/messages.js";
import type { ActorRef, AskOptions, Reply, SupervisorRef } from "../kernel/types.js";
import type { ContainerDirectory } from "./directory.js";

export interface DirectoryOptions {
  readonly clock: Clock;
  /** The supervisor `containers`; looked up on each use. */
  readonly supervisor: () => SupervisorRef;
  readonly dependencies: ContainerDependencies;
  readonly journal: () => ActorRef<JournalMessage>;
  /** Keys of the tasks that shims have. */
  readonly hostedKeys: () => Iterable<string>;
  readonly mailboxLimit: number;
  readonly intensity: number;
  readonly periodMs: number;
}

/** A promise for an acknowledgement that several actors pass along. Rejects deadline-exceeded in time. */
function acknowledged(
  clock: Clock,
  { timeoutMs, signal }: AskOptions,
  send: (reply: Reply<void>) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let settled = false;
    const settle = (finish: () => void): void => {
      if (settled) return;
      settled = true;
      timer?.cancel();
      signal?.removeEventListener("abort", onAbort);
      finish();
    };
    const onAbort = (): void => settle(() => reject(cancelled("the sender of the event has gone")));
    const onTimeout = (): void =>
      settle(() => reject(deadlineExceeded(`event not stored within ${timeoutMs} ms`)));
    const timer = timeoutMs === "none" ? undefined : clock.setTimer(timeoutMs, onTimeout);
    signal?.addEventListener("abort", onAbort, { once: true });
    send({
      get settled() {
        return settled;
      },
      resolve: () => settle(resolve),
      reject: (error) => settle(() => reject(error)),
    });
  });
}

/** Beyond it the actor crashes on everything, and its supervisor is about to give up too. */
const waitAttempts = 5;
/** Milliseconds a container actor has for its last message when the daemon stops; it owns nothing outside. */
const shutdownMs = 1000;

export interface RunningDirectory extends ContainerDirectory {
  /** Starts the actor of a task that a shim was found to have. */
  wake(key: TaskKey): void;
}

export function createContainerDirectory(options: DirectoryOptions): RunningDirectory {
  function namespaceSupervisor(namespace: Namespace): SupervisorRef {
    const parent = options.supervisor();
    const existing = parent.child(namespace);
    if (existing !== undefined) return existing as SupervisorRef;
    return parent.startSupervisor({
      id: namespace,
      start: {
        type: "supervisor",
        strategy: "one-for-one",
        intensity: options.intensity,
        periodMs: options.periodMs,
        children: [],
      },
      restart: "permanent",
      shutdownMs: shutdownMs * 2,
    });
  }

  function live(key: TaskKey): ActorRef<ContainerMessage> | undefined {
    const supervisor = options.supervisor().child(key.namespace) as SupervisorRef | undefined;
    return supervisor?.child(key.id) as ActorRef<ContainerMessage> | undefined;
  }

  function liveOrStarted(key: TaskKey): ActorRef<ContainerMessage> {
    const found = live(key);
    if (found !== undefined) return found;
    return namespaceSupervisor(key.namespace).startActor<ContainerMessage>({
      id: key.id,
      start: {
        type: "actor",
        behavior: createContainerBehavior(options.dependencies, key),
        mailboxLimit: options.mailboxLimit,
      },
      restart: "transient",
      shutdownMs,
    });
  }

  /** Runs in the caller's turn, so a refusal to start an actor is a throw here and a rejection there. */
  async function send<T>(key: TaskKey, request: object, askOptions: AskOptions): Promise<T> {
    return liveOrStarted(key).ask<T>(
      (reply) => ({ ...request, reply }) as unknown as ContainerMessage,
      askOptions,
    );
  }

  /** A wait outlives the crash of its actor: it is simply asked again, while there is an actor to ask. */
  async function wait<T>(key: TaskKey, request: object, askOptions: AskOptions): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await send<T>(key, request, askOptions);
      } catch (error) {
        const crashed = error instanceof DaemonError && error.kind === "unavailable";
        if (!crashed || attempt === waitAttempts) throw error;
      }
    }
  }

  return {
    ask: (key, request, askOptions) => (request.kind === "wait" ? wait : send)(key, request, askOptions),
    shimEvent(key, event, askOptions) {
      // Not an ask of the actor: it may end, the task being gone, before the journal has the event.
      return acknowledged(options.clock, askOptions, (reply) => {
        const actor = live(key);
        if (actor !== undefined) return actor.tell({ ...event, reply }, askOptions.from);
        // No task here: the delete of one that is gone already, say. Subscribers still want to hear of it.
        const stored = options
          .journal()
          .ask<bigint>(
            (stored) => ({ kind: "publish", envelope: event.envelope, reply: stored }),
            askOptions,
          );
        stored.then(() => reply.resolve(), reply.reject);
      });
    },
    tasks(namespace) {
      const prefix = `${namespace}/`;
      const ids: TaskKey[] = [];
      for (const text of options.hostedKeys()) {
        if (text.startsWith(prefix)) ids.push({ namespace, id: text.slice(prefix.length) as TaskKey["id"] });
      }
      return ids.sort((a, b) => (taskKeyString(a) < taskKeyString(b) ? -1 : 1));
    },
    wake(key) {
      liveOrStarted(key);
    },
  };
}
