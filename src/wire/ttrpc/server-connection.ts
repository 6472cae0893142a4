/**
 * The server's end of one connection: decodes requests, runs their handlers side by side and writes responses
 * in whatever order they come. Stops reading from a peer that does not read its responses.
 */
import type { Socket } from "node:net";
import { DaemonError, toDaemonError } from "../../core/errors.js";
import type { Logger } from "../../core/logger.js";
import { Request, Response } from "../gen/ttrpc/ttrpc.js";
import { messageWithClass, statusCodes } from "../status-code.js";
import {
  encodeFrame,
  FrameDecoder,
  type FrameHeader,
  framePayloadLength,
  frameTypes,
  maxPayloadBytes,
  oversizedText,
} from "./frame.js";
import { FrameWriter } from "./frame-writer.js";
import { ServerCall, type TtrpcHandler } from "./server-call.js";

/** Calls that one peer may have open; more are refused. Waits stay open as long as containers live. */
const maxOpenCalls = 16_384;

const noPayload = Buffer.alloc(0);

export type ServiceTable = ReadonlyMap<string, ReadonlyMap<string, TtrpcHandler>>;

export class ServerConnection {
  readonly #socket: Socket;
  readonly #services: ServiceTable;
  readonly #log: Logger;
  readonly #writer: FrameWriter;
  readonly #calls = new Map<number, ServerCall>();
  readonly #decoder: FrameDecoder;
  #lastStreamId = 0;
  #closed = false;
  #refusing = false;
  #onIdle: (() => void) | undefined;

  constructor(socket: Socket, services: ServiceTable, log: Logger, onClosed: () => void) {
    this.#socket = socket;
    this.#services = services;
    this.#log = log;
    this.#writer = new FrameWriter(socket);
    this.#decoder = new FrameDecoder({
      onFrame: (header, payload) => this.#onFrame(header, payload),
      onOversized: (header) =>
        this.#respondStatus(header.streamId, "resource-exhausted", oversizedText(header.length)),
    });
    socket.on("data", (chunk: Buffer) => this.#onData(chunk));
    socket.on("drain", () => {
      if (!this.#writer.congested) this.#socket.resume();
    });
    socket.on("error", (error) => this.#log.debug({ err: error }, "ttrpc connection failed"));
    socket.once("close", () => {
      this.#closed = true;
      if (!this.#decoder.idle) this.#log.debug({}, "ttrpc connection ended inside a frame");
      for (const call of this.#calls.values()) call.abort();
      this.#onIdle?.();
      onClosed();
    });
  }

  get openCalls(): number {
    return this.#calls.size;
  }

  /** From now on requests are refused unavailable; resolves when the open ones are answered or `graceMs` have passed. */
  async drain(graceMs: number): Promise<void> {
    this.#refusing = true;
    if (this.#closed || this.#calls.size === 0 || graceMs <= 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, graceMs);
      this.#onIdle = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#onIdle = undefined;
  }

  /** Sends what is answered, then ends; a peer that does not read is cut off after `graceMs`. */
  async end(graceMs: number): Promise<void> {
    if (this.#closed || this.#socket.destroyed) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => this.#socket.destroy(), graceMs);
      this.#socket.once("close", () => {
        clearTimeout(timer);
        resolve();
      });
      this.#writer.flush();
      this.#socket.end(() => this.#socket.destroy());
    });
  }

  #onData(chunk: Buffer): void {
    this.#decoder.push(chunk);
    // A peer that sends but does not read would pile responses up here without end.
    if (this.#writer.congested) this.#socket.pause();
  }

  #onFrame(header: FrameHeader, payload: Uint8Array): void {
    if (header.type !== frameTypes.request && header.type !== frameTypes.data) return;
    const { streamId } = header;
    if (streamId % 2 !== 1) {
      this.#respondStatus(streamId, "invalid-argument", "StreamID must be odd for client initiated streams");
      return;
    }
    if (header.type === frameTypes.data) {
      // Unary calls have no later data: an open one ignores it, as the real server does.
      if (!this.#calls.has(streamId))
        this.#respondStatus(streamId, "invalid-argument", "StreamID is no longer active");
      return;
    }
    if (streamId <= this.#lastStreamId) {
      this.#respondStatus(streamId, "invalid-argument", "StreamID cannot be re-used and must increment");
      return;
    }
    this.#lastStreamId = streamId;
    this.#onRequest(streamId, payload);
  }

  #onRequest(streamId: number, payload: Uint8Array): void {
    let request: Request;
    try {
      request = Request.decode(payload);
    } catch (error) {
      this.#respondStatus(streamId, "invalid-argument", `unmarshal request error: ${messageOf(error)}`);
      return;
    }
    const service = this.#services.get(request.service);
    if (service === undefined) {
      this.#respondStatus(streamId, "unimplemented", `service ${request.service}`);
      return;
    }
    const handler = service.get(request.method);
    if (handler === undefined) {
      this.#respondStatus(streamId, "unimplemented", `method ${request.method}`);
      return;
    }
    if (this.#refusing) {
      this.#respondStatus(streamId, "unavailable", "ttrpc: server closed");
      return;
    }
    if (this.#calls.size >= maxOpenCalls) {
      this.#respondStatus(
        streamId,
        "resource-exhausted",
        `more than ${maxOpenCalls} calls open on one connection`,
      );
      return;
    }
    const call = new ServerCall(request.timeoutNano, request.metadata);
    this.#calls.set(streamId, call);
    let answer: Promise<Uint8Array>;
    try {
      answer = handler(request.payload, call);
    } catch (error) {
      answer = Promise.reject(error);
    }
    answer.then(
      (bytes) => this.#succeed(streamId, call, bytes),
      (error: unknown) => this.#fail(streamId, call, error),
    );
  }

  #succeed(streamId: number, call: ServerCall, payload: Uint8Array): void {
    if (!this.#closed) {
      const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
      const frame = encodeFrame(streamId, frameTypes.response, 0, (writer) =>
        Response.encode({ status: undefined, payload: bytes }, writer),
      );
      const length = framePayloadLength(frame);
      if (length > maxPayloadBytes)
        this.#respondStatus(streamId, "resource-exhausted", oversizedText(length));
      else this.#writer.write(frame);
    }
    this.#finish(streamId, call);
  }

  #fail(streamId: number, call: ServerCall, thrown: unknown): void {
    const error = toDaemonError(thrown);
    if (!(thrown instanceof DaemonError)) this.#log.debug({ err: thrown, streamId }, "ttrpc handler threw");
    // A shim's plain errors carry no class words; the daemon that passes them on adds its own.
    const message = error.kind === "unknown" ? error.message : messageWithClass(error);
    this.#respondStatus(streamId, error.kind, message);
    this.#finish(streamId, call);
  }

  #finish(streamId: number, call: ServerCall): void {
    call.finish();
    this.#calls.delete(streamId);
    if (this.#calls.size === 0) this.#onIdle?.();
  }

  #respondStatus(streamId: number, kind: DaemonError["kind"], message: string): void {
    if (this.#closed) return;
    const status = { code: statusCodes[kind], message, details: [] };
    this.#writer.write(
      encodeFrame(streamId, frameTypes.response, 0, (writer) =>
        Response.encode({ status, payload: noPayload }, writer),
      ),
    );
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
