/** Option values as users write them: sizes, processor counts, durations, signals. All throw CliError. */
import { constants } from "node:os";
import type { OciMount } from "../client/spec.js";
import { CliError } from "./cli-error.js";

const sizeUnits: Readonly<Record<string, number>> = {
  "": 1,
  k: 1024,
  m: 1024 ** 2,
  g: 1024 ** 3,
  t: 1024 ** 4,
};

/** `67108864`, `64m`, `64MB`, `64MiB`, `1.5g`: bytes, in powers of 1024. */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$/i.exec(text.trim());
  const bytes =
    match === null ? Number.NaN : Number(match[1]) * (sizeUnits[(match[2] ?? "").toLowerCase()] ?? 1);
  if (!Number.isSafeInteger(Math.floor(bytes)) || bytes < 1)
    throw new CliError(
      `bad size ${JSON.stringify(text)}: expected bytes or a number with k, m, g or t, such as 64m`,
    );
  return Math.floor(bytes);
}

/** runc cannot run init in less; the kernel would kill it before the first instruction. */
const smallestMemoryBytes = 4 * 1024 ** 2;

export function parseMemory(text: string): number {
  const bytes = parseSize(text);
  if (bytes < smallestMemoryBytes)
    throw new CliError(`memory limit ${text} is too small: a container needs at least 4m to start`);
  return bytes;
}

/** A positive number of processors, such as `0.5`. */
export function parseCpus(text: string): number {
  const cpus = Number(text);
  if (text.trim() === "" || !Number.isFinite(cpus) || cpus < 0.01 || cpus > 8192)
    throw new CliError(`bad number of cpus ${JSON.stringify(text)}: expected 0.01 or more, such as 0.5`);
  return cpus;
}

/** A whole number of at least `least`. */
export const parseCount =
  (what: string, least: number) =>
  (text: string): number => {
    const count = Number(text);
    if (!/^\d+$/.test(text) || !Number.isSafeInteger(count) || count < least)
      throw new CliError(`bad ${what} ${JSON.stringify(text)}: expected a whole number, ${least} or more`);
    return count;
  };

/** `10`, `10s`, `500ms`, `2m`, `1h`: milliseconds; a bare number means seconds. */
export function parseDurationMs(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text.trim());
  const unit = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }[match?.[2] ?? "s"] ?? 1_000;
  const ms = Number(match?.[1]) * unit;
  // setTimeout's bound; a longer wait would fire at once.
  if (match === null || ms < 1 || ms > 0x7fff_ffff)
    throw new CliError(`bad duration ${JSON.stringify(text)}: expected seconds or 500ms, 10s, 2m, 1h`);
  return ms;
}

const signalNumbers = constants.signals as Readonly<Record<string, number>>;

/** `KILL`, `sigterm` or a number from 0 to 64. */
export function parseSignal(text: string): number {
  if (/^\d{1,2}$/.test(text) && Number(text) <= 64) return Number(text);
  const name = text.toUpperCase();
  const known = signalNumbers[name.startsWith("SIG") ? name : `SIG${name}`];
  if (known === undefined)
    throw new CliError(`unknown signal ${JSON.stringify(text)}: expected a name such as TERM or a number`);
  return known;
}

/** Adds one `NAME=value`; a bare `NAME` takes the value from our own environment, as everywhere. */
export function collectEnv(text: string, before: readonly string[] = []): readonly string[] {
  const name = text.split("=", 1)[0] ?? "";
  if (name === "" || /[\s\0]/.test(name))
    throw new CliError(`bad environment entry ${JSON.stringify(text)}: expected NAME=value`);
  if (text.includes("=")) return [...before, text];
  const value = process.env[name];
  return value === undefined ? before : [...before, `${name}=${value}`];
}

export const collect = (text: string, before: readonly string[] = []): readonly string[] => [...before, text];

/** Adds one `key=value` label. */
export function collectLabel(
  text: string,
  before: Readonly<Record<string, string>> = {},
): Readonly<Record<string, string>> {
  const at = text.indexOf("=");
  if (at < 1) throw new CliError(`bad label ${JSON.stringify(text)}: expected key=value`);
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
}

/** Adds one bind mount `SOURCE:TARGET[:ro]`. */
export function collectVolume(text: string, before: readonly OciMount[] = []): readonly OciMount[] {
  const [source = "", destination = "", mode = "rw", ...more] = text.split(":");
  if (!source.startsWith("/") || !destination.startsWith("/") || more.length > 0 || !/^(ro|rw)$/.test(mode))
    throw new CliError(`bad volume ${JSON.stringify(text)}: expected /SOURCE:/TARGET or /SOURCE:/TARGET:ro`);
  return [...before, { destination, type: "bind", source, options: ["rbind", mode] }];
}
