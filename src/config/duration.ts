/** Durations as Go writes them: "1h30m", "5s", "100ms". */
const units: ReadonlyArray<readonly [string, number]> = [
  ["h", 3_600_000],
  ["m", 60_000],
  ["s", 1000],
  ["ms", 1],
];
/** Read but never printed: too fine for anything that waits here. */
const finerUnits: ReadonlyArray<readonly [string, number]> = [
  ["us", 1e-3],
  ["µs", 1e-3],
  ["ns", 1e-6],
];
const sizes = new Map([...units, ...finerUnits]);
const part = String.raw`(\d+(?:\.\d*)?|\.\d+)(h|ms|m|s|us|µs|ns)`;
const whole = new RegExp(`^(?:${part})+$`);
const parts = new RegExp(part, "g");

/** Milliseconds, or undefined for text that is no duration. */
export function parseDuration(text: string): number | undefined {
  if (text === "0") return 0;
  if (!whole.test(text)) return undefined;
  let total = 0;
  for (const [, number = "", unit = ""] of text.matchAll(parts)) {
    total += Number(number) * (sizes.get(unit) ?? 0);
  }
  // What is above zero must not become "no time at all".
  return Math.round(total) || (total > 0 ? 1 : 0);
}

export function formatDuration(milliseconds: number): string {
  if (milliseconds === 0) return "0s";
  let rest = milliseconds;
  let text = "";
  for (const [unit, size] of units) {
    const count = Math.floor(rest / size);
    if (count > 0) text += `${count}${unit}`;
    rest -= count * size;
  }
  return text;
}
