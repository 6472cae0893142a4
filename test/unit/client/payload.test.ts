import { describe, expect, it } from "vitest";
import {
  decodeAny,
  eventView,
  execIdOf,
  jsonOf,
  ociAny,
  plain,
  runcOptions,
  timeText,
} from "../../../src/client/payload.js";
import { cpuPercent, sampleOf } from "../../../src/client/usage-sample.js";
import { TaskExit } from "../../../src/wire/gen/containerd/events/events.js";
import { Metrics as MetricsV1 } from "../../../src/wire/gen/io/containerd/cgroups/v1/cgroups.js";
import { Metrics as MetricsV2 } from "../../../src/wire/gen/io/containerd/cgroups/v2/cgroups.js";

const at = { seconds: 1_700_000_000n, nanos: 120_000_000 };

describe("what travels in an Any", () => {
  it("an event is printed with its fields, times as text", () => {
    const exit = TaskExit.fromPartial({ containerId: "c", id: "e", pid: 5, exitStatus: 137, exitedAt: at });
    const event = {
      typeUrl: "containerd.events.TaskExit",
      value: Buffer.from(TaskExit.encode(exit).finish()),
    };
    expect(eventView({ timestamp: at, namespace: "ns", topic: "/tasks/exit", event })).toEqual({
      timestamp: "2023-11-14T22:13:20.12Z",
      namespace: "ns",
      topic: "/tasks/exit",
      event: { containerId: "c", id: "e", pid: 5, exitStatus: 137, exitedAt: "2023-11-14T22:13:20.12Z" },
    });
    expect(decodeAny({ ...event, typeUrl: `types.googleapis.com/${event.typeUrl}` })).toMatchObject({
      id: "e",
    });
  });

  it("an unknown or broken payload is shown as it is", () => {
    expect(decodeAny({ typeUrl: "x.Y", value: Buffer.from([1, 2]) })).toEqual({
      typeUrl: "x.Y",
      value: "AQI=",
    });
    expect(decodeAny({ typeUrl: "containerd.events.TaskExit", value: Buffer.from([0xff]) })).toEqual({
      typeUrl: "containerd.events.TaskExit",
      value: "/w==",
    });
  });

  it("JSON documents go there and back", () => {
    const any = ociAny("Spec", { a: 1 });
    expect(any.typeUrl).toBe("types.containerd.io/opencontainers/runtime-spec/1/Spec");
    expect(jsonOf(any)).toEqual({ a: 1 });
    expect(decodeAny(any)).toEqual({ a: 1 });
    expect(jsonOf(undefined)).toBeUndefined();
    expect(jsonOf({ typeUrl: "x", value: Buffer.from("{") })).toBeUndefined();
  });

  it("runtime options name the binary", () => {
    expect(decodeAny(runcOptions({ binaryName: "crun" }))).toMatchObject({ binaryName: "crun", root: "" });
    expect(execIdOf(undefined)).toBe("");
  });

  it("numbers beyond JSON's become text, absent fields disappear", () => {
    expect(plain({ a: 5n, b: 2n ** 63n, c: undefined, d: [Buffer.from("x")] })).toEqual({
      a: 5,
      b: "9223372036854775808",
      d: ["eA=="],
    });
  });

  it("Go's zero time is no time", () => {
    expect(timeText({ seconds: -62135596800n, nanos: 0 })).toBe("");
    expect(timeText(undefined)).toBe("");
  });
});

describe("usage of a container", () => {
  it("reads cgroup v1: cache that can be dropped does not count, no limit is undefined", () => {
    const metrics = MetricsV1.fromPartial({
      cpu: { usage: { total: 2_000_000_000n } },
      memory: { usage: { usage: 1000n, limit: 9223372036854771712n }, totalInactiveFile: 300n },
      pids: { current: 3n },
      blkio: {
        ioServiceBytesRecursive: [
          { op: "Read", value: 5n },
          { op: "Write", value: 7n },
          { op: "read", value: 1n },
          { op: "Total", value: 13n },
        ],
      },
    });
    const data = {
      typeUrl: "io.containerd.cgroups.v1.Metrics",
      value: Buffer.from(MetricsV1.encode(metrics).finish()),
    };
    expect(sampleOf({ timestamp: at, id: "c", data }, 0)).toMatchObject({
      id: "c",
      cpuTotalNs: 2e9,
      memoryBytes: 700,
      memoryLimitBytes: undefined,
      pids: 3,
      readBytes: 6,
      writtenBytes: 7,
    });
  });

  it("reads cgroup v2 in the same units", () => {
    const metrics = MetricsV2.fromPartial({
      cpu: { usageUsec: 2_000_000n },
      memory: { usage: 1000n, usageLimit: 4096n, inactiveFile: 300n },
      pids: { current: 3n },
      io: { usage: [{ rbytes: 5n, wbytes: 7n }, { rbytes: 1n }] },
    });
    const data = {
      typeUrl: "io.containerd.cgroups.v2.Metrics",
      value: Buffer.from(MetricsV2.encode(metrics).finish()),
    };
    expect(sampleOf({ timestamp: at, id: "c", data }, 0)).toMatchObject({
      cpuTotalNs: 2e9,
      memoryBytes: 700,
      memoryLimitBytes: 4096,
      pids: 3,
      readBytes: 6,
      writtenBytes: 7,
    });
    expect(
      sampleOf({ timestamp: at, id: "c", data: { typeUrl: "other", value: Buffer.of() } }, 0),
    ).toBeUndefined();
  });

  it("turns two samples into a share of one processor, and says nothing for a counter that went back", () => {
    const sample = (takenAtMs: number, cpuTotalNs: number) => ({
      id: "c",
      timestamp: "",
      takenAtMs,
      cpuTotalNs,
      memoryBytes: 0,
      memoryLimitBytes: undefined,
      pids: 1,
      readBytes: 0,
      writtenBytes: 0,
    });
    expect(cpuPercent(sample(1000, 0), sample(2000, 500e6))).toBe(50);
    expect(cpuPercent(undefined, sample(2000, 1))).toBeUndefined();
    expect(cpuPercent(sample(1000, 10), sample(2000, 5))).toBeUndefined();
  });
});
