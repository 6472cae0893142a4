/**
 * containerd.services.leases.v1: records that clients make around their work. There is no garbage to collect here,
 * so a lease protects nothing: it is kept, listed and deleted, with the references that were put into it.
 */
import { randomBytes } from "node:crypto";
import { invalidArgument, unimplemented, unknownError } from "../core/errors.js";
import { instantFromMs, zeroInstant } from "../core/exit.js";
import type { Namespace } from "../core/ids.js";
import type { LeaseRecord } from "../ports/store-port.js";
import { adaptLease } from "../wire/filter/adaptors.js";
import type { LeasesServer, Resource } from "../wire/gen/containerd/services/leases/v1/leases.js";
import { toLease } from "./convert.js";
import { type ApiDependencies, askOptionsOf } from "./dependencies.js";
import { listFilters } from "./filtering.js";
import type { CallWrappers } from "./unary.js";
import { digestProblem, withoutEmpty } from "./validation.js";

/** Throws what containerd answers for a reference that a lease cannot hold. */
function checkResource({ id, type }: Resource): void {
  const parts = type.split("/");
  switch (parts[0]) {
    case "content":
    case "ingests":
    case "images": {
      if (parts.length !== 1) throw invalidArgument(`invalid resource type ${type}`);
      const problem = parts[0] === "content" ? digestProblem(id) : undefined;
      if (problem !== undefined) throw invalidArgument(`invalid content resource id ${id}: ${problem}`);
      return;
    }
    case "snapshots":
      if (parts.length !== 2) throw invalidArgument(`invalid snapshot resource type ${type}`);
      return;
    default:
      throw unimplemented(`resource type ${type} not supported yet`);
  }
}

/** What its database answers containerd for empty keys. */
function checkKeys({ id, type }: Resource): void {
  if (type === "snapshots/") throw unknownError("bucket name required", { bare: true });
  if (id === "") throw unknownError("key required", { bare: true });
}

const same = (a: Resource, b: Resource): boolean => a.id === b.id && a.type === b.type;

const byteOrder = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));
const resourceOrder = (a: Resource, b: Resource): number =>
  byteOrder(a.type, b.type) || byteOrder(a.id, b.id);

export function createLeasesService(
  { metadata, limits, clock }: ApiDependencies,
  { unary }: CallWrappers,
): LeasesServer {
  const { quick } = askOptionsOf(limits);

  const generatedId = (): string => {
    const { nanos } = instantFromMs(clock.now());
    return `${nanos}-${randomBytes(3).toString("base64url")}`;
  };

  const changeLease = (
    namespace: Namespace,
    id: string,
    change: (current: LeaseRecord) => LeaseRecord,
    signal: AbortSignal,
  ): Promise<LeaseRecord> =>
    metadata.ask((reply) => ({ kind: "update-lease", namespace, id, change, reply }), quick(signal));

  return {
    create: unary(async ({ request, namespace, signal }) => {
      const lease: LeaseRecord = {
        id: request.id === "" ? generatedId() : request.id,
        createdAt: zeroInstant,
        labels: withoutEmpty(request.labels),
        resources: [],
      };
      const stored = await metadata.ask<LeaseRecord>(
        (reply) => ({ kind: "create-lease", namespace, lease, reply }),
        quick(signal),
      );
      return { lease: toLease(stored) };
    }),

    // `sync` asks to wait for the garbage collector, which there is none of.
    delete: unary(async ({ request, namespace, signal }) => {
      await metadata.ask<void>(
        (reply) => ({ kind: "delete-lease", namespace, id: request.id, reply }),
        quick(signal),
      );
      return {};
    }),

    list: unary(async ({ request, namespace, signal }) => {
      const matches = listFilters(request.filters);
      const leases = await metadata.ask<readonly LeaseRecord[]>(
        (reply) => ({ kind: "list-leases", namespace, reply }),
        quick(signal),
      );
      return { leases: leases.filter((lease) => matches(adaptLease(lease))).map(toLease) };
    }),

    // The checks run inside the change: an unknown lease is answered before a bad reference.
    addResource: unary(async ({ request, namespace, signal }) => {
      const resource = request.resource ?? { id: "", type: "" };
      const add = (lease: LeaseRecord): LeaseRecord => {
        checkResource(resource);
        checkKeys(resource);
        const others = lease.resources.filter((other) => !same(other, resource));
        return { ...lease, resources: [...others, resource].sort(resourceOrder) };
      };
      await changeLease(namespace, request.id, add, signal);
      return {};
    }),

    deleteResource: unary(async ({ request, namespace, signal }) => {
      const resource = request.resource ?? { id: "", type: "" };
      const remove = (lease: LeaseRecord): LeaseRecord => {
        checkResource(resource);
        return { ...lease, resources: lease.resources.filter((other) => !same(other, resource)) };
      };
      await changeLease(namespace, request.id, remove, signal);
      return {};
    }),

    listResources: unary(async ({ request, namespace, signal }) => {
      const lease = await metadata.ask<LeaseRecord>(
        (reply) => ({ kind: "get-lease", namespace, id: request.id, reply }),
        quick(signal),
      );
      return { resources: lease.resources.map(({ id, type }) => ({ id, type })) };
    }),
  };
}
