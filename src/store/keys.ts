/**
 * Key layout of metadata.lmdb. Namespaces hold no slash, so a prefix names exactly one of them:
 * `meta/uuid`, `ns/<namespace>`, `container/<namespace>/<id>`, `lease/<namespace>/<id>`, and
 * `had-containers/<namespace>` from a namespace's first container on.
 */
import { invalidArgument } from "../core/errors.js";

/** lmdb's keys have at most 1978 bytes; nothing sensible comes near this. */
const longestIdBytes = 1024;

export type Kind = "container" | "lease";

export const uuidKey = "meta/uuid";
export const namespacePrefix = "ns/";
export const namespaceKey = (namespace: string): string => `${namespacePrefix}${namespace}`;
export const hadContainersKey = (namespace: string): string => `had-containers/${namespace}`;
export const kindPrefix = (kind: Kind, namespace: string): string => `${kind}/${namespace}/`;

export function objectKey(kind: Kind, namespace: string, id: string): string {
  if (Buffer.byteLength(id) > longestIdBytes) {
    throw invalidArgument(
      `${kind} id of ${Buffer.byteLength(id)} bytes is too long, expected at most ${longestIdBytes}`,
    );
  }
  return kindPrefix(kind, namespace) + id;
}

/** Just behind every key with this prefix. */
export const endOf = (prefix: string): string => `${prefix.slice(0, -1)}0`; // "0" follows "/"
