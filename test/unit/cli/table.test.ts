import { describe, expect, it } from "vitest";
import { formatAge, formatSize, renderTable, shorten } from "../../../src/cli/table.js";

describe("tables", () => {
  it("align columns under their headers, numbers to the right, without trailing blanks", () => {
    expect(
      renderTable(
        ["ID", ">PID", "COMMAND"],
        [
          ["web", "7", "sh"],
          ["longer-name", "12345", ""],
        ],
      ),
    ).toBe("ID             PID  COMMAND\nweb              7  sh\nlonger-name  12345");
  });

  it("consist of the header alone when there are no rows", () => {
    expect(renderTable(["ID", ">PID"], [])).toBe("ID  PID");
  });

  it("let no control character of a container reach the terminal", () => {
    expect(renderTable(["C"], [["a\u001b[2Jb\nc\u009b"]])).toBe("C\na\\x1b[2Jb\\nc\\x9b");
  });

  it("show sizes with three digits at most", () => {
    expect([0, 512, 1024, 1536, 64 * 1024 ** 2, 150.4 * 1024, 5 * 1024 ** 4].map(formatSize)).toEqual([
      "0 B",
      "512 B",
      "1 KiB",
      "1.5 KiB",
      "64 MiB",
      "150 KiB",
      "5 TiB",
    ]);
  });

  it("show ages in the largest unit that is at least one, never negative", () => {
    expect([-5, 59_999, 60_000, 3_599_999, 3_600_000, 90_000_000].map(formatAge)).toEqual([
      "0s",
      "59s",
      "1m",
      "59m",
      "1h",
      "1d",
    ]);
  });

  it("shorten long text with an ellipsis", () => {
    expect(shorten("abcdef", 4)).toBe("abc…");
    expect(shorten("abcd", 4)).toBe("abcd");
  });
});
