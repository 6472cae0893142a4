/** Which fields of which objects filters can see: containerd's list. An empty string counts as absent. */
import type { ContainerRecord, LeaseRecord } from "../../ports/store-port.js";
import type { Adaptor } from "./filter.js";

type Labels = Readonly<Record<string, string>>;

const present = (text: string): string | undefined => (text === "" ? undefined : text);

/** A label's value: the rest of the path, joined by dots, is its key, so `labels.a.b` is `labels."a.b"`. */
export function labelField(labels: Labels, rest: readonly string[]): string | undefined {
  const key = rest.join(".");
  return Object.hasOwn(labels, key) ? labels[key] : undefined;
}

export const adaptContainer =
  (container: ContainerRecord): Adaptor =>
  ([field, ...rest]) => {
    switch (field) {
      case "id":
        return present(container.id);
      case "runtime":
        return rest[0] === "name" ? present(container.runtime.name) : undefined;
      case "image":
        return present(container.image);
      case "labels":
        return labelField(container.labels, rest);
      default:
        return undefined;
    }
  };

export const adaptLease =
  (lease: Pick<LeaseRecord, "id" | "labels">): Adaptor =>
  ([field, ...rest]) => {
    if (field === "id") return present(lease.id);
    return field === "labels" ? labelField(lease.labels, rest) : undefined;
  };

export const adaptNamespace =
  (namespace: { readonly name: string; readonly labels: Labels }): Adaptor =>
  ([field, ...rest]) => {
    if (field === "name") return present(namespace.name);
    return field === "labels" ? labelField(namespace.labels, rest) : undefined;
  };

export const adaptPlugin =
  (plugin: { readonly type: string; readonly id: string }): Adaptor =>
  ([field]) => {
    if (field === "type") return present(plugin.type);
    return field === "id" ? present(plugin.id) : undefined;
  };

/** The task as Tasks.Metrics filters see it. */
export const adaptTask =
  (task: { readonly id: string; readonly namespace: string }): Adaptor =>
  ([field]) => {
    if (field === "id") return task.id;
    return field === "namespace" ? task.namespace : undefined;
  };
