/**
 * Turns a table of scenarios into tests: each runs on the real containerd and on berthd, one after the other,
 * and their transcripts must be equal. `BERTH_COMPAT_SUBJECT=containerd` compares containerd with itself,
 * which shows whether a scenario is repeatable at all; `BERTH_COMPAT_STDIO=direct|pump` has berthd move output
 * that way.
 */
import { execFileSync } from "node:child_process";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Daemon, type DaemonKind, startDaemon, stdioConfig } from "../support/daemon.js";
import type { EventStream } from "../support/event-stream.js";
import { createWorkspace, type Workspace } from "../support/workspace.js";
import { Side, type Step } from "./side.js";

export interface Scenario {
  /** A sentence: what a client relies on. */
  readonly title: string;
  readonly run: (side: Side) => Promise<void>;
  /** Must occur in containerd's transcript, so that a scenario that shows nothing cannot pass. */
  readonly proves: RegExp;
  /** Where berth differs on purpose: rewrites containerd's transcript to what berth shall show. */
  readonly intended?: { readonly reason: string; readonly change: (reference: Step[]) => Step[] };
}

const subject: DaemonKind = process.env.BERTH_COMPAT_SUBJECT === "containerd" ? "containerd" : "berthd";

function missing(): string | undefined {
  if (process.getuid?.() !== 0) return "needs root";
  for (const [tool, flag] of [
    ["containerd", "--version"],
    ["ctr", "--version"],
    ["runc", "--version"],
    ["script", "--version"],
  ] as const) {
    try {
      execFileSync(tool, [flag], { stdio: "ignore" });
    } catch {
      return `needs ${tool}`;
    }
  }
  return undefined;
}

async function play(
  daemon: Daemon,
  events: EventStream,
  scenario: Scenario,
  eventCounts?: readonly number[],
): Promise<Side> {
  const side = new Side(daemon, daemon.workspace.newNamespace(), events, eventCounts);
  try {
    await scenario.run(side);
  } catch (error) {
    const done = side.transcript.map((step) => `${step.did} -> ${JSON.stringify(step.saw)}`).join("\n");
    throw new Error(`on ${daemon.kind}, after:\n${done}`, { cause: error });
  } finally {
    await side.clean();
  }
  return side;
}

/** Declares one test per scenario. */
export function compareDaemons(suite: string, scenarios: readonly Scenario[]): void {
  const reason = missing();
  if (reason !== undefined) console.warn(`SKIPPED: ${suite}: ${reason}`);
  describe.skipIf(reason !== undefined)(suite, () => {
    let workspace: Workspace;
    let reference: Daemon;
    let candidate: Daemon;
    let streams: [EventStream, EventStream];

    beforeAll(async () => {
      workspace = createWorkspace();
      reference = await startDaemon({ kind: "containerd", workspace });
      const mode = process.env.BERTH_COMPAT_STDIO;
      const config =
        subject === "berthd" && (mode === "direct" || mode === "pump") ? { config: stdioConfig(mode) } : {};
      candidate = await startDaemon({ kind: subject, workspace, ...config });
      streams = [await reference.clients.subscribe([]), await candidate.clients.subscribe([])];
    }, 60_000);

    afterAll(async () => {
      for (const stream of streams ?? []) stream.close();
      await candidate?.dispose();
      await reference?.dispose();
      await workspace?.dispose();
    }, 60_000);

    for (const scenario of scenarios) {
      it(scenario.title, { timeout: 120_000 }, async () => {
        const first = await play(reference, streams[0], scenario);
        const expected = first.transcript;
        expect(JSON.stringify(expected), "what containerd showed").toMatch(scenario.proves);
        const second = await play(candidate, streams[1], scenario, first.eventCounts);
        expect(second.transcript).toEqual(scenario.intended?.change(expected) ?? expected);
      });
    }
  });
}
