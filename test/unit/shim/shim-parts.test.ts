/** The small parts: the lane, the waiters, exit records, the command line, the log. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { cancelled } from "../../../src/core/errors.js";
import {
  execPidPath,
  exitRecordPath,
  readExitRecord,
  removeExecFiles,
  writeExitRecord,
} from "../../../src/shim/exit-record.js";
import { ExitWaiters } from "../../../src/shim/exit-waiters.js";
import { OperationLane } from "../../../src/shim/operation-lane.js";
import { parseServeOptions } from "../../../src/shim/serve-options.js";
import { createShimLog } from "../../../src/shim/shim-log.js";
import { gate, settle } from "./task-fakes.js";

describe("an operation lane", () => {
  it("runs one at a time in order, and goes on after a failure", async () => {
    const lane = new OperationLane();
    const order: string[] = [];
    const first = gate();
    const runs = [
      lane.run(async () => {
        order.push("first begins");
        await first.promise;
        throw new Error("first fails");
      }),
      lane.run(async () => void order.push("second")),
    ];
    await settle();
    expect(order).toEqual(["first begins"]);
    first.open();
    await expect(runs[0]).rejects.toThrow("first fails");
    await runs[1];
    expect(order).toEqual(["first begins", "second"]);
  });

  it("refuses more than its bound at once", async () => {
    const lane = new OperationLane(2);
    const blocked = gate();
    const running = [lane.run(() => blocked.promise), lane.run(() => blocked.promise)];
    await expect(lane.run(async () => {})).rejects.toMatchObject({ kind: "resource-exhausted" });
    blocked.open();
    await Promise.all(running);
    await lane.run(async () => {});
  });
});

describe("exit waiters", () => {
  const ended = { exitStatus: 3, exitedAt: { seconds: 1n, nanos: 2 } };

  it("answers those that wait and those that come later, with the first end alone", async () => {
    const waiters = new ExitWaiters();
    const waiting = waiters.wait(new AbortController().signal);
    waiters.settle(ended);
    waiters.settle({ ...ended, exitStatus: 4 });
    expect(await waiting).toEqual(ended);
    expect(await waiters.wait(new AbortController().signal)).toEqual(ended);
  });

  it("forgets a waiter whose call ends, and tells it why", async () => {
    const waiters = new ExitWaiters();
    const call = new AbortController();
    const waiting = waiters.wait(call.signal);
    expect(waiters.size).toBe(1);
    call.abort(cancelled("gone"));
    await expect(waiting).rejects.toMatchObject({ kind: "cancelled", message: "gone" });
    expect(waiters.size).toBe(0);
    await expect(waiters.wait(call.signal)).rejects.toMatchObject({ kind: "cancelled" });
  });
});

describe("an exit record", () => {
  let bundle: string;
  beforeEach(() => {
    bundle = mkdtempSync(join(tmpdir(), "berth-exit-record-"));
  });
  afterEach(() => rmSync(bundle, { recursive: true, force: true }));
  const exit = { pid: 7, exitStatus: 137, exitedAt: { seconds: 1_800_000_000n, nanos: 999_999_999 } };

  it("comes back as it was written, to the nanosecond, and leaves no draft", () => {
    writeExitRecord(bundle, "", exit);
    writeExitRecord(bundle, "e1", { ...exit, pid: 8 });
    expect(readExitRecord(bundle, "")).toEqual(exit);
    expect(readExitRecord(bundle, "e1")).toEqual({ ...exit, pid: 8 });
    expect(readdirSync(bundle).sort()).toEqual(["exec-e1.exit.json", "exit.json"]);
  });

  it("is undefined when there is none, or only a damaged one", () => {
    expect(readExitRecord(bundle, "")).toBeUndefined();
    for (const text of [
      "",
      "{",
      "null",
      "{}",
      '{"pid":1,"exitStatus":2,"exitedAt":{"seconds":"x","nanos":0}}',
    ]) {
      writeFileSync(exitRecordPath(bundle, ""), text);
      expect(readExitRecord(bundle, "")).toBeUndefined();
    }
  });

  it("goes with the exec, whose pid file cannot be taken for init's", () => {
    writeExitRecord(bundle, "init", exit);
    writeFileSync(execPidPath(bundle, "init"), "8");
    expect(readdirSync(bundle)).not.toContain("init.pid");
    removeExecFiles(bundle, "init");
    removeExecFiles(bundle, "init");
    expect(readdirSync(bundle)).toEqual([]);
  });
});

describe("the command line of serve", () => {
  const least = ["--id", "s", "--namespace", "ns", "--directory", "/d", "--ttrpc-address", "/t"];

  it("has defaults for all but who and where it is", () => {
    expect(parseServeOptions(least)).toMatchObject({
      shimId: "s",
      namespace: "ns",
      directory: "/d",
      ttrpcAddress: "/t",
      logLevel: "info",
      readyFd: undefined,
      stdioMode: "auto",
      criuPresent: false,
      pumpWorkers: 1,
      drainTimeoutMs: 2000,
      orphanTimeoutMs: 60_000,
      runtimeBinary: "runc",
      oomScoreAdjustment: undefined,
      temporaryDirectory: "/d",
    });
  });

  it.each([
    [[], "--directory is required"],
    [["--directory", "/d"], "--id is required"],
    [[...least, "--namespace", "bad ns"], 'namespace validation: identifier "bad ns" must match'],
    [[...least, "--directory", "relative"], "--directory must be an absolute path"],
    [[...least, "--stdio-mode", "magic"], "--stdio-mode must be one of auto, direct, pump"],
    [[...least, "--drain-timeout", "-1"], "--drain-timeout"],
    [[...least, "--ready-fd", "1"], "--ready-fd must be an integer from 3"],
    [[...least, "--oom-score-adj", "2000"], "--oom-score-adj must be an integer from -1000 to 1000"],
    [[...least, "--bogus"], "--bogus"],
    [[...least, "stray"], "stray"],
  ])("refuses %j", (args, text) => {
    expect(() => parseServeOptions(args)).toThrow(text);
  });

  it("takes a negative number with an equals sign", () => {
    expect(parseServeOptions([...least, "--oom-score-adj=-500"]).oomScoreAdjustment).toBe(-500);
  });
});

describe("the shim's log", () => {
  it("writes one JSON line per entry, bindings and errors included, and leaves out what is below its level", () => {
    const lines: string[] = [];
    const log = createShimLog("info", { shimId: "s" }, (line) => lines.push(line)).child({
      containerId: "c",
    });
    log.debug({}, "hidden");
    log.info({ size: 3n }, "told");
    log.error({ err: cancelled("gone", { cause: new Error("why") }) }, "failed");
    expect(lines.every((line) => line.endsWith("\n"))).toBe(true);
    const [told, failed] = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(told).toMatchObject({ level: "info", shimId: "s", containerId: "c", size: "3", msg: "told" });
    expect(failed?.err).toMatchObject({
      type: "DaemonError",
      kind: "cancelled",
      message: "gone",
      cause: "why",
    });
    expect(lines).toHaveLength(2);
  });
});
