/** Takes out of a text or a message what differs from run to run, so that two daemons can be compared. */
import type { Daemon } from "./daemon.js";

export interface NormaliseContext {
  readonly daemon: Daemon;
  readonly namespace: string;
}

export interface TextRules {
  /** Columns are aligned to their widest entry: runs of blanks become one. */
  readonly table?: boolean;
  /** Every whole number of two or more digits is a pid or a measurement. */
  readonly numbers?: boolean;
}

const times: readonly [RegExp, string][] = [
  [/\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?(Z|UTC|[+-]\d\d:?\d\d( \w+)?))?/g, "<time>"],
  [/\b0x[0-9a-f]{6,}\b/g, "<pointer>"],
];

/** Directory of a task's bundle: where it lies below the state directory is the daemon's own affair. */
const bundlePath = (daemon: Daemon, namespace: string): RegExp =>
  new RegExp(`${escapeRegExp(daemon.state)}/[\\w./-]*?/${escapeRegExp(namespace)}/`, "g");

const escapeRegExp = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

export function normaliseText(text: string, context: NormaliseContext, rules: TextRules = {}): string {
  const { daemon, namespace } = context;
  let result = text
    .replace(bundlePath(daemon, namespace), "<bundles>/")
    .replaceAll(daemon.address, "<socket>")
    .replaceAll(daemon.state, "<state>")
    .replaceAll(daemon.root, "<root>")
    .replaceAll(daemon.workspace.directory, "<workspace>")
    .replaceAll(namespace, "<namespace>")
    .replace(/<workspace>\/f\d+\/(\d+\/)?/g, "<fifos>/");
  for (const [pattern, placeholder] of times) result = result.replace(pattern, placeholder);
  if (rules.numbers === true) result = result.replace(/\b\d{2,}\b/g, "<n>");
  if (rules.table === true) result = result.replace(/[ \t]+/g, " ").replace(/ $/gm, "");
  return result;
}

const isMessage = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array);

/** A decoded message with pids, times and byte fields reduced to what must agree. */
export function normaliseMessage(value: unknown, context: NormaliseContext, key = ""): unknown {
  if (typeof value === "string") return normaliseText(value, context);
  if (typeof value === "number" && /pid$/i.test(key)) return value > 0 ? "<pid>" : value;
  if (typeof value === "bigint") return value.toString();
  if (value instanceof Uint8Array) return `<${value.length === 0 ? "no bytes" : "bytes"}>`;
  if (Array.isArray(value)) return value.map((item) => normaliseMessage(item, context, key));
  if (value instanceof Map) return normaliseMessage(Object.fromEntries(value), context, key);
  if (!isMessage(value)) return value;
  const keys = Object.keys(value);
  if (keys.length === 2 && "seconds" in value && "nanos" in value) {
    if (value.seconds === -62135596800n) return "<zero time>";
    return value.seconds === 0n ? "<epoch>" : "<time>";
  }
  const entries = keys
    .filter((name) => !name.startsWith("$"))
    .map((name) => [name, normaliseMessage(value[name], context, name)] as const);
  return Object.fromEntries(entries);
}
