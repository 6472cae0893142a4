/**
 * Owns the stored metadata: containers, namespaces, leases. A change is durable before its reply, and its event
 * is published between the two. Reads answer at once from the store's memory map.
 */
import { DaemonError, notFound } from "../../core/errors.js";
import { instantFromMs } from "../../core/exit.js";
import type { Outcome } from "../../core/outcome.js";
import { type DomainEvent, type EventCodec, envelopeOf } from "../../ports/event-codec-port.js";
import type { StorePort } from "../../ports/store-port.js";
import type { JournalMessage } from "../journal/messages.js";
import type { ActorContext, ActorRef, Behavior, Reply } from "../kernel/types.js";
import type { MetadataMessage } from "./messages.js";

export interface MetadataDependencies {
  readonly store: StorePort;
  readonly codec: EventCodec;
  /** Looked up on each use: the journal may have been restarted. */
  readonly journal: () => ActorRef<JournalMessage>;
}

type Settled = { readonly kind: "settled"; readonly finish: () => void };
type Message = MetadataMessage | Settled;
type State = undefined;
type Context = ActorContext<Message>;

export function createMetadataBehavior(deps: MetadataDependencies): Behavior<State, Message> {
  const { store } = deps;

  /** Runs one store write; on success publishes its event, then answers. */
  function write<S, R>(
    ctx: Context,
    reply: Reply<R>,
    run: () => Promise<S>,
    answer: (stored: S) => R,
    event?: (stored: S) => { readonly namespace: string; readonly event: DomainEvent },
  ): void {
    const settle = (outcome: Outcome<S>): Message => ({
      kind: "settled",
      finish: () => {
        if (!outcome.ok) return reply.reject(outcome.error);
        if (event !== undefined) {
          const published = event(outcome.value);
          const at = instantFromMs(ctx.clock.now());
          const envelope = envelopeOf(published.namespace, published.event, deps.codec, at);
          deps.journal().tell({ kind: "publish", envelope, reply: undefined }, ctx.path);
        }
        reply.resolve(answer(outcome.value));
      },
    });
    ctx.perform(run, settle);
  }

  const nothing = (): void => undefined;

  function handle(message: MetadataMessage, ctx: Context): void {
    const now = () => instantFromMs(ctx.clock.now());
    switch (message.kind) {
      case "get-container": {
        const record = store.getContainer(message.namespace, message.id);
        if (record === undefined) {
          const where = `container ${JSON.stringify(message.id)} in namespace ${JSON.stringify(message.namespace)}`;
          return message.reply.reject(notFound(where));
        }
        return message.reply.resolve(record);
      }
      case "list-containers":
        return message.reply.resolve(store.listContainers(message.namespace));
      case "create-container": {
        const at = now();
        const record = { ...message.record, createdAt: at, updatedAt: at };
        return write(
          ctx,
          message.reply,
          () => store.createContainer(message.namespace, record),
          () => record,
          () => ({ namespace: message.namespace, event: { topic: "/containers/create", record } }),
        );
      }
      case "update-container":
        return write(
          ctx,
          message.reply,
          () =>
            store.updateContainer(message.namespace, message.id, (current) => ({
              ...message.change(current),
              updatedAt: now(),
            })),
          (record) => record,
          (record) => ({ namespace: message.namespace, event: { topic: "/containers/update", record } }),
        );
      case "delete-container":
        return write(
          ctx,
          message.reply,
          () => store.deleteContainer(message.namespace, message.id),
          nothing,
          () => ({ namespace: message.namespace, event: { topic: "/containers/delete", id: message.id } }),
        );
      case "get-namespace":
        return message.reply.resolve(store.getNamespace(message.name) ?? {});
      case "list-namespaces":
        return message.reply.resolve(store.listNamespaces());
      case "create-namespace":
        return write(
          ctx,
          message.reply,
          () => store.createNamespace(message.name, message.labels),
          nothing,
          () => ({
            namespace: message.name,
            event: { topic: "/namespaces/create", name: message.name, labels: message.labels },
          }),
        );
      case "update-namespace":
        return write(
          ctx,
          message.reply,
          () => store.updateNamespace(message.name, message.change),
          (labels) => labels,
          () => ({
            namespace: message.name,
            event: { topic: "/namespaces/update", name: message.name, labels: message.requested },
          }),
        );
      case "delete-namespace":
        return write(
          ctx,
          message.reply,
          () => store.deleteNamespace(message.name),
          nothing,
          () => ({ namespace: message.name, event: { topic: "/namespaces/delete", name: message.name } }),
        );
      case "get-lease": {
        const lease = store.getLease(message.namespace, message.id);
        if (lease === undefined) return message.reply.reject(notFound(`lease ${JSON.stringify(message.id)}`));
        return message.reply.resolve(lease);
      }
      case "list-leases":
        return message.reply.resolve(store.listLeases(message.namespace));
      case "create-lease": {
        const lease = { ...message.lease, createdAt: now() };
        return write(
          ctx,
          message.reply,
          () => store.createLease(message.namespace, lease),
          () => lease,
        );
      }
      case "update-lease":
        return write(
          ctx,
          message.reply,
          () => store.updateLease(message.namespace, message.id, message.change),
          (lease) => lease,
        );
      case "delete-lease":
        return write(ctx, message.reply, () => store.deleteLease(message.namespace, message.id), nothing);
      case "uuid":
        return message.reply.resolve(store.uuid);
    }
  }

  return {
    kind: "metadata",
    init: () => undefined,
    handle(state, message, ctx) {
      if (message.kind === "settled") {
        message.finish();
        return state;
      }
      try {
        handle(message, ctx);
      } catch (error) {
        // The store refuses by throwing: an impossible id, a record that does not decode. No reason to crash.
        if (!(error instanceof DaemonError)) throw error;
        message.reply.reject(error);
      }
      return state;
    },
  };
}
