/** What Containers.Update makes of a stored container: the field mask's rules. */
import { invalidArgument } from "../core/errors.js";
import type { ContainerRecord } from "../ports/store-port.js";
import { goQuote } from "./go-quote.js";
import { type ContainerDraft, checkContainer, withoutEmpty } from "./validation.js";

/** Without a mask these are replaced; everything else must stay as it is. */
const replaceable = ["labels", "spec", "extensions", "image", "snapshotkey"];

const keyUnder = (path: string, prefix: string): string | undefined =>
  path.startsWith(prefix) ? path.slice(prefix.length) : undefined;

/** `map` with the entry of `key` as `from` has it, or without it. */
function withEntry<V>(
  map: Readonly<Record<string, V>>,
  from: Readonly<Record<string, V>>,
  key: string,
): Readonly<Record<string, V>> {
  const others = Object.entries(map).filter(([other]) => other !== key);
  const added = Object.entries(from).filter(([other]) => other === key);
  return Object.fromEntries([...others, ...added]);
}

function applied(draft: ContainerDraft, requested: ContainerDraft, path: string): ContainerDraft {
  const label = keyUnder(path, "labels.");
  if (label !== undefined) return { ...draft, labels: withEntry(draft.labels, requested.labels, label) };
  const extension = keyUnder(path, "extensions.");
  if (extension !== undefined) {
    return { ...draft, extensions: withEntry(draft.extensions, requested.extensions, extension) };
  }
  switch (path) {
    case "labels":
      return { ...draft, labels: requested.labels };
    case "spec":
      return { ...draft, spec: requested.spec };
    case "extensions":
      return { ...draft, extensions: requested.extensions };
    case "image":
      return { ...draft, image: requested.image };
    case "snapshotkey":
      return { ...draft, snapshotKey: requested.snapshotKey };
    default:
      throw invalidArgument(`cannot update ${goQuote(path)} field on ${goQuote(requested.id)}`);
  }
}

/** Throws invalid-argument for an unknown path, an immutable field or an invalid result. */
export function updatedContainer(
  current: ContainerRecord,
  requested: ContainerDraft,
  mask: readonly string[],
): ContainerRecord {
  if (mask.length === 0) {
    if (current.snapshotter !== requested.snapshotter) {
      throw invalidArgument("container.Snapshotter field is immutable");
    }
    if (current.runtime.name !== requested.runtime.name) {
      throw invalidArgument("container.Runtime.Name field is immutable");
    }
  }
  let draft: ContainerDraft = current;
  for (const path of mask.length === 0 ? replaceable : mask) draft = applied(draft, requested, path);
  const valid = checkContainer(draft, "update failed validation");
  return { ...valid, labels: withoutEmpty(valid.labels) };
}
