/** Prometheus text format 0.0.4 of many containers: each family once, with HELP and TYPE. */
import type { Series } from "./metrics-series.js";

export interface Labelled<M> {
  readonly labels: Readonly<Record<string, string>>;
  readonly metrics: M;
}

export function renderSeries<M>(series: readonly Series<M>[], containers: readonly Labelled<M>[]): string {
  const lines: string[] = [];
  const bases = containers.map(({ labels }) => renderLabels(labels));
  for (const { name, help, read } of series) {
    const full = `container_${name}`;
    const before = lines.length;
    containers.forEach(({ metrics }, index) => {
      for (const { value, labels } of read(metrics)) {
        const base = bases[index] ?? "";
        lines.push(`${full}{${labels === undefined ? base : `${base},${renderLabels(labels)}`}} ${value}`);
      }
    });
    if (lines.length > before) lines.splice(before, 0, `# HELP ${full} ${help}`, `# TYPE ${full} gauge`);
  }
  return lines.length === 0 ? "" : `${lines.join("\n")}\n`;
}

const renderLabels = (labels: Readonly<Record<string, string>>): string =>
  Object.entries(labels)
    .map(([name, value]) => `${name}="${escapeLabel(value)}"`)
    .join(",");

/** Backslash, quote and line feed, as the text format demands. */
const escapeLabel = (value: string): string =>
  value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
