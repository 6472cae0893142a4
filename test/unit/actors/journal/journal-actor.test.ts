import { beforeEach, describe, expect, it } from "vitest";
import { createJournalBehavior } from "../../../../src/actors/journal/journal-actor.js";
import type { JournalMessage } from "../../../../src/actors/journal/messages.js";
import { zeroInstant } from "../../../../src/core/exit.js";
import type { Envelope, EventSink, JournalEntry } from "../../../../src/ports/event-sink.js";
import { type LoneActor, settled, startLoneActor } from "../../../support/lone-actor.js";

const keepEntries = 10;
let journal: LoneActor<JournalMessage>;
beforeEach(() => {
  journal = startLoneActor(createJournalBehavior({ keepEntries }));
});

const envelope = (topic: string): Envelope => ({
  timestamp: zeroInstant,
  namespace: "n",
  topic,
  event: { typeUrl: "t", value: new Uint8Array() },
});
const publish = (topic: string): Promise<bigint> =>
  settled(
    journal.clock,
    journal.ask<bigint>((reply) => ({ kind: "publish", envelope: envelope(topic), reply })),
  );
const recent = (count: number) =>
  settled(
    journal.clock,
    journal.ask<readonly JournalEntry[]>((reply) => ({ kind: "recent", count, reply })),
  );

function subscriber(
  options: { readonly room?: number; readonly topic?: string; readonly throws?: boolean } = {},
) {
  const got: JournalEntry[] = [];
  const ends: string[] = [];
  const sink: EventSink = {
    push(entry) {
      if (options.throws === true) throw new Error("broken subscriber");
      if (got.length >= (options.room ?? Number.POSITIVE_INFINITY)) return false;
      got.push(entry);
      return true;
    },
    end: (reason) => ends.push(reason),
  };
  const matches = ({ topic }: Envelope): boolean => options.topic === undefined || topic === options.topic;
  const id = settled(
    journal.clock,
    journal.ask<number>((reply) => ({ kind: "subscribe", sink, matches, reply })),
  );
  return { got, ends, id, topics: () => got.map((entry) => entry.envelope.topic) };
}

describe("the journal", () => {
  it("numbers events one after the other and hands them to every subscriber in that order", async () => {
    const [one, other] = [subscriber(), subscriber()];
    await Promise.all([one.id, other.id]);
    expect([await publish("/a"), await publish("/b"), await publish("/c")]).toEqual([1n, 2n, 3n]);
    expect(one.topics()).toEqual(["/a", "/b", "/c"]);
    expect(other.got).toEqual(one.got);
    expect(one.got.map(({ sequence }) => sequence)).toEqual([1n, 2n, 3n]);
  });

  it("gives a subscriber only what its filter takes, and nothing from before", async () => {
    await publish("/a");
    const chosen = subscriber({ topic: "/a" });
    await chosen.id;
    await publish("/b");
    await publish("/a");
    expect(chosen.got.map(({ sequence }) => sequence)).toEqual([3n]);
  });

  it("cuts off a subscriber that lags, alone and once", async () => {
    const [slow, quick] = [subscriber({ room: 2 }), subscriber()];
    await Promise.all([slow.id, quick.id]);
    for (const topic of ["/1", "/2", "/3", "/4"]) await publish(topic);
    expect(slow.topics()).toEqual(["/1", "/2"]);
    expect(slow.ends).toEqual(["lagging"]);
    expect(quick.topics()).toEqual(["/1", "/2", "/3", "/4"]);
    expect(quick.ends).toEqual([]);
  });

  it("lets go of a subscriber that throws, without harm to the others or to itself", async () => {
    const broken = subscriber({ throws: true });
    const sound = subscriber();
    await Promise.all([broken.id, sound.id]);
    expect(await publish("/a")).toBe(1n);
    expect(broken.ends).toEqual(["lagging"]);
    expect(sound.topics()).toEqual(["/a"]);
    expect(journal.restarts()).toBe(0);
    expect(journal.phase()).toBe("1 subscribers");
  });

  it("sends nothing to one that has unsubscribed", async () => {
    const gone = subscriber();
    journal.actor.tell({ kind: "unsubscribe", id: await gone.id });
    await publish("/a");
    expect(gone.got).toEqual([]);
    expect(gone.ends).toEqual([]);
    expect(journal.phase()).toBe("0 subscribers");
  });

  it("keeps no subscription for an asker that has gone meanwhile", async () => {
    const client = new AbortController();
    const asked = journal.ask<number>(
      (reply) => ({
        kind: "subscribe",
        sink: { push: () => true, end: () => undefined },
        matches: () => true,
        reply,
      }),
      client.signal,
    );
    client.abort();
    await expect(settled(journal.clock, asked)).rejects.toMatchObject({ kind: "cancelled" });
    expect(journal.phase()).toBe("0 subscribers");
  });

  it("holds a bounded number of entries for inspection, the last ones", async () => {
    for (let n = 1; n <= 100; n++) await publish(`/${n}`);
    expect((await recent(3)).map(({ sequence }) => sequence)).toEqual([98n, 99n, 100n]);
    expect(await recent(1000)).toHaveLength(keepEntries);
  });

  it("takes events that nobody wants an answer for", async () => {
    journal.actor.tell({ kind: "publish", envelope: envelope("/a"), reply: undefined });
    expect(await publish("/b")).toBe(2n);
  });

  it("ends its subscribers when it stops, and never uses a number again after a crash", async () => {
    const before = subscriber();
    await before.id;
    await publish("/a");
    journal.actor.tell({ kind: "publish", envelope: undefined, reply: { resolve: undefined } } as never);
    await journal.clock.runUntilIdle();
    expect(journal.restarts()).toBe(1);
    expect(before.ends).toEqual(["shutdown"]);
    expect(await publish("/b")).toBeGreaterThan(1n);
    const after = subscriber();
    await after.id;
    await journal.stop();
    expect(after.ends).toEqual(["shutdown"]);
  });
});
