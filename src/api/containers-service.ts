/** containerd.services.containers.v1: stored metadata of containers. Tasks are no concern of it, not even in Delete. */
import { invalidArgument } from "../core/errors.js";
import type { ContainerRecord } from "../ports/store-port.js";
import { adaptContainer } from "../wire/filter/adaptors.js";
import type { ContainersServer } from "../wire/gen/containerd/services/containers/v1/containers.js";
import { updatedContainer } from "./container-update.js";
import { fromContainer, toContainer } from "./convert.js";
import { type ApiDependencies, askOptionsOf } from "./dependencies.js";
import { listFilters } from "./filtering.js";
import type { ApiCall, CallWrappers } from "./unary.js";
import { checkContainer, withoutEmpty } from "./validation.js";

export function createContainersService(
  { metadata, limits }: ApiDependencies,
  { unary, serverStream }: CallWrappers,
): ContainersServer {
  const { quick } = askOptionsOf(limits);

  async function matching({
    request,
    namespace,
    signal,
  }: ApiCall<{ filters: string[] }>): Promise<ContainerRecord[]> {
    const matches = listFilters(request.filters);
    const records = await metadata.ask<readonly ContainerRecord[]>(
      (reply) => ({ kind: "list-containers", namespace, reply }),
      quick(signal),
    );
    return records.filter((record) => matches(adaptContainer(record)));
  }

  return {
    get: unary(async ({ request, namespace, signal }) => {
      const record = await metadata.ask<ContainerRecord>(
        (reply) => ({ kind: "get-container", namespace, id: request.id, reply }),
        quick(signal),
      );
      return { container: toContainer(record) };
    }),

    list: unary(async (call) => ({ containers: (await matching(call)).map(toContainer) })),

    listStream: serverStream(async (call, stream) => {
      for (const record of await matching(call)) {
        if (!stream.write({ container: toContainer(record) })) await stream.drained();
      }
    }),

    create: unary(async ({ request, namespace, signal }) => {
      const draft = fromContainer(request.container);
      const valid = checkContainer(draft, "create container failed validation");
      const record = { ...valid, labels: withoutEmpty(valid.labels) };
      const stored = await metadata.ask<ContainerRecord>(
        (reply) => ({ kind: "create-container", namespace, record, reply }),
        quick(signal),
      );
      return { container: toContainer(stored) };
    }),

    update: unary(async (call) => {
      const requested = fromContainer(call.request.container);
      if (requested.id === "") throw invalidArgument("Container.ID required", { bare: true });
      const { namespace, signal } = call;
      const mask = call.request.updateMask ?? [];
      const stored = await metadata.ask<ContainerRecord>(
        (reply) => ({
          kind: "update-container",
          namespace,
          id: requested.id,
          change: (current) => updatedContainer(current, requested, mask),
          reply,
        }),
        quick(signal),
      );
      return { container: toContainer(stored) };
    }),

    delete: unary(async ({ request, namespace, signal }) => {
      await metadata.ask<void>(
        (reply) => ({ kind: "delete-container", namespace, id: request.id, reply }),
        quick(signal),
      );
      return {};
    }),
  };
}
