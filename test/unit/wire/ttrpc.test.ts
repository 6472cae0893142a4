import { once } from "node:events";
import { chmod, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DaemonError, errorKinds, failedPrecondition, notFound } from "../../../src/core/errors.js";
import { silentLogger } from "../../../src/core/logger.js";
import { ConnectRequest, ConnectResponse } from "../../../src/wire/gen/containerd/task/v2/task.js";
import { Request, Response } from "../../../src/wire/gen/ttrpc/ttrpc.js";
import { statusCodes } from "../../../src/wire/status-code.js";
import { connectTtrpc, type TtrpcClient } from "../../../src/wire/ttrpc/client.js";
import { encodeFrame, FrameDecoder, frameTypes, maxPayloadBytes } from "../../../src/wire/ttrpc/frame.js";
import { ttrpcMethod, ttrpcServices } from "../../../src/wire/ttrpc/method.js";
import { createTtrpcServer, type TtrpcServer, type TtrpcServices } from "../../../src/wire/ttrpc/server.js";

let directory: string;
let path: string;
const cleanups: Array<() => unknown> = [];
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "ttrpc-"));
  path = join(directory, "s");
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  await rm(directory, { recursive: true });
});

async function serve(services: TtrpcServices): Promise<TtrpcServer> {
  const server = createTtrpcServer({ services, log: silentLogger });
  cleanups.push(() => server.close());
  await server.listen(path);
  return server;
}
async function dial(): Promise<TtrpcClient> {
  const client = await connectTtrpc(path, { connectTimeoutMs: 2000 });
  cleanups.push(() => client.close());
  return client;
}
/** A peer that speaks only frames. */
async function dialRaw() {
  const socket = connect({ path });
  cleanups.push(() => socket.destroy());
  await once(socket, "connect");
  const waiting: Array<(answer: { streamId: number; response: Response }) => void> = [];
  const decoder = new FrameDecoder({
    onFrame: ({ streamId }, payload) => waiting.shift()?.({ streamId, response: Response.decode(payload) }),
    onOversized: () => {},
  });
  socket.on("data", (chunk: Buffer) => decoder.push(chunk));
  const next = () =>
    new Promise<{ streamId: number; response: Response }>((resolve) => waiting.push(resolve));
  const send = (streamId: number, type: number, method: string, payload = Buffer.alloc(0)) =>
    socket.write(
      encodeFrame(streamId, type, 0, (writer) =>
        Request.encode({ service: "s.S", method, payload, timeoutNano: 0n, metadata: [] }, writer),
      ),
    );
  return { socket, next, send };
}
/** A server that does with each connection what the test says. */
async function rawServer(onConnection: (socket: Socket) => void): Promise<void> {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    cleanups.push(() => socket.destroy());
    onConnection(socket);
  });
  cleanups.push(() => new Promise((resolve) => server.close(resolve)));
  server.listen(path);
  await once(server, "listening");
}
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();
const echo: TtrpcServices = { "s.S": { Echo: async (payload) => payload } };
const second = { timeoutMs: 1000 };

describe("a ttrpc call", () => {
  it("carries payload, metadata and timeout to the handler and its answer back", async () => {
    let seen: unknown;
    await serve({
      "s.S": {
        Do: async (payload, call) => {
          seen = { payload: text(payload), timeoutMs: call.timeoutMs, metadata: [...call.metadata] };
          return Buffer.from("answer");
        },
      },
    });
    const client = await dial();
    const answer = await client.call("s.S", "Do", Buffer.from("question"), {
      timeoutMs: 1500,
      metadata: { "Containerd-Namespace-Ttrpc": "moby", many: ["a", "b"] },
    });
    expect(text(answer)).toBe("answer");
    expect(seen).toEqual({
      payload: "question",
      timeoutMs: 1500,
      metadata: [
        ["containerd-namespace-ttrpc", ["moby"]],
        ["many", ["a", "b"]],
      ],
    });
  });

  it("runs handlers side by side and delivers answers in any order", async () => {
    const gates = new Map<string, () => void>();
    const started: string[] = [];
    await serve({
      "s.S": {
        Do: (payload) => {
          const name = text(payload);
          started.push(name);
          return new Promise((resolve) => gates.set(name, () => resolve(payload)));
        },
        Release: async (payload) => {
          gates.get(text(payload))?.();
          return payload;
        },
      },
    });
    const client = await dial();
    const order: string[] = [];
    const calls = ["a", "b", "c"].map((name) =>
      client.call("s.S", "Do", Buffer.from(name), second).then((answer) => order.push(text(answer))),
    );
    for (const name of ["c", "a", "b"]) await client.call("s.S", "Release", Buffer.from(name), second);
    await Promise.all(calls);
    expect(started).toEqual(["a", "b", "c"]);
    expect(order).toEqual(["c", "a", "b"]);
  });

  it.each(errorKinds)("brings an error of kind %s over with its message unchanged", async (kind) => {
    await serve({ "s.S": { Do: () => Promise.reject(new DaemonError(kind, "what happened: here")) } });
    const client = await dial();
    await expect(client.call("s.S", "Do", Buffer.alloc(0), second)).rejects.toMatchObject({
      kind,
      message: "what happened: here",
    });
  });

  it("puts containerd's class words on the wire, except for plain and bare errors", async () => {
    await serve({
      "s.S": {
        Classed: () => Promise.reject(notFound("container not created")),
        Bare: () => Promise.reject(failedPrecondition("as it stands", { bare: true })),
        Plain: () => Promise.reject(new Error("cannot pause a paused container")),
        Sync: () => {
          throw new Error("thrown, not rejected");
        },
        Nothing: () => Promise.reject(undefined),
      },
    });
    const { next, send } = await dialRaw();
    const results: unknown[] = [];
    for (const [index, method] of ["Classed", "Bare", "Plain", "Sync", "Nothing"].entries()) {
      const answer = next();
      send(index * 2 + 1, frameTypes.request, method);
      const { response } = await answer;
      results.push([response.status?.code, response.status?.message]);
    }
    expect(results).toEqual([
      [5, "container not created: not found"],
      [9, "as it stands"],
      [2, "cannot pause a paused container"],
      [2, "thrown, not rejected"],
      [2, "undefined"],
    ]);
  });

  it("to an unknown service or method answers 12 with ttrpc's words", async () => {
    await serve(echo);
    const client = await dial();
    await expect(client.call("nope.Nope", "X", Buffer.alloc(0), second)).rejects.toMatchObject({
      kind: "unimplemented",
      message: "service nope.Nope",
    });
    for (const method of ["Nope", "constructor", "__proto__"]) {
      await expect(client.call("s.S", method, Buffer.alloc(0), second)).rejects.toMatchObject({
        kind: "unimplemented",
        message: `method ${method}`,
      });
    }
  });

  it("with 4 MiB of payload or more is refused on either side and the connection lives on", async () => {
    await serve({ "s.S": { ...echo["s.S"], Large: async () => Buffer.alloc(maxPayloadBytes) } });
    const client = await dial();
    const tooLong = {
      kind: "resource-exhausted",
      message: expect.stringMatching(/^message length 41943\d\d exceed maximum/),
    };
    await expect(client.call("s.S", "Echo", Buffer.alloc(maxPayloadBytes), second)).rejects.toMatchObject(
      tooLong,
    );
    await expect(client.call("s.S", "Large", Buffer.alloc(0), second)).rejects.toMatchObject(tooLong);
    const nearly = Buffer.alloc(maxPayloadBytes - 64, 1);
    expect(nearly.equals(await client.call("s.S", "Echo", nearly, { timeoutMs: 5000 }))).toBe(true);
  });

  it("times out here when the peer ignores it, and a late answer is ignored", async () => {
    const sockets: Socket[] = [];
    await rawServer((socket) => sockets.push(socket));
    const client = await dial();
    await expect(client.call("s.S", "Do", Buffer.alloc(0), { timeoutMs: 20 })).rejects.toMatchObject({
      kind: "deadline-exceeded",
    });
    const later = client.call("s.S", "Do", Buffer.alloc(0), second);
    for (const streamId of [1, 3]) {
      sockets[0]?.write(
        encodeFrame(streamId, frameTypes.response, 0, (writer) =>
          Response.encode({ status: undefined, payload: Buffer.from(`to ${streamId}`) }, writer),
        ),
      );
    }
    expect(text(await later)).toBe("to 3");
  });

  it("that is aborted rejects at once with the reason", async () => {
    await rawServer(() => {});
    const client = await dial();
    const controller = new AbortController();
    const aborted = client.call("s.S", "Do", Buffer.alloc(0), {
      timeoutMs: "none",
      signal: controller.signal,
    });
    controller.abort();
    await expect(aborted).rejects.toMatchObject({ kind: "cancelled" });
    await expect(
      client.call("s.S", "Do", Buffer.alloc(0), { timeoutMs: "none", signal: controller.signal }),
    ).rejects.toMatchObject({ kind: "cancelled" });
    const reason = new AbortController();
    const refused = client.call("s.S", "Do", Buffer.alloc(0), { timeoutMs: "none", signal: reason.signal });
    reason.abort(failedPrecondition("the daemon stops"));
    await expect(refused).rejects.toMatchObject({ kind: "failed-precondition", message: "the daemon stops" });
  });

  it("rejects unavailable `ttrpc: closed` when the connection is lost, as do later ones", async () => {
    await rawServer((socket) => socket.once("data", () => socket.destroy()));
    const client = await dial();
    const lost = Promise.allSettled([
      client.call("s.S", "A", Buffer.alloc(0), { timeoutMs: "none" }),
      client.call("s.S", "B", Buffer.alloc(0), second),
    ]);
    for (const outcome of await lost) {
      expect(outcome).toMatchObject({ reason: { kind: "unavailable", message: "ttrpc: closed" } });
    }
    await client.closed;
    expect(client.isClosed).toBe(true);
    await expect(client.call("s.S", "C", Buffer.alloc(0), second)).rejects.toMatchObject({
      message: "ttrpc: closed",
    });
  });

  it("is refused resource-exhausted once a peer that does not read has too much waiting", async () => {
    await rawServer((socket) => socket.pause());
    const client = await dial();
    const outcomes: Promise<unknown>[] = [];
    for (let index = 0; index < 8; index++) {
      const call = client.call("s.S", "Do", Buffer.alloc(3 << 20), { timeoutMs: "none" });
      outcomes.push(call.catch((error: DaemonError) => error.kind));
    }
    expect(await Promise.race(outcomes)).toBe("resource-exhausted");
    client.close();
    const kinds = await Promise.all(outcomes);
    expect(kinds.filter((kind) => kind === "unavailable").length).toBeGreaterThanOrEqual(5);
  });

  it("survives an answer that is no Response", async () => {
    await rawServer((socket) =>
      socket.once("data", () =>
        socket.write(
          encodeFrame(1, frameTypes.response, 0, (writer) => writer.raw(Buffer.from([0x0a, 0xff]))),
        ),
      ),
    );
    const client = await dial();
    await expect(client.call("s.S", "Do", Buffer.alloc(0), second)).rejects.toMatchObject({
      kind: "internal",
    });
  });
});

describe("a ttrpc server", () => {
  it("refuses wrong stream ids on the offending stream with ttrpc's words", async () => {
    await serve(echo);
    const { next, send } = await dialRaw();
    const ask = async (streamId: number, type: number = frameTypes.request) => {
      const answer = next();
      send(streamId, type, "Echo", Buffer.from("x"));
      const { streamId: on, response } = await answer;
      return [on, response.status?.code ?? 0, response.status?.message ?? text(response.payload)];
    };
    expect(await ask(2)).toEqual([2, 3, "StreamID must be odd for client initiated streams"]);
    expect(await ask(5)).toEqual([5, 0, "x"]);
    expect(await ask(5)).toEqual([5, 3, "StreamID cannot be re-used and must increment"]);
    expect(await ask(3)).toEqual([3, 3, "StreamID cannot be re-used and must increment"]);
    expect(await ask(9, frameTypes.data)).toEqual([9, 3, "StreamID is no longer active"]);
    send(11, 77, "Echo");
    expect(await ask(11)).toEqual([11, 0, "x"]);
  });

  it("answers a frame over the limit with status 8 and goes on after its body", async () => {
    await serve(echo);
    const { socket, next, send } = await dialRaw();
    const answer = next();
    const length = maxPayloadBytes + 1;
    const header = Buffer.alloc(10);
    header.writeUInt32BE(length, 0);
    header.writeUInt32BE(1, 4);
    header.writeUInt8(frameTypes.request, 8);
    socket.write(header);
    const { streamId, response } = await answer;
    expect([streamId, response.status]).toMatchObject([
      1,
      { code: 8, message: `message length ${length} exceed maximum message size of ${maxPayloadBytes}` },
    ]);
    socket.write(Buffer.alloc(length));
    const echoed = next();
    send(3, frameTypes.request, "Echo", Buffer.from("still here"));
    expect(text((await echoed).response.payload)).toBe("still here");
  });

  it("answers a request that does not decode with 3", async () => {
    await serve(echo);
    const { socket, next } = await dialRaw();
    const answer = next();
    socket.write(encodeFrame(1, frameTypes.request, 0, (writer) => writer.raw(Buffer.from([0x0a, 0xff]))));
    expect((await answer).response.status).toMatchObject({
      code: 3,
      message: expect.stringMatching(/^unmarshal request error: /),
    });
  });

  it("aborts the handler's signal when its connection is lost", async () => {
    let reason: unknown;
    let aborted: () => void = () => {};
    const gone = new Promise<void>((resolve) => {
      aborted = resolve;
    });
    let entered: () => void = () => {};
    const inside = new Promise<void>((resolve) => {
      entered = resolve;
    });
    const server = await serve({
      "s.S": {
        Wait: (_, { signal }) =>
          new Promise((resolve) => {
            signal.addEventListener("abort", () => {
              reason = signal.reason;
              resolve(new Uint8Array());
              aborted();
            });
            entered();
          }),
      },
    });
    const client = await dial();
    const call = client.call("s.S", "Wait", Buffer.alloc(0), { timeoutMs: "none" });
    call.catch(() => {});
    await inside;
    expect([server.connectionCount, server.openCalls]).toEqual([1, 1]);
    client.close();
    await gone;
    expect(reason).toMatchObject({ kind: "cancelled" });
    await client.closed;
  });

  it("aborts the handler's signal, also one asked for late, when the client's timeout has passed", async () => {
    const { resolve, promise } = withResolvers<unknown>();
    await serve({
      "s.S": {
        Wait: async (_, call) => {
          await new Promise((done) => setTimeout(done, 30));
          resolve([call.timeoutMs, call.signal.aborted, call.signal.reason]);
          return new Uint8Array();
        },
      },
    });
    const client = await dial();
    await expect(client.call("s.S", "Wait", Buffer.alloc(0), { timeoutMs: 10 })).rejects.toBeInstanceOf(
      DaemonError,
    );
    expect(await promise).toMatchObject([10, true, { kind: "deadline-exceeded" }]);
  });

  it("replaces a dead socket, refuses to steal a live one, and replaces that too when told to", async () => {
    await serve(echo);
    const rival = createTtrpcServer({ services: echo, log: silentLogger });
    cleanups.push(() => rival.close());
    await expect(rival.listen(path)).rejects.toMatchObject({ kind: "already-exists" });
    await rival.listen(path, { replace: true, mode: 0o660 });
    expect((await stat(path)).mode & 0o777).toBe(0o660);
    const client = await dial();
    expect(text(await client.call("s.S", "Echo", Buffer.from("x"), second))).toBe("x");
    expect(rival.connectionCount).toBe(1);
  });

  it("takes over the socket file that a killed server left behind", async () => {
    const { spawn } = await import("node:child_process");
    const child = spawn(process.execPath, [
      "-e",
      `require("net").createServer().listen(${JSON.stringify(path)}, () => console.log("up"))`,
    ]);
    await once(child.stdout, "data");
    child.kill("SIGKILL");
    await once(child, "exit");
    expect((await stat(path)).isSocket()).toBe(true);
    await serve(echo);
    const client = await dial();
    expect(text(await client.call("s.S", "Echo", Buffer.from("x"), second))).toBe("x");
  });

  it("leaves a file that is no socket alone and refuses a path the kernel cannot hold", async () => {
    await writeFile(path, "precious");
    await chmod(path, 0o600);
    const server = createTtrpcServer({ services: echo, log: silentLogger });
    await expect(server.listen(path)).rejects.toMatchObject({ kind: "already-exists" });
    await expect(server.listen(`/${"x".repeat(107)}`)).rejects.toMatchObject({
      kind: "invalid-argument",
      message: expect.stringContaining("108 bytes long"),
    });
    await expect(server.listen("relative")).rejects.toMatchObject({ kind: "invalid-argument" });
  });

  it("lets open calls finish within the grace, refuses new ones, and removes its socket", async () => {
    const { resolve, promise } = withResolvers<Uint8Array>();
    const entered = withResolvers<void>();
    const server = await serve({
      "s.S": {
        Slow: () => {
          entered.resolve();
          return promise;
        },
        ...echo["s.S"],
      },
    });
    const client = await dial();
    const slow = client.call("s.S", "Slow", Buffer.alloc(0), second);
    await entered.promise;
    const closed = server.close({ graceMs: 5000 });
    await expect(client.call("s.S", "Echo", Buffer.alloc(0), second)).rejects.toMatchObject({
      kind: "unavailable",
      message: "ttrpc: server closed",
    });
    resolve(Buffer.from("done"));
    expect(text(await slow)).toBe("done");
    await closed;
    await client.closed;
    await expect(stat(path)).rejects.toMatchObject({ code: "ENOENT" });
    await expect(connectTtrpc(path)).rejects.toMatchObject({ kind: "unavailable" });
  });

  it("stops reading from a peer that does not read, and serves it when it does again", async () => {
    let handled = 0;
    await serve({
      "s.S": {
        Large: async () => {
          handled++;
          return Buffer.alloc(1 << 20);
        },
      },
    });
    const { socket, next, send } = await dialRaw();
    socket.pause();
    const answers = Array.from({ length: 200 }, () => next());
    for (let index = 0; index < 200; index++) {
      send(index * 2 + 1, frameTypes.request, "Large", Buffer.alloc(1 << 14));
    }
    // Its other clients are served while the congested one waits.
    const client = await dial();
    await client.call("s.S", "Large", Buffer.alloc(0), second);
    expect(handled).toBeLessThan(150);
    socket.resume();
    const all = await Promise.all(answers);
    expect(all.every(({ response }) => response.payload.length === 1 << 20)).toBe(true);
    expect(handled).toBe(201);
  });
});

describe("a typed ttrpc method", () => {
  const connectMethod = ttrpcMethod("containerd.task.v2.Task", "Connect", ConnectRequest, ConnectResponse);
  it("is called and served with messages instead of bytes", async () => {
    await serve(
      ttrpcServices(
        connectMethod.handledBy(async (request) => ({
          shimPid: request.id.length,
          taskPid: 7,
          version: "v2",
        })),
      ),
    );
    const client = await dial();
    expect(await connectMethod.call(client, { id: "abc" }, second)).toEqual({
      shimPid: 3,
      taskPid: 7,
      version: "v2",
    });
    await expect(
      client.call("containerd.task.v2.Task", "Connect", Buffer.from([0x0a, 0xff]), second),
    ).rejects.toMatchObject({ kind: "invalid-argument" });
  });

  it("cannot be registered twice", () => {
    const registration = connectMethod.handledBy(() => Promise.reject(new Error()));
    expect(() => ttrpcServices(registration, registration)).toThrow(/registered twice/);
  });
});

it("dialling gives up at its deadline and when aborted", async () => {
  // A listener that never accepts and whose backlog is full does not complete a connection: here the path is
  // missing, dead, or the signal is already aborted.
  await expect(connectTtrpc(path)).rejects.toMatchObject({ kind: "unavailable" });
  const signal = AbortSignal.abort();
  await expect(connectTtrpc(path, { signal })).rejects.toMatchObject({ kind: "cancelled" });
});

it("every status code has one kind and back", () => {
  expect(new Set(Object.values(statusCodes)).size).toBe(errorKinds.length);
});

function withResolvers<T>() {
  let resolve: (value: T) => void = () => {};
  const promise = new Promise<T>((done) => {
    resolve = done;
  });
  return { resolve, promise };
}
