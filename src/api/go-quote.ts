/** Go's %q, in which containerd puts names into its error texts: JSON's quoting differs for what does not print. */

const named: Readonly<Record<string, string>> = {
  '"': '\\"',
  "\\": "\\\\",
  "\u0007": "\\a",
  "\b": "\\b",
  "\f": "\\f",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\v": "\\v",
};
const printable = /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]$/u;
const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, "0");

export function goQuote(text: string): string {
  let quoted = '"';
  for (const char of text) {
    const short = named[char];
    const point = char.codePointAt(0) ?? 0;
    if (short !== undefined) quoted += short;
    else if (printable.test(char)) quoted += char;
    else if (point < 0x20 || point === 0x7f) quoted += `\\x${hex(point, 2)}`;
    else if (point >= 0xd800 && point <= 0xdfff) quoted += "\\ufffd";
    else quoted += point < 0x10000 ? `\\u${hex(point, 4)}` : `\\U${hex(point, 8)}`;
  }
  return `${quoted}"`;
}
