/**
 * Tokens of containerd's filter language. Positions are byte offsets of the UTF-8 text, because the error texts
 * that clients see quote the input around one byte.
 */
export type Token = "eof" | "quoted" | "value" | "field" | "separator" | "operator" | "illegal" | "other";

export interface ScannedToken {
  readonly token: Token;
  readonly position: number;
  readonly text: string;
}

/** One character: a code point with where it starts, or how the input ends. */
type Char = string | typeof endOfInput | typeof illegalChar;
const endOfInput = Symbol("end of input");
const illegalChar = Symbol("illegal character");

const fieldChar = /^[A-Za-z0-9_]$/;
const operatorChar = /^[=!~]$/;
const quoteChar = /^[/|"]$/;
const separatorChar = /^[,.]$/;
// Go's unicode.IsSpace; JavaScript's \s differs in U+0085 and U+FEFF.
const spaceChar = /^[\t-\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]$/;
const valueChar = /^[\p{L}\p{M}\p{N}\p{P}\p{S}]$/u;

export class Scanner {
  readonly #chars: readonly string[];
  readonly #offsets: readonly number[];
  #index = 0;
  /** Byte offset of the character read last, and of the one to come. */
  #position = 0;
  #expectsValue = false;
  #problem = "";

  constructor(input: string) {
    this.#chars = [...input];
    const offsets = [0];
    let offset = 0;
    for (const char of this.#chars) {
      offset += Buffer.byteLength(char);
      offsets.push(offset);
    }
    this.#offsets = offsets;
  }

  /** What made the first illegal token illegal. */
  get problem(): string {
    return this.#problem;
  }

  /** Byte offset of the next character. */
  get nextPosition(): number {
    return this.#offsets[this.#index] ?? 0;
  }

  /** The next character as it stands, white space included; "" at the end. */
  peek(): string {
    const char = this.#peek();
    if (char === endOfInput) return "";
    return char === illegalChar ? "\ufffd" : char;
  }

  scan(): ScannedToken {
    let char = this.#next();
    while (typeof char === "string" && spaceChar.test(char)) char = this.#next();
    const position = this.#position;
    const begin = this.#index - 1;
    if (char === endOfInput) return { token: "eof", position, text: "" };
    if (char === illegalChar) return { token: "illegal", position, text: "" };
    const token = this.#scanFrom(char);
    return { token, position, text: this.#chars.slice(begin, this.#index).join("") };
  }

  #scanFrom(char: string): Token {
    if (quoteChar.test(char)) return this.#scanQuoted(char) ? "quoted" : "illegal";
    if (separatorChar.test(char)) {
      this.#expectsValue = false;
      return "separator";
    }
    if (operatorChar.test(char)) {
      this.#skipWhile(operatorChar);
      this.#expectsValue = true;
      return "operator";
    }
    if (this.#expectsValue) {
      this.#skipWhile(valueChar, ",");
      this.#expectsValue = false;
      return "value";
    }
    if (fieldChar.test(char)) {
      this.#skipWhile(fieldChar);
      return "field";
    }
    return "other";
  }

  #skipWhile(allowed: RegExp, except?: string): void {
    for (let char = this.#peek(); typeof char === "string"; char = this.#peek()) {
      if (char === except || !allowed.test(char)) return;
      this.#next();
    }
  }

  /** From after the opening quote to after the closing one; false when an escape is illegal or the end is missing. */
  #scanQuoted(quote: string): boolean {
    let legal = true;
    let char = this.#next();
    while (char !== quote) {
      if (char === "\n" || typeof char !== "string") {
        this.#fail("quoted literal not terminated");
        return false;
      }
      if (char === "\\") {
        const resolved = this.#scanEscape(quote);
        char = resolved.next;
        legal = legal && resolved.legal;
      } else {
        char = this.#next();
      }
    }
    return legal;
  }

  #scanEscape(quote: string): { readonly next: Char; readonly legal: boolean } {
    const char = this.#next();
    if (typeof char === "string") {
      if (char === quote || "abfnrtv\\".includes(char)) return { next: this.#next(), legal: true };
      if (/[0-7]/.test(char)) return this.#scanDigits(char, /^[0-7]$/, 3);
      if (char === "x") return this.#scanDigits(this.#next(), /^[0-9A-Fa-f]$/, 2);
      if (char === "u") return this.#scanDigits(this.#next(), /^[0-9A-Fa-f]$/, 4);
      if (char === "U") return this.#scanDigits(this.#next(), /^[0-9A-Fa-f]$/, 8);
    }
    this.#fail("illegal escape sequence");
    return { next: char, legal: false };
  }

  #scanDigits(first: Char, digit: RegExp, count: number): { readonly next: Char; readonly legal: boolean } {
    let char = first;
    let left = count;
    while (left > 0 && typeof char === "string" && digit.test(char)) {
      char = this.#next();
      left--;
    }
    if (left > 0) this.#fail("illegal numeric escape sequence");
    return { next: char, legal: left === 0 };
  }

  #peek(): Char {
    const index = this.#index;
    const position = this.#position;
    const char = this.#next();
    this.#index = index;
    this.#position = position;
    return char;
  }

  #next(): Char {
    this.#position = this.nextPosition;
    const char = this.#chars[this.#index];
    if (char === undefined) return endOfInput;
    this.#index++;
    if (char === "\ufffd") {
      this.#fail("rune error");
      return illegalChar;
    }
    if (char === "\0") {
      this.#fail("unexpected null");
      return illegalChar;
    }
    return char;
  }

  #fail(problem: string): void {
    if (this.#problem === "") this.#problem = problem;
  }
}
