import { describe, expect, it } from "vitest";
import { zeroInstant } from "../../../src/core/exit.js";
import type { Envelope } from "../../../src/ports/event-sink.js";
import type { OpaqueAny } from "../../../src/ports/store-port.js";
import {
  fromAny,
  isTypeUrl,
  packJson,
  toAny,
  typeUrls,
  unpackAny,
  unpackJson,
} from "../../../src/wire/any.js";
import { fromWireEnvelope, toWireEnvelope } from "../../../src/wire/envelope.js";
import {
  adaptEvent,
  eventTopics,
  fieldOf,
  packEvent,
  unpackEvent,
} from "../../../src/wire/event-payloads.js";
import { compileFilters } from "../../../src/wire/filter/filter.js";
import { ProcessDetails } from "../../../src/wire/gen/containerd/runc/v1/runc.js";
import { Envelope as WireEnvelope } from "../../../src/wire/gen/containerd/types/types.js";
import { Timestamp } from "../../../src/wire/gen/google/protobuf/timestamp.js";
import { formatInstant, fromTimestamp, toTimestamp } from "../../../src/wire/timestamp.js";

const envelopeOf = (topic: string, event: OpaqueAny): Envelope => ({
  timestamp: { seconds: 1n, nanos: 2 },
  namespace: "moby",
  topic,
  event,
});
const taskCreate = packEvent("TaskCreate", {
  containerId: "c1",
  bundle: "/b",
  rootfs: [],
  io: { stdin: "", stdout: "/out", stderr: "", terminal: false },
  checkpoint: "",
  pid: 7,
});

describe("an event's fields", () => {
  it.each([
    ["namespace", "moby"],
    ["topic", "/tasks/create"],
    ["timestamp", undefined],
    ["event", undefined],
    ["event.container_id", "c1"],
    ["event.containerId", undefined],
    ["event.bundle", "/b"],
    ["event.io.stdout", "/out"],
    ["event.io.stdin", undefined],
    ["event.io.terminal", "false"],
    ["event.io", undefined],
    ["event.pid", undefined],
    ["event.rootfs", undefined],
    ["event.checkpoint", undefined],
    ["event.constructor", undefined],
    ["event.to_string", undefined],
  ])("%s of a TaskCreate is %j", (path, expected) => {
    expect(fieldOf(envelopeOf("/tasks/create", taskCreate), path.split("."))).toBe(expected);
  });

  it("include labels and the runtime's name, but nothing of an unknown or broken payload", () => {
    const update = packEvent("ContainerUpdate", {
      id: "c",
      image: "",
      labels: { "a.b": "v" },
      snapshotKey: "k",
    });
    expect(fieldOf(envelopeOf("t", update), ["event", "labels", "a", "b"])).toBe("v");
    expect(fieldOf(envelopeOf("t", update), ["event", "labels", "a"])).toBeUndefined();
    expect(fieldOf(envelopeOf("t", update), ["event", "snapshot_key"])).toBe("k");
    const create = packEvent("ContainerCreate", {
      id: "c",
      image: "i",
      runtime: { name: "r", options: undefined },
    });
    expect(fieldOf(envelopeOf("t", create), ["event", "runtime", "name"])).toBe("r");
    const none = packEvent("ContainerCreate", { id: "c", image: "i", runtime: undefined });
    expect(fieldOf(envelopeOf("t", none), ["event", "runtime", "name"])).toBeUndefined();
    for (const event of [
      { typeUrl: "other.Thing", value: Buffer.from("x") },
      { typeUrl: "containerd.events.toString", value: Buffer.from("x") },
      { typeUrl: "containerd.events.TaskExit", value: Buffer.from([0x0a, 0xff]) },
    ]) {
      expect(fieldOf(envelopeOf("t", event), ["event", "container_id"])).toBeUndefined();
    }
  });

  it("serve dockerd's subscription filter", () => {
    const matches = compileFilters(["namespace==moby,topic~=|^/tasks/|"]);
    expect(matches(adaptEvent(envelopeOf("/tasks/create", taskCreate)))).toBe(true);
    expect(matches(adaptEvent(envelopeOf("/containers/create", taskCreate)))).toBe(false);
    expect(matches(adaptEvent({ ...envelopeOf("/tasks/create", taskCreate), namespace: "x" }))).toBe(false);
    expect(
      compileFilters(['event.container_id==c1,topic=="/tasks/create"'])(
        adaptEvent(envelopeOf("/tasks/create", taskCreate)),
      ),
    ).toBe(true);
  });
});

describe("payloads and Anys", () => {
  it("carry bare type names and are read with a prefix as well", () => {
    expect(taskCreate.typeUrl).toBe("containerd.events.TaskCreate");
    const prefixed = { ...taskCreate, typeUrl: `type.googleapis.com/${taskCreate.typeUrl}` };
    expect(unpackEvent(prefixed)).toMatchObject({ name: "TaskCreate", payload: { containerId: "c1" } });
    expect(isTypeUrl(typeUrls.spec, "Spec")).toBe(true);
    expect(isTypeUrl("xcontainerd.runc.v1.Options", typeUrls.runcOptions)).toBe(false);
    expect(eventTopics.TaskExecAdded).toBe("/tasks/exec-added");
  });

  it("decode only as what they say they are", () => {
    const details = {
      typeUrl: `x/${typeUrls.processDetails}`,
      value: ProcessDetails.encode({ execId: "e" }).finish(),
    };
    expect(unpackAny(typeUrls.processDetails, ProcessDetails, details)).toEqual({ execId: "e" });
    expect(() => unpackAny(typeUrls.runcOptions, ProcessDetails, details)).toThrow(
      expect.objectContaining({ kind: "invalid-argument" }),
    );
    expect(() =>
      unpackAny(typeUrls.processDetails, ProcessDetails, { ...details, value: Buffer.from([0x0a, 0xff]) }),
    ).toThrow(expect.objectContaining({ kind: "invalid-argument" }));
    expect(unpackJson(packJson(typeUrls.process, { args: ["sh"] }))).toEqual({ args: ["sh"] });
    expect(() => unpackJson({ typeUrl: "x", value: Buffer.from("{") })).toThrow(
      expect.objectContaining({ kind: "invalid-argument" }),
    );
  });

  it("pass through without a byte changed", () => {
    const bytes = Buffer.from([0, 255, 10, 128]).subarray(1, 3);
    const any = toAny({ typeUrl: "any.Thing", value: bytes });
    expect(any.value.equals(bytes)).toBe(true);
    expect(fromAny(any)).toEqual({ typeUrl: "any.Thing", value: bytes });
    expect(toAny(undefined)).toBeUndefined();
    expect(fromAny(undefined)).toBeUndefined();
  });
});

describe("times", () => {
  it("that never came travel as Go's zero time, explicitly", () => {
    expect(Buffer.from(Timestamp.encode(toTimestamp(undefined)).finish()).toString("hex")).toBe(
      "088092b8c398feffffff01",
    );
    expect(fromTimestamp(undefined)).toEqual(zeroInstant);
    expect(fromTimestamp({ seconds: 5n, nanos: -1 })).toEqual({ seconds: 4n, nanos: 999_999_999 });
    expect(fromTimestamp({ seconds: 5n, nanos: 2_000_000_001 })).toEqual({ seconds: 7n, nanos: 1 });
  });

  it("print as RFC 3339", () => {
    expect(formatInstant(zeroInstant)).toBe("0001-01-01T00:00:00Z");
    expect(formatInstant({ seconds: 1_700_000_000n, nanos: 120_000_000 })).toBe("2023-11-14T22:13:20.12Z");
  });

  it("and envelopes survive the wire", () => {
    const envelope = envelopeOf("/tasks/create", taskCreate);
    const decoded = fromWireEnvelope(
      WireEnvelope.decode(WireEnvelope.encode(toWireEnvelope(envelope)).finish()),
    );
    expect({ ...decoded, event: { ...decoded.event, value: Buffer.from(decoded.event.value) } }).toEqual({
      ...envelope,
      event: { ...taskCreate, value: Buffer.from(taskCreate.value) },
    });
    expect(
      fromWireEnvelope({ timestamp: undefined, namespace: "", topic: "", event: undefined }),
    ).toMatchObject({
      timestamp: zeroInstant,
      event: { typeUrl: "" },
    });
  });
});
