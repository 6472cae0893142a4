import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Namespace, ShimId } from "../../../src/core/ids.js";
import { processStartTicks } from "../../../src/native/process.js";
import { ShimDirectory } from "../../../src/shim-link/shim-directory.js";

const shimId = "0123456789ab" as ShimId;
const request = { shimId, namespace: "n" as Namespace, runtime: "" };
let state: string;
let directory: ShimDirectory;
beforeEach(() => {
  state = mkdtempSync(join(tmpdir(), "berth-shims-"));
  directory = new ShimDirectory(state);
});
afterEach(() => rmSync(state, { recursive: true, force: true }));
const writePid = (pid: number, startTicks: number): void =>
  writeFileSync(join(directory.path(shimId), "pid"), JSON.stringify({ pid, startTicks }));

describe("the directory of shims", () => {
  it("gives back what was prepared, also to another daemon, and forgets what was removed", () => {
    directory.prepare(request);
    expect(new ShimDirectory(state).list()).toEqual([request]);
    directory.remove(shimId);
    directory.remove(shimId);
    expect(directory.list()).toEqual([]);
  });

  it("is for root alone", () => {
    directory.prepare(request);
    expect(statSync(join(state, "shims")).mode & 0o777).toBe(0o700);
    expect(statSync(directory.path(shimId)).mode & 0o777).toBe(0o700);
  });

  it("removes what a daemon made that died before it started anything", () => {
    mkdirSync(join(state, "shims", "torn"));
    mkdirSync(join(state, "shims", "half"));
    writeFileSync(join(state, "shims", "half", "shim.json.tmp"), "{");
    expect(directory.list()).toEqual([]);
    expect(readdirSync(join(state, "shims"))).toEqual([]);
  });

  it("knows a living shim by pid and start time, so that a reused pid is nobody's", () => {
    directory.prepare(request);
    expect(directory.living(shimId)).toBeUndefined();
    const startTicks = processStartTicks(process.pid) ?? 0;
    writePid(process.pid, startTicks);
    expect(directory.living(shimId)).toEqual({ pid: process.pid, startTicks });
    writePid(process.pid, startTicks + 1);
    expect(directory.living(shimId)).toBeUndefined();
    writeFileSync(join(directory.path(shimId), "pid"), "torn");
    expect(directory.living(shimId)).toBeUndefined();
  });
});
