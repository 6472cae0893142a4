/**
 * The grammar of containerd's filters: `selector("," selector)*`, a selector being `fieldpath [operator value]`.
 * Clients see the error texts, so they are containerd's.
 */
import { invalidArgument } from "../../core/errors.js";
import { Scanner } from "./scanner.js";
import { unquote } from "./unquote.js";

export type Operator = "present" | "==" | "!=" | "~=";

export interface Selector {
  readonly fieldpath: readonly string[];
  readonly operator: Operator;
  readonly value: string;
}

/** All selectors of one filter text. Throws invalid-argument in containerd's words. */
export function parseFilter(input: string): readonly Selector[] {
  return new Parser(input).parse();
}

class Parser {
  readonly #input: string;
  readonly #scanner: Scanner;

  constructor(input: string) {
    this.#input = input;
    this.#scanner = new Scanner(input);
  }

  parse(): readonly Selector[] {
    const selectors = [this.#selector()];
    for (;;) {
      const next = this.#scanner.peek();
      if (next === "") return selectors;
      if (next !== ",") this.#fail(this.#scanner.nextPosition, `unexpected input: ${next}`);
      this.#scanner.scan();
      selectors.push(this.#selector());
    }
  }

  #selector(): Selector {
    const fieldpath = [this.#field()];
    while (this.#scanner.peek() === ".") {
      this.#scanner.scan();
      fieldpath.push(this.#field());
    }
    const next = this.#scanner.peek();
    if (next === "" || next === ",") return { fieldpath, operator: "present", value: "" };
    const operator = this.#operator();
    // Only a regular expression may stand between slashes or pipes.
    return { fieldpath, operator, value: this.#value(operator === "~=") };
  }

  #field(): string {
    const { token, position, text } = this.#scanner.scan();
    if (token === "field") return text;
    if (token === "quoted") return this.#unquote(position, text, false);
    if (token === "illegal") this.#fail(position, this.#scanner.problem);
    return this.#fail(position, "expected field or quoted");
  }

  #operator(): Operator {
    const { token, position, text } = this.#scanner.scan();
    if (token === "operator") {
      if (text === "==" || text === "!=" || text === "~=") return text;
      this.#fail(position, `unsupported operator "${text}"`);
    }
    if (token === "illegal") this.#fail(position, this.#scanner.problem);
    return this.#fail(position, `expected an operator ("=="|"!="|"~=")`);
  }

  #value(anyQuotes: boolean): string {
    const { token, position, text } = this.#scanner.scan();
    if (token === "value" || token === "field") return text;
    if (token === "quoted") return this.#unquote(position, text, anyQuotes);
    if (token === "illegal") this.#fail(position, this.#scanner.problem);
    return this.#fail(position, "expected value or quoted");
  }

  #unquote(position: number, quoted: string, anyQuotes: boolean): string {
    if (!anyQuotes && !quoted.startsWith('"')) this.#fail(position, "invalid quote encountered");
    return unquote(quoted) ?? this.#fail(position, "unquoting failed: quote syntax error");
  }

  #fail(position: number, problem: string): never {
    const bytes = Buffer.from(this.#input);
    const before = bytes.toString("utf8", 0, position);
    const place =
      position < bytes.length
        ? `${before} >|${bytes.toString("utf8", position, position + 1)}|< ${bytes.toString("utf8", position + 1)}`
        : this.#input;
    throw invalidArgument(`filters: parse error: [${place}]: ${problem}`);
  }
}
