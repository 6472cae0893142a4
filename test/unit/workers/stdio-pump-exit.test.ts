import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type BuiltWorker, buildWorker } from "../../support/build-worker.js";

describe("a process with a pump thread asleep in epoll", () => {
  let worker: BuiltWorker;
  beforeAll(async () => {
    worker = await buildWorker("workers/stdio-pump.worker.ts");
  });
  afterAll(() => worker.remove());

  it.each([
    ["process.exit", 7],
    ["an uncaught error", 1],
    ["nothing left to do", 0],
  ])(
    "ends at once by %s",
    async (how, status) => {
      const script = fileURLToPath(new URL("./exit-with-pump.ts", import.meta.url));
      const child = spawn(process.execPath, ["--import", "tsx", script, worker.url.href, how], {
        stdio: ["ignore", "pipe", "ignore"],
      });
      try {
        await once(child.stdout, "data");
        const startedAt = performance.now();
        const [code] = (await once(child, "exit")) as [number | null];
        expect(code).toBe(status);
        // Its sleep lasts 10 s.
        expect(performance.now() - startedAt).toBeLessThan(5_000);
      } finally {
        child.kill("SIGKILL");
      }
    },
    40_000,
  );
});
