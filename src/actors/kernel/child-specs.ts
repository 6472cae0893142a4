/** Checks child specs before anything is made of them, so that a refused one leaves nothing behind. */
import { alreadyExists, invalidArgument } from "../../core/errors.js";
import type { ChildSpec } from "./types.js";

/** Throws invalid-argument for an empty or doubled id or a senseless number, already-exists for a path in `taken`. */
export function checkChildren(
  parentPath: string,
  children: readonly ChildSpec[],
  taken: { has(path: string): boolean },
): void {
  const seen = new Set<string>();
  for (const { id, start, shutdownMs } of children) {
    const path = `${parentPath}/${id}`;
    if (id === "") throw invalidArgument(`a child of ${parentPath} has an empty id`);
    if (seen.has(id)) throw invalidArgument(`two children of ${parentPath} are called ${id}`);
    if (taken.has(path)) throw alreadyExists(`actor ${path}`);
    if (!(shutdownMs >= 0)) throw invalidArgument(`child ${path}: a shutdown budget of ${shutdownMs} ms`);
    seen.add(id);
    if (start.type === "supervisor") checkChildren(path, start.children, taken);
  }
}
