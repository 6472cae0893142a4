/** BundlePort on disk, under `<state>/tasks`. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { ContainerId, Namespace, TaskKey } from "../core/ids.js";
import type { BundlePort } from "../ports/bundle-port.js";
import { bundlePath, createBundle, listBundles, removeBundle } from "../runtime/bundle.js";
import { parseSpec } from "../runtime/spec.js";

export function createBundleStore(state: string): BundlePort {
  const pathOf = ({ namespace, id }: TaskKey): string => bundlePath(state, namespace, id);
  return {
    path: pathOf,
    async create(key, spec) {
      const path = pathOf(key);
      createBundle({ path, config: spec, mappedGid: mappedGidOf(spec) });
      return path;
    },
    remove: (key) => removeBundle(pathOf(key)),
    list() {
      return namespacesIn(state).flatMap((namespace) =>
        listBundles(state, namespace).map((id) => {
          const key = { namespace: namespace as Namespace, id: id as ContainerId }; // names that we made ourselves
          return { key, path: pathOf(key) };
        }),
      );
    },
  };
}

/** A spec that does not parse maps nothing: the runtime will say what is wrong with it. */
function mappedGidOf(spec: Uint8Array): number | undefined {
  try {
    return parseSpec(spec).mappedRoot?.gid;
  } catch {
    return undefined;
  }
}

function namespacesIn(state: string): string[] {
  try {
    return readdirSync(join(state, "tasks")).filter((name) => !name.startsWith("."));
  } catch {
    return [];
  }
}
