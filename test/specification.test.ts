/** SPECIFICATION.md against the tree: what it says a test or bench shows has to have that test or bench. */
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";

const project = resolve(import.meta.dirname, "..");

interface Promised {
  readonly number: number;
  readonly shownBy: string;
}

/** Rows of the tables: a number first. Cells hold no `|`. */
const rows: readonly Promised[] = readFileSync(join(project, "SPECIFICATION.md"), "utf8")
  .split("\n")
  .filter((line) => /^\|\s*\d+\s*\|/.test(line))
  .map((line) => {
    const cells = line.split("|").map((cell) => cell.trim());
    if (cells.length !== 5 || cells[2] === "") throw new Error(`not number, promise, shown by: ${line}`);
    return { number: Number(cells[1]), shownBy: cells[3] ?? "" };
  });

const isPending = ({ shownBy }: Promised): boolean => /^\*pending\*(: .+)?$/.test(shownBy);
const testReference = /^`(test\/[\w./-]+\.test\.ts)` "([^"]+)"$/;
const benchReference = /^`(bench\/[\w./-]+\.ts)`$/;

const references = rows
  .filter((row) => !isPending(row))
  .flatMap(({ number, shownBy }) =>
    // A semicolon may stand in a title: only one before a path separates.
    shownBy.split(/; (?=`)/).map((text) => ({ number, text })),
  );

/**
 * The titles of a file's tests: a literal that is the first argument of a call with a body, or a scenario's
 * `title`. What a template puts in may be anything.
 */
function titlesOf(source: string): readonly RegExp[] {
  const literal = /(\(|\],|\btitle:)\s*("(?:[^"\\\n]|\\.)*"|`(?:[^`\\]|\\.)*`)\s*,\s*(async\b|\(|\{|)/g;
  const titles: RegExp[] = [];
  for (const match of source.matchAll(literal)) {
    const [, before = "", quoted = "", body = ""] = match;
    if (before !== "title:" && body === "") continue;
    if (/\.(skip|todo|fails)$/.test(source.slice(0, match.index))) continue;
    const pattern = quoted
      .slice(1, -1)
      .split(/\$\{[^}]*\}/)
      .map((text) => text.replaceAll(/\\(.)/g, "$1").replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&"))
      .join(".+");
    titles.push(new RegExp(`^${pattern}$`));
  }
  return titles;
}

const titlesByFile = new Map<string, readonly RegExp[]>();
function hasTitle(file: string, title: string): boolean {
  const titles = titlesByFile.get(file) ?? titlesOf(readFileSync(join(project, file), "utf8"));
  titlesByFile.set(file, titles);
  return titles.some((pattern) => pattern.test(title));
}

describe("the specification", () => {
  it("numbers its promises from 1 without gaps or repetitions", () => {
    expect(rows.length).toBeGreaterThan(0);
    expect(rows.map(({ number }) => number)).toEqual(rows.map((_, index) => index + 1));
  });

  it("says for every promise what shows it, or that it is pending", () => {
    const unclear = references.filter(({ text }) => !testReference.test(text) && !benchReference.test(text));
    expect(unclear).toEqual([]);
  });

  it("names only tests that exist and run", () => {
    const missing = references.filter(({ text }) => {
      const [, file, title] = testReference.exec(text) ?? [];
      if (file === undefined || title === undefined) return false;
      return !existsSync(join(project, file)) || !hasTitle(file, title);
    });
    expect(missing).toEqual([]);
  });

  it("names only benches that exist", () => {
    const missing = references.filter(({ text }) => {
      const [, file] = benchReference.exec(text) ?? [];
      return file !== undefined && !existsSync(join(project, file));
    });
    expect(missing).toEqual([]);
  });

  it("tells a test from other text that quotes its title", () => {
    const titles = titlesOf(
      'it("is here", () => {});\nit.skip("is skipped", () => {});\n// it says "in a comment", so\n' +
        // biome-ignore lint/suspicious/noTemplateCurlyInString: the text of a template in a test file
        "test.each([1])(`gives ${count} back`, async () => {});\nconst x = call('other', 1);\n",
    );
    const has = (title: string): boolean => titles.some((pattern) => pattern.test(title));
    expect(["is here", "gives 7 back"].filter((title) => !has(title))).toEqual([]);
    expect(["is skipped", "in a comment", "other", "gives back"].filter(has)).toEqual([]);
  });
});
