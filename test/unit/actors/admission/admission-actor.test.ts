import { beforeEach, describe, expect, it } from "vitest";
import { createAdmissionBehavior } from "../../../../src/actors/admission/admission-actor.js";
import type { AdmissionMessage, Permit } from "../../../../src/actors/admission/messages.js";
import { parseNamespace } from "../../../../src/core/ids.js";
import { type LoneActor, startLoneActor, watched } from "../../../support/lone-actor.js";

const maxHoldMs = 1000;
let gate: LoneActor<AdmissionMessage>;
beforeEach(() => {
  gate = startLoneActor(createAdmissionBehavior({ slots: 2, maxHoldMs }));
});

const acquire = (namespace: string, signal?: AbortSignal) => {
  const permit = gate.ask<Permit>(
    (reply) => ({ kind: "acquire", namespace: parseNamespace(namespace), reply }),
    signal,
  );
  return watched(permit);
};
const idle = (): Promise<void> => gate.clock.runUntilIdle();

describe("the gate for runtime calls", () => {
  it("lets as many in as it has slots, and the next when one is done", async () => {
    const [first, second, third] = [acquire("n"), acquire("n"), acquire("n")];
    await idle();
    expect([first.done, second.done, third.done]).toEqual([true, true, false]);
    expect(gate.phase()).toBe("2/2 running, 1 waiting");
    first.value?.release();
    await idle();
    expect(third.done).toBe(true);
  });

  it("lets namespaces take turns, so that one burst does not starve a single command of another", async () => {
    const holders = [acquire("busy"), acquire("busy")];
    const burst = Array.from({ length: 10 }, () => acquire("busy"));
    const single = acquire("quiet");
    await idle();
    holders[0]?.value?.release();
    await idle();
    holders[1]?.value?.release();
    await idle();
    expect(single.done).toBe(true);
    expect(burst.filter(({ done }) => done)).toHaveLength(1);
  });

  it("keeps the order within a namespace", async () => {
    const all = Array.from({ length: 5 }, () => acquire("n"));
    await idle();
    for (const [index, permit] of all.entries()) {
      expect(all.map(({ done }) => done)).toEqual(all.map((_, other) => other < index + 2));
      permit.value?.release();
      await idle();
    }
  });

  it("skips askers that have gone", async () => {
    const [holder] = [acquire("n"), acquire("n")];
    const client = new AbortController();
    const gone = acquire("n", client.signal);
    const patient = acquire("n");
    await idle();
    client.abort();
    holder?.value?.release();
    await idle();
    expect(gone.error).toMatchObject({ kind: "cancelled" });
    expect(patient.done).toBe(true);
    expect(gate.phase()).toBe("2/2 running, 0 waiting");
  });

  it("takes a permit back that is held too long, and ignores its late release", async () => {
    const [lost, held] = [acquire("n"), acquire("n")];
    const waiting = acquire("n");
    await idle();
    await gate.clock.advance(maxHoldMs);
    expect(waiting.done).toBe(true);
    lost.value?.release();
    held.value?.release();
    await idle();
    expect(gate.phase()).toBe("1/2 running, 0 waiting");
  });

  it("counts a permit once, however often it is released", async () => {
    const [first] = [acquire("n"), acquire("n")];
    await idle();
    first?.value?.release();
    first?.value?.release();
    const more = [acquire("n"), acquire("n")];
    await idle();
    expect(more.map(({ done }) => done)).toEqual([true, false]);
  });

  it("does not take a release from before its crash for one of today", async () => {
    const old = acquire("n");
    await idle();
    gate.actor.tell({ kind: "acquire" } as never); // breaks an invariant
    gate.actor.tell(null as never);
    await idle();
    expect(gate.restarts()).toBeGreaterThan(0);
    const today = [acquire("n"), acquire("n"), acquire("n")];
    await idle();
    old.value?.release();
    await idle();
    expect(today.map(({ done }) => done)).toEqual([true, true, false]);
  });
});
