import { describe, expect, it } from "vitest";
import {
  collectEnv,
  collectLabel,
  collectVolume,
  parseCount,
  parseCpus,
  parseDurationMs,
  parseMemory,
  parseSignal,
  parseSize,
} from "../../../src/cli/values.js";

describe("option values", () => {
  it.each([
    ["67108864", 67_108_864],
    ["64m", 64 * 1024 ** 2],
    ["64MB", 64 * 1024 ** 2],
    ["64MiB", 64 * 1024 ** 2],
    ["1.5g", 1.5 * 1024 ** 3],
    ["8k", 8192],
    ["2T", 2 * 1024 ** 4],
    ["512b", 512],
  ])("size %s is %d bytes", (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  it.each(["", "m", "-1", "5x", "1e9", "0", "64 m b", "9999999999t", "0x10"])(
    "size %j is refused",
    (text) => {
      expect(() => parseSize(text)).toThrow(/^bad size ".*expected bytes/);
    },
  );

  it("a memory limit in which nothing can start is refused", () => {
    expect(() => parseMemory("1m")).toThrow(
      "memory limit 1m is too small: a container needs at least 4m to start",
    );
    expect(parseMemory("4m")).toBe(4 * 1024 ** 2);
  });

  it("cpus are a positive decimal number", () => {
    expect(parseCpus("0.5")).toBe(0.5);
    for (const text of ["", "0", "-1", "x", "NaN", "Infinity"])
      expect(() => parseCpus(text)).toThrow(/bad number of cpus/);
  });

  it("counts are whole numbers with a least value", () => {
    expect(parseCount("pids limit", 1)("20")).toBe(20);
    for (const text of ["0", "1.5", "", "-3", "9007199254740993"])
      expect(() => parseCount("pids limit", 1)(text)).toThrow(
        /^bad pids limit .*expected a whole number, 1 or more$/,
      );
  });

  it("durations are seconds unless they name a unit", () => {
    expect(["10", "10s", "500ms", "2m", "1h", "0.5"].map(parseDurationMs)).toEqual([
      10_000, 10_000, 500, 120_000, 3_600_000, 500,
    ]);
    for (const text of ["", "0", "-1s", "10d", "1000h"])
      expect(() => parseDurationMs(text)).toThrow(/bad duration/);
  });

  it("signals go by name in any case, with or without SIG, or by number", () => {
    expect(["KILL", "sigterm", "SIGHUP", "9", "0", "64", "winch"].map(parseSignal)).toEqual([
      9, 15, 1, 9, 0, 64, 28,
    ]);
    for (const text of ["NOPE", "65", "-9", "", "constructor"])
      expect(() => parseSignal(text)).toThrow(/unknown signal/);
  });

  it("a bare environment name takes our own value and is left out when we have none", () => {
    process.env.BERTH_UNIT_TEST = "mine";
    try {
      expect(collectEnv("BERTH_UNIT_TEST", ["A=1"])).toEqual(["A=1", "BERTH_UNIT_TEST=mine"]);
    } finally {
      delete process.env.BERTH_UNIT_TEST;
    }
    expect(collectEnv("BERTH_UNIT_TEST", ["A=1"])).toEqual(["A=1"]);
    expect(collectEnv("B=x=y", ["A=1"])).toEqual(["A=1", "B=x=y"]);
    expect(() => collectEnv("=x")).toThrow(/expected NAME=value/);
  });

  it("labels and volumes are taken apart at their separators", () => {
    expect(collectLabel("a=b=c", { z: "1" })).toEqual({ z: "1", a: "b=c" });
    expect(() => collectLabel("novalue")).toThrow(/expected key=value/);
    expect(collectVolume("/a:/b:ro")).toEqual([
      { destination: "/b", type: "bind", source: "/a", options: ["rbind", "ro"] },
    ]);
    for (const text of ["a:/b", "/a:b", "/a", "/a:/b:rx", "/a:/b:ro:x"])
      expect(() => collectVolume(text)).toThrow(/bad volume/);
  });
});
