import { describe, expect, it } from "vitest";
import { DetachFilter } from "../../../src/cli/terminal.js";

async function filtered(...chunks: readonly string[]): Promise<{ text: string; detached: number }> {
  let detached = 0;
  const filter = new DetachFilter(() => {
    detached += 1;
  });
  const out: Buffer[] = [];
  filter.on("data", (chunk: Buffer) => out.push(chunk));
  for (const chunk of chunks) filter.write(Buffer.from(chunk, "latin1"));
  filter.end();
  await new Promise((done) => filter.once("end", done));
  return { text: Buffer.concat(out).toString("latin1"), detached };
}

describe("the detach keys", () => {
  it("pass everything else on unchanged, in one piece or byte by byte", async () => {
    const bytes = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(255 - byte)).join("");
    expect(await filtered(bytes)).toEqual({ text: bytes, detached: 0 });
    expect((await filtered(...bytes)).text).toBe(bytes);
  });

  it("detach when they come together, even in separate chunks, and swallow what follows", async () => {
    expect(await filtered("ab\u0010\u0011cd", "ef")).toEqual({ text: "ab", detached: 1 });
    expect(await filtered("ab\u0010", "\u0011cd\u0010\u0011")).toEqual({ text: "ab", detached: 1 });
  });

  it("pass a lone ctrl-p on once the next key is known", async () => {
    expect(await filtered("\u0010x\u0010", "\u0010", "\u0011")).toEqual({
      text: "\u0010x\u0010",
      detached: 1,
    });
    expect(await filtered("a\u0010")).toEqual({ text: "a\u0010", detached: 0 });
  });
});
