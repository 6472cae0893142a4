/**
 * Runs the daemon benches: berthd and the real containerd in one run, same machine, same OCI runtime, same
 * client, in alternating rounds. As root: `node --import tsx bench/run.ts [--quick] [--only lifecycle,stdio]`.
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { haveBerthd } from "../test/support/daemon.js";
import { densityBench } from "./daemon-density.js";
import { exitLatencyBench } from "./daemon-exit-latency.js";
import { lifecycleBench } from "./daemon-lifecycle.js";
import { stdioBench } from "./daemon-stdio.js";
import type { Bench } from "./lib/bench.js";
import { entries, type RuntimeName, reference } from "./lib/contestants.js";
import { machineFacts } from "./lib/machine.js";
import { type ComparedRow, compare, createRecorder } from "./lib/recorder.js";
import { markdown, storeReport } from "./lib/report.js";

const benches: readonly Bench[] = [lifecycleBench, exitLatencyBench, stdioBench, densityBench];

const { values } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    only: { type: "string" },
    runtime: { type: "string", default: "runc,crun" },
    self: { type: "boolean", default: false },
    out: { type: "string", default: join(import.meta.dirname, "results") },
  },
});

if (process.getuid?.() !== 0) throw new Error("the daemon benches run containers: root is needed");
const wanted = values.only?.split(",");
const unknown = wanted?.filter((name) => !benches.some((bench) => bench.name === name)) ?? [];
if (unknown.length > 0) {
  throw new Error(
    `no bench ${unknown.join(", ")}; there are ${benches.map((bench) => bench.name).join(", ")}`,
  );
}
const runtimes = values.runtime.split(",").filter((name): name is RuntimeName => /^(runc|crun)$/.test(name));

const log = (line: string): void => {
  process.stderr.write(`${line}\n`);
};
if (!haveBerthd() && !values.self) log("berthd is not built: containerd is compared with itself");

const machine = machineFacts();
const rows: ComparedRow[] = [];
const failures: string[] = [];
for (const runtime of runtimes) {
  for (const bench of benches) {
    if (wanted?.includes(bench.name) === false || !bench.runtimes.includes(runtime)) continue;
    log(`${bench.name} with ${runtime}`);
    const recorder = createRecorder(runtime);
    try {
      const list = entries(values.self);
      await bench.run({ entries: list, runtime, recorder, quick: values.quick, log });
    } catch (error) {
      failures.push(`${bench.name} with ${runtime}`);
      log(`${bench.name} with ${runtime} failed: ${error instanceof Error ? (error.stack ?? "") : error}`);
    }
    rows.push(...compare(recorder.rows, reference));
  }
}
process.stdout.write(markdown(machine, rows, reference));
log(`stored as ${storeReport(values.out, machine, rows, reference)}.{json,md}`);
if (failures.length > 0) {
  log(`incomplete: ${failures.join("; ")}`);
  process.exitCode = 1;
}
