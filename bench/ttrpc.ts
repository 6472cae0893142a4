/** ttrpc round trips over a unix socket within one process: one at a time, 64 at once, and 64 KiB payloads. */
import { mkdtempSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger } from "../src/core/logger.js";
import { connectTtrpc, type TtrpcClient } from "../src/wire/ttrpc/client.js";
import { createTtrpcServer } from "../src/wire/ttrpc/server.js";

const directory = mkdtempSync(join(tmpdir(), "bench-ttrpc-"));
const path = join(directory, "s");
const server = createTtrpcServer({
  services: { "b.B": { Echo: async (payload) => payload } },
  log: silentLogger,
});
await server.listen(path);
const client = await connectTtrpc(path);

async function measure(name: string, calls: number, atOnce: number, payload: Uint8Array): Promise<void> {
  await run(client, Math.min(calls, 2000), atOnce, payload);
  const latencies: number[] = [];
  const begin = performance.now();
  await run(client, calls, atOnce, payload, latencies);
  const elapsedMs = performance.now() - begin;
  latencies.sort((a, b) => a - b);
  const at = (share: number): string =>
    `${((latencies[Math.floor(share * (latencies.length - 1))] ?? 0) * 1000).toFixed(0)} us`;
  console.log(
    `${name.padEnd(28)} ${Math.round((calls / elapsedMs) * 1000)} calls/s  median ${at(0.5)}  p99 ${at(0.99)}  max ${at(1)}`,
  );
}

async function run(
  over: TtrpcClient,
  calls: number,
  atOnce: number,
  payload: Uint8Array,
  latencies?: number[],
): Promise<void> {
  let left = calls;
  const worker = async (): Promise<void> => {
    while (left-- > 0) {
      const begin = performance.now();
      await over.call("b.B", "Echo", payload, { timeoutMs: 10_000 });
      latencies?.push(performance.now() - begin);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

console.log(`${cpus()[0]?.model ?? "unknown cpu"}, ${cpus().length} cores, node ${process.version}`);
await measure("one at a time, 64 B", 20_000, 1, Buffer.alloc(64));
await measure("64 at once, 64 B", 100_000, 64, Buffer.alloc(64));
await measure("16 at once, 64 KiB", 10_000, 16, Buffer.alloc(65_536));
client.close();
await server.close();
rmSync(directory, { recursive: true });
