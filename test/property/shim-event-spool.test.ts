/** Through any sequence of outages, refusals and restarts, every event arrives, and each container's in order. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { expect, it } from "vitest";
import { unavailable, unknownError } from "../../src/core/errors.js";
import { silentLogger } from "../../src/core/logger.js";
import { EventLog } from "../../src/shim/event-log.js";
import { EventSpool } from "../../src/shim/event-spool.js";
import { ManualClock, settle } from "../unit/shim/task-fakes.js";

const step = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom("a", "b", "c").map((id) => ({ kind: "publish" as const, id })) },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom("accept", "down", "busy", "lost-ack")
      .map((mood) => ({ kind: "mood" as const, mood })),
  },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      { kind: "advance" as const },
      { kind: "kick" as const },
      { kind: "turn" as const },
    ),
  },
  { weight: 1, arbitrary: fc.constant({ kind: "restart" as const }) },
);

it("loses nothing and keeps each container's order, duplicates aside", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 60 }),
      fc.integer({ min: 2, max: 8 }),
      async (steps, memoryLimit) => {
        const directory = mkdtempSync(join(tmpdir(), "berth-spool-property-"));
        const clock = new ManualClock();
        let mood = "down";
        const arrived: { id: string; sequence: number }[] = [];
        const open = (): EventSpool =>
          new EventSpool({
            namespace: "ns",
            log: silentLogger,
            clock,
            eventLog: EventLog.open(directory, { segmentBytes: 300 }),
            memoryLimit,
            window: 2,
            forwarder: {
              async forward({ containerId, sequence }) {
                await Promise.resolve();
                if (mood === "down") throw unavailable("no daemon");
                if (mood === "busy") throw unknownError("busy");
                arrived.push({ id: containerId, sequence });
                // The daemon took it and died before it said so.
                if (mood === "lost-ack") throw unavailable("ttrpc: closed");
              },
            },
          });
        let spool = open();
        const published: { id: string; sequence: number }[] = [];
        try {
          for (const current of steps) {
            if (current.kind === "publish") {
              spool.publish(current.id, "/tasks/exit", { typeUrl: "t", value: new Uint8Array(20) });
              published.push({ id: current.id, sequence: published.length + 1 });
            } else if (current.kind === "mood") mood = current.mood;
            else if (current.kind === "advance") clock.advance(1000);
            else if (current.kind === "kick") spool.kick();
            else if (current.kind === "turn") await settle();
            else {
              spool.close();
              spool = open();
            }
          }
          mood = "accept";
          for (let round = 0; round < 40 && spool.depth > 0; round++) {
            clock.advance(1000);
            spool.kick();
            await settle();
          }
          expect(spool.depth).toBe(0);
          for (const id of ["a", "b", "c"]) {
            const wanted = published.filter((event) => event.id === id).map(({ sequence }) => sequence);
            const seen = arrived.filter((event) => event.id === id).map(({ sequence }) => sequence);
            // As a daemon sees it that knows each key: the first arrival counts.
            expect([...new Set(seen)]).toEqual(wanted);
          }
        } finally {
          spool.close();
          rmSync(directory, { recursive: true, force: true });
        }
      },
    ),
    { numRuns: 150 },
  );
}, 60_000);
