import { describe, expect, it } from "vitest";
import { Request } from "../../../src/wire/gen/ttrpc/ttrpc.js";
import {
  encodeFrame,
  FrameDecoder,
  type FrameHeader,
  frameTypes,
  headerBytes,
  maxPayloadBytes,
} from "../../../src/wire/ttrpc/frame.js";

function collect() {
  const frames: Array<{ header: FrameHeader; payload: Buffer }> = [];
  const oversized: FrameHeader[] = [];
  const decoder = new FrameDecoder({
    onFrame: (header, payload) => frames.push({ header, payload: Buffer.from(payload) }),
    onOversized: (header) => oversized.push(header),
  });
  return { decoder, frames, oversized };
}

const frameOf = (streamId: number, payload: Uint8Array): Buffer =>
  encodeFrame(streamId, frameTypes.request, 0, (writer) => writer.raw(payload));

describe("ttrpc frames", () => {
  it("encodes the Connect request that was captured from containerd byte for byte", () => {
    const frame = encodeFrame(1, frameTypes.request, 0, (writer) =>
      Request.encode(
        {
          service: "containerd.task.v2.Task",
          method: "Connect",
          payload: Buffer.from("0a027232", "hex"),
          timeoutNano: 0n,
          metadata: [],
        },
        writer,
      ),
    );
    expect(frame.toString("hex")).toBe(
      "00000028000000010100" +
        "0a17636f6e7461696e6572642e7461736b2e76322e5461736b" +
        "1207436f6e6e656374" +
        "1a040a027232",
    );
  });

  it("decodes frames however the stream is cut", () => {
    const payloads = [Buffer.alloc(0), Buffer.from("a"), Buffer.alloc(70_000, 7), Buffer.from("last")];
    const stream = Buffer.concat(payloads.map((payload, index) => frameOf(index * 2 + 1, payload)));
    for (const size of [1, 3, 9, 10, 11, 4096, stream.length]) {
      const { decoder, frames } = collect();
      for (let at = 0; at < stream.length; at += size) decoder.push(stream.subarray(at, at + size));
      expect(frames.map((frame) => frame.header.streamId)).toEqual([1, 3, 5, 7]);
      expect(frames.every((frame, index) => frame.payload.equals(payloads[index] ?? Buffer.alloc(0)))).toBe(
        true,
      );
      expect(decoder.idle).toBe(true);
    }
  });

  it("accepts the largest payload and throws a larger one's body away without losing its place", () => {
    const { decoder, frames, oversized } = collect();
    decoder.push(frameOf(1, Buffer.alloc(maxPayloadBytes)));
    const tooLarge = frameOf(3, Buffer.alloc(maxPayloadBytes + 1));
    decoder.push(tooLarge.subarray(0, headerBytes + 5));
    expect(decoder.idle).toBe(false);
    decoder.push(Buffer.concat([tooLarge.subarray(headerBytes + 5), frameOf(5, Buffer.from("next"))]));
    expect(frames.map((frame) => [frame.header.streamId, frame.payload.length])).toEqual([
      [1, maxPayloadBytes],
      [5, 4],
    ]);
    expect(oversized.map((header) => [header.streamId, header.length])).toEqual([[3, maxPayloadBytes + 1]]);
  });

  it("knows when a stream ends inside a frame", () => {
    const { decoder } = collect();
    decoder.push(frameOf(1, Buffer.from("abc")).subarray(0, 4));
    expect(decoder.idle).toBe(false);
  });
});
