import fc from "fast-check";
import { expect, it } from "vitest";
import { DaemonError } from "../../src/core/errors.js";
import { compileFilters } from "../../src/wire/filter/filter.js";

const piece = fc.constantFrom(
  ..."id labels . , == != ~= = ~ \" / | \\ x u U 7 0 a c1 [ ] ( ) * ^ $ n ' é 🚀".split(" "),
  " ",
  "\n",
  "\0",
  "\ufffd",
  "\u0085",
);

it("any text either compiles or is refused as a parse error; nothing else happens", () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.string({ unit: piece, maxLength: 20 }), fc.string({ unit: "binary" })),
      (text) => {
        try {
          const matches = compileFilters([text]);
          expect(typeof matches((path) => path.join("/"))).toBe("boolean");
        } catch (error) {
          expect(error).toBeInstanceOf(DaemonError);
          expect((error as DaemonError).message).toMatch(/^filters: parse error: \[.*\]: ./s);
        }
      },
    ),
    { numRuns: 2000 },
  );
});

/** A Go string literal, as Go's %q and every client's formatting make it. */
function quote(text: string): string {
  const escaped = text.replace(/[\\"]/g, "\\$&").replace(/\p{C}/gu, (char) => {
    const code = char.codePointAt(0) ?? 0;
    return code > 0xffff
      ? `\\U${code.toString(16).padStart(8, "0")}`
      : `\\u${code.toString(16).padStart(4, "0")}`;
  });
  return `"${escaped.replaceAll("\ufffd", "\\ufffd")}"`;
}

it("a quoted key and value match exactly the object that has them", () => {
  const text = fc.string({ unit: "binary", maxLength: 20 });
  fc.assert(
    fc.property(text, text, text, (key, value, other) => {
      const matches = compileFilters([`labels.${quote(key)}==${quote(value)}`]);
      const object = (path: readonly string[]) => (path[1] === key ? value : undefined);
      expect(matches(object)).toBe(true);
      expect(matches((path) => (path[1] === key ? other : undefined))).toBe(other === value);
      expect(compileFilters([`labels.${quote(key)}!=${quote(value)}`])(object)).toBe(false);
      expect(compileFilters([`labels.${quote(key)}`])(object)).toBe(true);
    }),
    { numRuns: 1000 },
  );
});
