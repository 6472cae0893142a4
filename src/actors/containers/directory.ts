/**
 * Finds the actor of a container, starting it when it is needed: the only way in for the API and for events.
 */
import type { Namespace, TaskKey } from "../../core/ids.js";
import type { ContainerRequest, ShimEvent } from "../container/messages.js";
import type { AskOptions, Reply } from "../kernel/types.js";

/** A request as its sender writes it: the directory adds the reply. */
export type WithoutReply<M> = M extends unknown ? Omit<M, "reply"> : never;
export type ReplyOf<M> = M extends { readonly reply: Reply<infer T> } ? T : never;
type RequestOfKind<K extends ContainerRequest["kind"]> = Extract<ContainerRequest, { readonly kind: K }>;

export interface ContainerDirectory {
  /**
   * Sends one request to the container's actor. Rejects not-found in containerd's words for an unknown
   * container or task; other errors come from the actor.
   */
  ask<K extends ContainerRequest["kind"]>(
    key: TaskKey,
    request: WithoutReply<RequestOfKind<K>> & { readonly kind: K },
    options: AskOptions,
  ): Promise<ReplyOf<RequestOfKind<K>>>;
  /** Hands a shim's event to the actor of its container; resolves when it is stored. */
  shimEvent(key: TaskKey, event: WithoutReply<ShimEvent>, options: AskOptions): Promise<void>;
  /** Containers of a namespace that have a task, in id order. */
  tasks(namespace: Namespace): readonly TaskKey[];
}
