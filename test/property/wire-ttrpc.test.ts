import fc from "fast-check";
import { expect, it } from "vitest";
import { encodeFrame, FrameDecoder } from "../../src/wire/ttrpc/frame.js";

it("frames come out as they went in, whatever the pieces the stream arrives in", () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.record({
          streamId: fc.nat(0xffffffff),
          type: fc.nat(255),
          flags: fc.nat(255),
          payload: fc.uint8Array({ maxLength: 200 }),
        }),
        { maxLength: 10 },
      ),
      fc.array(fc.integer({ min: 1, max: 64 }), { minLength: 1 }),
      (frames, sizes) => {
        const stream = Buffer.concat(
          frames.map(({ streamId, type, flags, payload }) =>
            encodeFrame(streamId, type, flags, (writer) => writer.raw(payload)),
          ),
        );
        const seen: unknown[] = [];
        const decoder = new FrameDecoder({
          onFrame: ({ streamId, type, flags }, payload) =>
            seen.push({ streamId, type, flags, payload: Uint8Array.from(payload) }),
          onOversized: () => seen.push("oversized"),
        });
        for (let at = 0, turn = 0; at < stream.length; turn++) {
          const size = sizes[turn % sizes.length] ?? 1;
          decoder.push(stream.subarray(at, at + size));
          at += size;
        }
        expect(seen).toEqual(frames.map((frame) => ({ ...frame, payload: Uint8Array.from(frame.payload) })));
        expect(decoder.idle).toBe(true);
      },
    ),
    { numRuns: 500 },
  );
});
