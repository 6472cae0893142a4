/**
 * The daemon's whole tree of actors under random trouble. A seed names one run for good: `BERTH_SEED=n` replays
 * it alone and prints what happened; `BERTH_SEEDS=n` runs so many.
 */
import { describe, expect, it } from "vitest";
import { simulate } from "../support/container-simulation.js";

const only = process.env.BERTH_SEED;
const count = Number(process.env.BERTH_SEEDS ?? "400");
const first = Number(process.env.BERTH_FIRST_SEED ?? "1");
const seeds = only === undefined ? Array.from({ length: count }, (_, n) => first + n) : [Number(only)];

describe("containers under random clients, failing shims and crashing actors", () => {
  it("keep every promise, for every seed", { timeout: 60_000 + count * 500 }, async () => {
    const failures: string[] = [];
    for (const seed of seeds) {
      const { faults, log } = await simulate({ seed });
      if (only !== undefined) console.log(log.join("\n"));
      if (faults.length > 0) failures.push(`BERTH_SEED=${seed}: ${faults.slice(0, 6).join("; ")}`);
      if (failures.length >= 10) break;
    }
    expect(failures).toEqual([]);
  });

  it("happen again exactly when their seed is replayed", async () => {
    const [one, other] = [await simulate({ seed: 7 }), await simulate({ seed: 7 })];
    expect(other.log).toEqual(one.log);
    expect(one.log.length).toBeGreaterThan(50);
  });
});
