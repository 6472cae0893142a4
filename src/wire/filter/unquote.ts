/** Quoted literals of the filter language: Go's escapes between `"`, `/` or `|`. */

const simpleEscapes: Readonly<Record<string, number>> = {
  a: 7,
  b: 8,
  f: 12,
  n: 10,
  r: 13,
  t: 9,
  v: 11,
  "\\": 92,
};
const hexEscapes: Readonly<Record<string, number>> = { x: 2, u: 4, U: 8 };
const highestCodePoint = 0x10ffff;
const quoteCharCode = '"'.charCodeAt(0);

/** The text between the quotes with its escapes resolved, or undefined for what Go calls a quote syntax error. */
export function unquote(quoted: string): string | undefined {
  const bytes = Buffer.from(quoted);
  const quote = bytes[0];
  if (bytes.length < 2 || quote === undefined || quote !== bytes.at(-1)) return undefined;
  const inner = bytes.subarray(1, -1);
  if (!inner.includes(0x5c) && !inner.includes(quote)) return inner.toString();
  const out: Buffer[] = [];
  let at = 0;
  while (at < inner.length) {
    const byte = inner[at] ?? 0;
    if (byte !== 0x5c) {
      // Between slashes and pipes the quote itself may stand unescaped; the scanner never lets it.
      if (byte === quote && quote === quoteCharCode) return undefined;
      out.push(inner.subarray(at, at + 1));
      at++;
      continue;
    }
    const resolved = unescapeAt(inner, at + 1, quote);
    if (resolved === undefined) return undefined;
    out.push(resolved.bytes);
    at = resolved.next;
  }
  return decodeLossless(Buffer.concat(out));
}

function unescapeAt(
  inner: Buffer,
  at: number,
  quote: number,
): { readonly bytes: Buffer; readonly next: number } | undefined {
  const letter = String.fromCharCode(inner[at] ?? 0);
  const simple = simpleEscapes[letter];
  if (simple !== undefined) return { bytes: Buffer.of(simple), next: at + 1 };
  if (inner[at] === quote) return { bytes: Buffer.of(quote), next: at + 1 };
  const hexDigits = hexEscapes[letter];
  if (hexDigits !== undefined) {
    const digits = inner.toString("latin1", at + 1, at + 1 + hexDigits);
    if (digits.length < hexDigits || !/^[0-9A-Fa-f]+$/.test(digits)) return undefined;
    const value = Number.parseInt(digits, 16);
    const next = at + 1 + hexDigits;
    if (letter === "x") return { bytes: Buffer.of(value), next };
    if (value > highestCodePoint) return undefined;
    const surrogate = value >= 0xd800 && value <= 0xdfff;
    return { bytes: Buffer.from(surrogate ? "\ufffd" : String.fromCodePoint(value)), next };
  }
  const octal = inner.toString("latin1", at, at + 3);
  if (!/^[0-7]{3}$/.test(octal)) return undefined;
  const value = Number.parseInt(octal, 8);
  return value > 255 ? undefined : { bytes: Buffer.of(value), next: at + 3 };
}

/**
 * Bytes as text. A byte that is no UTF-8 becomes a lone surrogate, which no field's value contains: the literal
 * then equals nothing, exactly as Go's comparison of bytes has it.
 */
function decodeLossless(bytes: Buffer): string {
  const text = bytes.toString();
  if (Buffer.from(text).equals(bytes)) return text;
  let out = "";
  for (let at = 0; at < bytes.length; ) {
    const length = sequenceLength(bytes[at] ?? 0);
    const piece = bytes.subarray(at, at + length);
    const decoded = piece.toString();
    if (length > 0 && Buffer.from(decoded).equals(piece)) {
      out += decoded;
      at += length;
    } else {
      out += String.fromCharCode(0xdc00 + (bytes[at] ?? 0));
      at++;
    }
  }
  return out;
}

function sequenceLength(lead: number): number {
  if (lead < 0x80) return 1;
  if (lead < 0xc0) return 0;
  if (lead < 0xe0) return 2;
  return lead < 0xf0 ? 3 : 4;
}
