/** containerd.services.namespaces.v1: tenants and their labels. Needs no namespace header. */
import { invalidArgument } from "../core/errors.js";
import { identifierProblem } from "../core/ids.js";
import type {
  Namespace,
  NamespacesServer,
} from "../wire/gen/containerd/services/namespaces/v1/namespaces.js";
import { type ApiDependencies, askOptionsOf } from "./dependencies.js";
import { goQuote } from "./go-quote.js";
import type { CallWrappers } from "./unary.js";
import { type Labels, labelProblem, withoutEmpty } from "./validation.js";

const labelPrefix = "labels.";

/** The namespace as sent, proven fit to be stored. Throws invalid-argument. */
function checkNamespace(namespace: Namespace | undefined): Namespace {
  const { name, labels } = namespace ?? { name: "", labels: {} };
  const problem = identifierProblem(name);
  if (problem !== undefined) throw invalidArgument(problem);
  const label = labelProblem(labels);
  if (label !== undefined) throw invalidArgument(`namespace.Labels: ${label}`);
  return { name, labels };
}

/** Without a mask all labels are replaced; a mask may only name single labels. An empty value deletes. */
function labelChange(requested: Labels, mask: readonly string[]): (current: Labels) => Labels {
  if (mask.length === 0) return () => withoutEmpty(requested);
  const keys = mask.map((path) => {
    if (path.startsWith(labelPrefix)) return path.slice(labelPrefix.length);
    throw invalidArgument(`cannot update ${goQuote(path)} field`, { bare: true });
  });
  const changed = keys.map((key) => [key, Object.hasOwn(requested, key) ? requested[key] : ""] as const);
  return (current) => withoutEmpty(Object.fromEntries([...Object.entries(current), ...changed]) as Labels);
}

export function createNamespacesService(
  { metadata, limits }: ApiDependencies,
  { unary }: CallWrappers,
): NamespacesServer {
  const { quick } = askOptionsOf(limits);

  return {
    // Never not-found: clients read default labels of namespaces that nobody ever made.
    get: unary(async ({ request: { name }, signal }) => {
      const labels = await metadata.ask<Labels>(
        (reply) => ({ kind: "get-namespace", name, reply }),
        quick(signal),
      );
      return { namespace: { name, labels: { ...labels } } };
    }),

    list: unary(async ({ signal }) => {
      const found = await metadata.ask<readonly { readonly name: string; readonly labels: Labels }[]>(
        (reply) => ({ kind: "list-namespaces", reply }),
        quick(signal),
      );
      return { namespaces: found.map(({ name, labels }) => ({ name, labels: { ...labels } })) };
    }),

    create: unary(async ({ request, signal }) => {
      const namespace = checkNamespace(request.namespace);
      const { name } = namespace;
      const labels = withoutEmpty(namespace.labels);
      await metadata.ask<void>((reply) => ({ kind: "create-namespace", name, labels, reply }), quick(signal));
      return { namespace };
    }),

    update: unary(async ({ request, signal }) => {
      const { name, labels: requested } = checkNamespace(request.namespace);
      const change = labelChange(requested, request.updateMask ?? []);
      const labels = await metadata.ask<Labels>(
        (reply) => ({ kind: "update-namespace", name, requested, change, reply }),
        quick(signal),
      );
      return { namespace: { name, labels: { ...labels } } };
    }),

    delete: unary(async ({ request: { name }, signal }) => {
      await metadata.ask<void>((reply) => ({ kind: "delete-namespace", name, reply }), quick(signal));
      return {};
    }),
  };
}
