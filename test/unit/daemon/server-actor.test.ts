import { describe, expect, it } from "vitest";
import { unavailable } from "../../../src/core/errors.js";
import { createServerBehavior, type DaemonServer } from "../../../src/daemon/server-actor.js";
import { startLoneActor } from "../../support/lone-actor.js";

function start(listen: (attempt: number, signal: AbortSignal) => Promise<void>) {
  const changes: boolean[] = [];
  const log: string[] = [];
  let attempts = 0;
  const actor = startLoneActor(
    createServerBehavior({
      name: "test",
      listenTimeoutMs: 1000,
      onChange: (listening) => changes.push(listening),
      create: (): DaemonServer => {
        const attempt = ++attempts;
        return {
          listen: async (signal) => {
            log.push(`listen ${attempt}`);
            await listen(attempt, signal);
          },
          close: async () => {
            log.push(`close ${attempt}`);
          },
        };
      },
    }),
  );
  return { actor, changes, log };
}

describe("a server as an actor", () => {
  it("listens when it starts, says so, and closes when it is stopped", async () => {
    const { actor, changes, log } = start(async () => undefined);
    await actor.clock.runUntilIdle();
    expect(actor.phase()).toBe("serving");
    expect(changes).toEqual([true]);
    await actor.stop();
    expect(log.slice(0, 2)).toEqual(["listen 1", "close 1"]);
    expect(changes.at(-1)).toBe(false);
  });

  it("tries again with a new server when the socket cannot be had", async () => {
    const { actor, log } = start(async (attempt) => {
      if (attempt === 1) throw unavailable("address in use");
    });
    await actor.clock.runUntilIdle();
    expect(log).toEqual(["listen 1", "close 1", "listen 2"]);
    expect(actor.phase()).toBe("serving");
    expect(actor.restarts()).toBe(1);
  });

  it("does not wait for ever to listen", async () => {
    const { actor, log } = start((attempt) =>
      attempt === 1 ? new Promise(() => undefined) : Promise.resolve(),
    );
    await actor.clock.advance(1500);
    expect(log).toEqual(["listen 1", "close 1", "listen 2"]);
  });

  it("that is stopped while it opens ends without a crash", async () => {
    let refuse = (): void => undefined;
    const { actor, log } = start(
      () =>
        new Promise((_, reject) => {
          refuse = () => reject(unavailable("closed"));
        }),
    );
    await actor.clock.runUntilIdle();
    const stopped = actor.stop();
    refuse();
    await stopped;
    expect(actor.restarts()).toBe(0);
    expect(log.filter((line) => line.startsWith("listen"))).toHaveLength(1);
  });
});
