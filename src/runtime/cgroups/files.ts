/**
 * Reading and writing cgroup files. They are small and in memory, so synchronous calls are right: the
 * asynchronous ones cost ten times as much.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** The file's text, or undefined when the cgroup, the controller or the file does not exist. */
export function readCgroupFile(directory: string | undefined, name: string): string | undefined {
  if (directory === undefined) return undefined;
  try {
    // Node reads utf8 in one call into C++, other encodings in several.
    return readFileSync(join(directory, name), "utf8");
  } catch {
    // ENOENT, ENODEV of a cgroup being removed, EOPNOTSUPP of a feature that is switched off: no value.
    return undefined;
  }
}

/** Throws a Node error. */
export function writeCgroupFile(directory: string, name: string, value: string): void {
  writeFileSync(join(directory, name), value);
}

/** The largest u64: how the kernel's `max` is sent. */
export const maxUint64 = 2n ** 64n - 1n;

/** One number; `max` is `whenMax`. Undefined when it is neither. */
export function parseCount(text: string | undefined, whenMax = maxUint64): bigint | undefined {
  const trimmed = text?.trim();
  if (trimmed === "max") return whenMax;
  return trimmed !== undefined && /^\d+$/.test(trimmed) ? BigInt(trimmed) : undefined;
}

/** Lines of `key value`; others are left out. */
export function parseKeyValues(text: string | undefined): Map<string, bigint> {
  const values = new Map<string, bigint>();
  for (const line of text?.split("\n") ?? []) {
    const space = line.indexOf(" ");
    if (space <= 0) continue;
    const count = parseCount(line.slice(space + 1));
    if (count !== undefined) values.set(line.slice(0, space), count);
  }
  return values;
}

/** Names in a cgroup's directory; empty when it is gone. */
export function fileNames(directory: string | undefined): string[] {
  if (directory === undefined) return [];
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
