import { expect, test } from "vitest";
import { goQuote } from "../../../src/api/go-quote.js";

test.each([
  ["plain é", '"plain é"'],
  ['z"\u0001é\u007f\u200b', '"z\\"\\x01é\\x7f\\u200b"'],
  ["a\n\t\\", '"a\\n\\t\\\\"'],
  ["\u{1f600}\u{e0001}", '"\u{1f600}\\U000e0001"'],
  ["\ud800", '"\\ufffd"'],
])("%j is quoted as Go quotes it", (text, quoted) => {
  expect(goQuote(text)).toBe(quoted);
});
