/**
 * ttrpc frames: ten bytes of header, then the payload. The decoder takes the stream in whatever pieces the
 * socket delivers and copies each byte at most once, so many tiny pieces cost no more than one large one.
 */
import { BinaryWriter } from "@bufbuild/protobuf/wire";

export const headerBytes = 10;
/** Longest payload that either side may send; ttrpc's own limit. */
export const maxPayloadBytes = 4 << 20;

export const frameTypes = { request: 1, response: 2, data: 3 } as const;
export const frameFlags = { remoteClosed: 1, remoteOpen: 2, noData: 4 } as const;

export interface FrameHeader {
  readonly length: number;
  readonly streamId: number;
  readonly type: number;
  readonly flags: number;
}

/** The words with which ttrpc refuses a payload over the limit (status resource-exhausted). */
export const oversizedText = (length: number): string =>
  `message length ${length} exceed maximum message size of ${maxPayloadBytes}`;

export interface FrameListener {
  /** One whole frame. `payload` may be a view of the chunk it came in: copy what must be kept. */
  onFrame(header: FrameHeader, payload: Uint8Array): void;
  /** A frame over the limit; its body is thrown away as it arrives. */
  onOversized(header: FrameHeader): void;
}

export class FrameDecoder {
  readonly #listener: FrameListener;
  readonly #partialHeader = Buffer.allocUnsafeSlow(headerBytes);
  #headerFill = 0;
  #header: FrameHeader | undefined;
  #body: Buffer | undefined;
  #bodyFill = 0;
  #discardBytes = 0;

  constructor(listener: FrameListener) {
    this.#listener = listener;
  }

  /** True between frames: a stream that ends here was not torn. */
  get idle(): boolean {
    return this.#headerFill === 0 && this.#header === undefined && this.#discardBytes === 0;
  }

  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#discardBytes > 0) {
        const dropped = Math.min(this.#discardBytes, chunk.length - at);
        this.#discardBytes -= dropped;
        at += dropped;
      } else if (this.#header === undefined) {
        at = this.#takeHeader(chunk, at);
      } else {
        at = this.#takeBody(this.#header, chunk, at);
      }
    }
  }

  #takeHeader(chunk: Buffer, at: number): number {
    let header: FrameHeader;
    let next: number;
    if (this.#headerFill === 0 && chunk.length - at >= headerBytes) {
      header = readHeader(chunk, at);
      next = at + headerBytes;
    } else {
      const taken = chunk.copy(
        this.#partialHeader,
        this.#headerFill,
        at,
        at + headerBytes - this.#headerFill,
      );
      this.#headerFill += taken;
      next = at + taken;
      if (this.#headerFill < headerBytes) return next;
      this.#headerFill = 0;
      header = readHeader(this.#partialHeader, 0);
    }
    if (header.length > maxPayloadBytes) {
      this.#discardBytes = header.length;
      this.#listener.onOversized(header);
    } else if (header.length === 0) {
      this.#listener.onFrame(header, chunk.subarray(next, next));
    } else {
      this.#header = header;
    }
    return next;
  }

  #takeBody(header: FrameHeader, chunk: Buffer, at: number): number {
    const available = chunk.length - at;
    if (this.#body === undefined) {
      if (available >= header.length) {
        this.#header = undefined;
        this.#listener.onFrame(header, chunk.subarray(at, at + header.length));
        return at + header.length;
      }
      // The pages of a large buffer cost memory only once bytes arrive, so a peer that announces 4 MiB and
      // sends none gains nothing.
      this.#body = Buffer.allocUnsafeSlow(header.length);
      this.#bodyFill = 0;
    }
    const body = this.#body;
    const taken = chunk.copy(body, this.#bodyFill, at, at + header.length - this.#bodyFill);
    this.#bodyFill += taken;
    if (this.#bodyFill === header.length) {
      this.#header = undefined;
      this.#body = undefined;
      this.#listener.onFrame(header, body);
    }
    return at + taken;
  }
}

function readHeader(from: Buffer, at: number): FrameHeader {
  return {
    length: from.readUInt32BE(at),
    streamId: from.readUInt32BE(at + 4),
    type: from.readUInt8(at + 8),
    flags: from.readUInt8(at + 9),
  };
}

const roomForHeader = new Uint8Array(headerBytes);

/** A frame whose payload `write` encodes, header and payload in one buffer made with a single copy. */
export function encodeFrame(
  streamId: number,
  type: number,
  flags: number,
  write: (writer: BinaryWriter) => BinaryWriter,
): Buffer {
  const bytes = write(new BinaryWriter().raw(roomForHeader)).finish();
  const frame = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  frame.writeUInt32BE(frame.length - headerBytes, 0);
  frame.writeUInt32BE(streamId, 4);
  frame.writeUInt8(type, 8);
  frame.writeUInt8(flags, 9);
  return frame;
}

export const framePayloadLength = (frame: Buffer): number => frame.length - headerBytes;
