/** Prints and stores a run: JSON for machines, a markdown table for people. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { MachineFacts } from "./machine.js";
import type { ComparedRow } from "./recorder.js";

const shown = (value: number): string => {
  if (!Number.isFinite(value)) return "–";
  if (Math.abs(value) >= 100) return value.toFixed(0);
  return Math.abs(value) >= 10
    ? value.toFixed(1)
    : value.toFixed(value !== 0 && Math.abs(value) < 0.1 ? 4 : 2);
};

/** How the rival did, in words: `2.10x faster` of a time, `1.30x more` of a rate. */
function verdict(row: ComparedRow): string {
  if (!Number.isFinite(row.ratio)) return "–";
  if (row.ratio <= 0) return row.better === "lower" ? "nothing measurable" : "–";
  const gain = row.better === "lower" ? 1 / row.ratio : row.ratio;
  return gain >= 1 ? `${gain.toFixed(2)}x better` : `${(1 / gain).toFixed(2)}x worse`;
}

export function markdown(machine: MachineFacts, rows: readonly ComparedRow[], reference: string): string {
  const versions = Object.entries(machine.versions).map(([name, version]) => `${name}: ${version}`);
  const head = [
    "# Daemon benches",
    "",
    `${machine.at}; ${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB; Linux ${machine.kernel}; ` +
      `Node ${machine.node}; load at start ${machine.loadAtStart.join(" ")}`,
    "",
    ...versions.map((line) => `- ${line}`),
    "",
    `| runtime | what | unit | ${reference} median | p99 | rival | median | p99 | ratio | |`,
    "|---|---|---|---:|---:|---|---:|---:|---:|---|",
  ];
  const body = rows.map((row) => {
    const base = row.contestants[reference];
    const other = row.contestants[row.rival];
    const cells = [
      ...[row.runtime, row.what, row.unit, shown(base?.median ?? Number.NaN), shown(base?.p99 ?? Number.NaN)],
      ...[row.rival, shown(other?.median ?? Number.NaN), shown(other?.p99 ?? Number.NaN)],
      ...[row.ratio.toFixed(2), verdict(row)],
    ];
    return `| ${cells.join(" | ")} |`;
  });
  return `${[...head, ...body].join("\n")}\n`;
}

/** Writes `daemon-<time>.json` and `.md` into the directory and returns their common path without ending. */
export function storeReport(
  directory: string,
  machine: MachineFacts,
  rows: readonly ComparedRow[],
  reference: string,
): string {
  mkdirSync(directory, { recursive: true });
  const base = join(directory, `daemon-${machine.at.replaceAll(/[:.]/g, "-")}`);
  writeFileSync(`${base}.json`, `${JSON.stringify({ machine, reference, rows }, null, 2)}\n`);
  writeFileSync(`${base}.md`, markdown(machine, rows, reference));
  return base;
}
