/** Compiled filters: any of the texts may match, all selectors of one text must. */
import { RE2JS } from "re2js";
import { parseFilter, type Selector } from "./parser.js";

/** Looks a field up in one object; undefined when the object has no such field. */
export type Adaptor = (fieldpath: readonly string[]) => string | undefined;
export type Filter = (adaptor: Adaptor) => boolean;

const matchAll: Filter = () => true;

/**
 * Compiles a request's filters. No filters, or an empty one among them, match everything; a regular expression
 * that does not compile matches nothing. Throws invalid-argument with containerd's text for a syntax error.
 */
export function compileFilters(filters: readonly string[]): Filter {
  if (filters.length === 0) return matchAll;
  // Every text is parsed, also beside one that matches everything: a syntax error is reported either way.
  const compiled = filters.map((text) => (text === "" ? matchAll : compileOne(text)));
  if (compiled.includes(matchAll)) return matchAll;
  if (compiled.length === 1 && compiled[0] !== undefined) return compiled[0];
  return (adaptor) => compiled.some((filter) => filter(adaptor));
}

function compileOne(text: string): Filter {
  const tests = parseFilter(text).map(compileSelector);
  return (adaptor) => tests.every((test) => test(adaptor));
}

function compileSelector({ fieldpath, operator, value }: Selector): Filter {
  switch (operator) {
    case "present":
      return (adaptor) => adaptor(fieldpath) !== undefined;
    case "==":
      return (adaptor) => adaptor(fieldpath) === value;
    case "!=":
      // A missing field counts as empty here, though it equals nothing above.
      return (adaptor) => (adaptor(fieldpath) ?? "") !== value;
    case "~=": {
      const matches = compilePattern(value);
      return (adaptor) => matches(adaptor(fieldpath) ?? "");
    }
  }
}

// What dockerd and ctr send is a literal with or without an anchor; it needs no engine.
const plainPattern = /^(\^?)([A-Za-z0-9/_-]*)$/;

function compilePattern(pattern: string): (text: string) => boolean {
  const plain = plainPattern.exec(pattern);
  if (plain !== null) {
    const literal = plain[2] ?? "";
    return plain[1] === "^" ? (text) => text.startsWith(literal) : (text) => text.includes(literal);
  }
  try {
    const compiled = RE2JS.compile(pattern);
    return (text) => compiled.matcher(text).find();
  } catch {
    return () => false;
  }
}
