/** StorePort in memory, for tests of actors. */
import { alreadyExists, notFound } from "../../src/core/errors.js";
import type { ContainerRecord, LeaseRecord, StorePort } from "../../src/ports/store-port.js";

export function createFakeStore(): StorePort {
  const containers = new Map<string, ContainerRecord>();
  const namespaces = new Map<string, Readonly<Record<string, string>>>();
  const leases = new Map<string, LeaseRecord>();
  const at = (namespace: string, id: string): string => `${namespace}/${id}`;
  const within = <T>(map: Map<string, T>, namespace: string): T[] =>
    [...map].filter(([key]) => key.startsWith(`${namespace}/`)).map(([, value]) => value);
  return {
    uuid: "00000000-0000-4000-8000-000000000000",
    hasContainer: (namespace, id) => containers.has(at(namespace, id)),
    getContainer: (namespace, id) => containers.get(at(namespace, id)),
    listContainers: (namespace) => within(containers, namespace),
    async createContainer(namespace, record) {
      if (containers.has(at(namespace, record.id))) throw alreadyExists(`container "${record.id}"`);
      containers.set(at(namespace, record.id), record);
    },
    async updateContainer(namespace, id, change) {
      const current = containers.get(at(namespace, id));
      if (current === undefined) throw notFound(`container "${id}"`);
      const next = change(current);
      containers.set(at(namespace, id), next);
      return next;
    },
    async deleteContainer(namespace, id) {
      if (!containers.delete(at(namespace, id))) throw notFound(`container ${id}`);
    },
    getNamespace: (name) => namespaces.get(name),
    listNamespaces: () => [...namespaces].map(([name, labels]) => ({ name, labels })),
    async createNamespace(name, labels) {
      if (namespaces.has(name)) throw alreadyExists(`namespace "${name}"`);
      namespaces.set(name, labels);
    },
    async updateNamespace(name, change) {
      const labels = change(namespaces.get(name) ?? {});
      namespaces.set(name, labels);
      return labels;
    },
    async deleteNamespace(name) {
      if (!namespaces.delete(name)) throw notFound(`namespace "${name}"`);
    },
    getLease: (namespace, id) => leases.get(at(namespace, id)),
    listLeases: (namespace) => within(leases, namespace),
    async createLease(namespace, lease) {
      leases.set(at(namespace, lease.id), lease);
    },
    async updateLease(namespace, id, change) {
      const current = leases.get(at(namespace, id));
      if (current === undefined) throw notFound(`lease "${id}"`);
      const next = change(current);
      leases.set(at(namespace, id), next);
      return next;
    },
    async deleteLease(namespace, id) {
      if (!leases.delete(at(namespace, id))) throw notFound(`lease "${id}"`);
    },
    close: async () => undefined,
  };
}
