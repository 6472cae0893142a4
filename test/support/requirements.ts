/** What a suite needs of the machine; a suite that cannot run says so loudly instead of passing in silence. */
import { execFileSync } from "node:child_process";
import { describe } from "vitest";

function missing(tools: readonly string[]): string | undefined {
  if (process.getuid?.() !== 0) return "needs root";
  for (const tool of tools) {
    try {
      execFileSync(tool, ["--version"], { stdio: "ignore" });
    } catch {
      return `needs ${tool}`;
    }
  }
  return undefined;
}

/** `describe`, skipped with a warning when not root or when a tool is not installed. */
export function describeWith(tools: readonly string[], suite: string, body: () => void): void {
  const reason = missing(tools);
  if (reason !== undefined) console.warn(`SKIPPED: ${suite}: ${reason}`);
  describe.skipIf(reason !== undefined)(suite, body);
}
