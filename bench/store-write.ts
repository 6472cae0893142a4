/** Durable metadata writes: one at a time, and 64 clients at once, beside how long they keep the main thread busy. */
import { mkdtempSync, rmSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { parseNamespace } from "../src/core/ids.js";
import { silentLogger } from "../src/core/logger.js";
import type { ContainerRecord } from "../src/ports/store-port.js";
import { openStore } from "../src/store/store.js";

const directory = mkdtempSync(join(process.argv[2] ?? ".", ".bench-store-"));
const store = await openStore({ directory, log: silentLogger });
const namespace = parseNamespace("bench");
// About what dockerd stores for one container.
const spec = {
  typeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Spec",
  value: Buffer.alloc(9000, "x"),
};
const at = { seconds: 1n, nanos: 0 };
const record = (id: string): ContainerRecord => ({
  id,
  labels: { "com.docker/engine.bundle.path": "/run/x" },
  image: "",
  runtime: { name: "io.containerd.runc.v2", options: undefined },
  spec,
  snapshotter: "",
  snapshotKey: "",
  createdAt: at,
  updatedAt: at,
  extensions: {},
  sandbox: "",
});

let made = 0;
async function measure(name: string, writes: number, atOnce: number): Promise<void> {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const latencies: number[] = [];
  const begin = performance.now();
  let left = writes;
  const client = async (): Promise<void> => {
    while (left-- > 0) {
      const start = performance.now();
      await store.createContainer(namespace, record(`c${made++}`));
      latencies.push(performance.now() - start);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, client));
  const elapsedMs = performance.now() - begin;
  delay.disable();
  latencies.sort((a, b) => a - b);
  const part = (share: number): string =>
    (latencies[Math.floor(share * (latencies.length - 1))] ?? 0).toFixed(1);
  console.log(
    `${name.padEnd(16)} ${Math.round((writes / elapsedMs) * 1000)} writes/s  median ${part(0.5)} ms  p99 ${part(0.99)} ms` +
      `  loop delay p99 ${(delay.percentile(99) / 1e6).toFixed(1)} ms`,
  );
}

try {
  console.log(
    `${cpus()[0]?.model ?? "unknown cpu"}, ${cpus().length} cores, node ${process.version}, disk of ${directory}`,
  );
  await measure("one at a time", 200, 1);
  await measure("64 at once", 3000, 64);
  const begin = performance.now();
  const reads = 20_000;
  for (let index = 0; index < reads; index++) store.getContainer(namespace, `c${index % made}`);
  console.log(`get              ${Math.round((reads / (performance.now() - begin)) * 1000)} reads/s`);
} finally {
  await store.close();
  rmSync(directory, { recursive: true });
}
