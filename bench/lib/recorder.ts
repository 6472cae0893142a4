/** Collects the samples of a run: one row per measured thing, one column per contestant. */
import { type Summary, summarise } from "./statistics.js";

export interface Row {
  /** What was measured, as a phrase: `create+start, 8 at a time`. */
  readonly what: string;
  readonly unit: string;
  readonly better: "lower" | "higher";
  readonly runtime: string;
  readonly samples: Readonly<Record<string, readonly number[]>>;
}

export interface Recorder {
  add(what: string, unit: string, better: Row["better"], contestant: string, value: number): void;
  readonly rows: readonly Row[];
}

export function createRecorder(runtime: string): Recorder {
  const rows = new Map<string, Row & { readonly samples: Record<string, number[]> }>();
  return {
    add: (what, unit, better, contestant, value) => {
      const known = rows.get(what);
      const row = known ?? { what, unit, better, runtime, samples: {} };
      if (known === undefined) rows.set(what, row);
      const list = row.samples[contestant] ?? [];
      list.push(value);
      row.samples[contestant] = list;
    },
    get rows() {
      return [...rows.values()];
    },
  };
}

export interface ComparedRow extends Omit<Row, "samples"> {
  readonly contestants: Readonly<Record<string, Summary>>;
  /** Median of the rival over median of the reference. */
  readonly ratio: number;
  readonly rival: string;
}

/** One row for each contestant that is not the reference. */
export function compare(rows: readonly Row[], reference: string): ComparedRow[] {
  return rows.flatMap(({ samples, ...row }) => {
    const base = summarise(samples[reference] ?? []);
    return Object.keys(samples)
      .filter((name) => name !== reference)
      .map((rival) => {
        const other = summarise(samples[rival] ?? []);
        return {
          ...row,
          rival,
          contestants: { [reference]: base, [rival]: other },
          ratio: other.median / base.median,
        };
      });
  });
}
