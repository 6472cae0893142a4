import type { TaskKey } from "../core/ids.js";

/** The directory of one task under the daemon's state: config.json, rootfs/, pid files, log. */
export interface BundlePort {
  /** Where the bundle of a task lies, or would. */
  path(key: TaskKey): string;
  /** Makes the bundle with exactly these bytes as config.json; leaves nothing when it fails. Returns its path. */
  create(key: TaskKey, spec: Uint8Array): Promise<string>;
  /** Unmounts what is mounted inside and removes it; a bundle that is gone is fine. */
  remove(key: TaskKey): Promise<void>;
  /** Bundles found on disk. */
  list(): readonly { readonly key: TaskKey; readonly path: string }[];
}
