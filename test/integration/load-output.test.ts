/**
 * Output of containers that print and exit at once: every byte must arrive, in order, before the stream ends,
 * whichever way the bytes take (FIFO handed to the container, pumped, terminal).
 */
import { randomBytes, randomInt } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Daemon, startDaemon, stdioConfig, subjectKind } from "../support/daemon.js";
import { expectNoLeaks, keptShim, takeLeakSnapshot } from "../support/leaks.js";
import { describeWith } from "../support/requirements.js";
import { scaled } from "../support/scale.js";
import { createTask } from "../support/tasks.js";
import { concurrently } from "../support/until.js";

const width = 8;
const largest = 256 * 1024;
const blob = randomBytes(2 * largest);

interface Way {
  readonly name: string;
  readonly count: number;
  readonly mode: "direct" | "pump";
  readonly terminal: boolean;
}

const ways: readonly Way[] = [
  { name: "direct", count: scaled(1000), mode: "direct", terminal: false },
  { name: "pumped", count: scaled(1000), mode: "pump", terminal: false },
  { name: "terminal", count: scaled(1000), mode: "direct", terminal: true },
];

/** What a terminal makes of the bytes: its output side turns each newline into return and newline. */
const throughTerminal = (bytes: Buffer): Buffer =>
  Buffer.from(bytes.toString("latin1").replaceAll("\n", "\r\n"), "latin1");

const difference = (name: string, got: Buffer | undefined, expected: Buffer): string[] => {
  if (got === undefined || got.equals(expected)) return [];
  let at = 0;
  while (at < got.length && got[at] === expected[at]) at++;
  return [`${name}: ${got.length} of ${expected.length} bytes, first difference at ${at}`];
};

for (const way of ways) {
  describeWith(["runc"], `output under load, ${way.name}`, () => {
    let daemon: Daemon;

    beforeAll(async () => {
      const kind = subjectKind();
      const config = kind === "berthd" ? { config: stdioConfig(way.mode) } : {};
      daemon = await startDaemon({ kind, ...config });
      writeFileSync(join(daemon.workspace.rootfs, "blob"), blob);
    }, 60_000);

    afterAll(async () => {
      await daemon?.dispose();
    }, 120_000);

    it(`every byte of ${way.count} containers arrives`, { timeout: 400_000 }, async () => {
      const namespace = daemon.workspace.newNamespace();
      const fifos = daemon.workspace.newDirectory("f");
      const before = takeLeakSnapshot(daemon);
      const wrong: string[] = [];
      await concurrently(width, Array.from({ length: way.count }), async (_, index) => {
        const id = `out${index}`;
        const size = index % 20 === 0 ? 0 : randomInt(largest + 1);
        const errorSize = way.terminal ? 0 : randomInt(4096);
        const offset = randomInt(largest);
        const print = (from: number, bytes: number): string =>
          `tail -c +${from + 1} /blob | head -c ${bytes}`;
        const script = `${print(offset, size)}; ${print(0, errorSize)} >&2`;
        const task = await createTask(daemon, namespace, {
          id,
          args: ["/bin/sh", "-c", script],
          terminal: way.terminal,
          fifos,
        });
        const waiting = task.wait();
        await task.start();
        const [stdout, stderr] = await Promise.all([task.stdout?.end(60_000), task.stderr?.end(60_000)]);
        const exitStatus = await waiting;
        await task.remove();
        const printed = blob.subarray(offset, offset + size);
        wrong.push(
          ...difference(`${id} stdout`, stdout, way.terminal ? throughTerminal(printed) : printed),
          ...difference(`${id} stderr`, stderr, blob.subarray(0, errorSize)),
        );
        if (exitStatus !== 0) wrong.push(`${id}: exit status ${exitStatus}`);
      });
      expect(wrong).toEqual([]);
      await expectNoLeaks(daemon, before, keptShim, 30_000);
    });
  });
}
