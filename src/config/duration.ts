/** Durations as Go writes them: "1h30m", "5s", "100ms". */
const units: ReadonlyArray<readonly [string, number]> = [
  ["h", 3_600_000],
  ["m", 60_000],
  ["s", 1000],
  ["ms", 1],
];
const pattern = /^(?:\d+(?:\.\d+)?(?:h|ms|m|s))+$/;

/** Milliseconds, or undefined for text that is no duration. */
export function parseDuration(text: string): number | undefined {
  if (text === "0") return 0;
  if (!pattern.test(text)) return undefined;
  let total = 0;
  for (const [, number = "", unit = ""] of text.matchAll(/(\d+(?:\.\d+)?)(h|ms|m|s)/g)) {
    total += Number(number) * (units.find(([name]) => name === unit)?.[1] ?? 0);
  }
  return Math.round(total);
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
