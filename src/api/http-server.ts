/** Plain HTTP for Prometheus, probes and people: metrics, health, the actor tree. Read only. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { deadlineExceeded, invalidArgument, toDaemonError } from "../core/errors.js";
import type { ApiDependencies } from "./dependencies.js";
import { type ListeningSocket, listenOnUnixSocket } from "./unix-socket.js";

/** For receiving one whole request. */
const requestTimeoutMs = 10_000;
const defaultAnswerTimeoutMs = 5000;
const maxConnections = 256;

export interface HttpApi {
  /** `host:port`, `[v6]:port`, an absolute path or `unix:///path`. Resolves with the address in use. */
  listen(
    address: string,
    owner?: { readonly uid: number; readonly gid: number; readonly mode?: number },
  ): Promise<string>;
  shutdown(): Promise<void>;
}

export type HttpDependencies = Pick<ApiDependencies, "inspectTree" | "metricsText" | "log"> & {
  /** False while the daemon starts or stops; default always true. */
  readonly ready?: () => boolean;
  /** Milliseconds for making one answer, 5000 by default; then 503. */
  readonly answerTimeoutMs?: number;
};

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

const text = (status: number, body: string): Answer => ({
  status,
  type: "text/plain; charset=utf-8",
  body: `${body}\n`,
});

async function within<T>(timeoutMs: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(deadlineExceeded(`no answer within ${timeoutMs} ms`)), timeoutMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Host and port of `host:port`; throws invalid-argument. */
function parseHostPort(address: string): { readonly host: string; readonly port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:]*)):(\d{1,5})$/.exec(address);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535)
    throw invalidArgument(`http address ${JSON.stringify(address)} is not host:port`);
  return { host: match[1] ?? match[2] ?? "", port };
}

export function createHttpServer(deps: HttpDependencies): HttpApi {
  const log = deps.log.child({ room: "api" });
  const answerTimeoutMs = deps.answerTimeoutMs ?? defaultAnswerTimeoutMs;
  const isReady = deps.ready ?? (() => true);
  const metrics = async (): Promise<Answer> => ({
    status: 200,
    type: "text/plain; version=0.0.4; charset=utf-8",
    body: await deps.metricsText(),
  });
  const routes = new Map<string, () => Answer | Promise<Answer>>([
    ["/v1/metrics", metrics],
    ["/metrics", metrics],
    ["/healthz", () => text(200, "ok")],
    ["/readyz", () => (isReady() ? text(200, "ok") : text(503, "not ready"))],
    [
      "/debug/tree",
      () => ({
        status: 200,
        type: "application/json",
        body: `${JSON.stringify(deps.inspectTree(), undefined, 2)}\n`,
      }),
    ],
  ]);

  async function answerTo(request: IncomingMessage): Promise<Answer> {
    const [path = "/"] = (request.url ?? "/").split("?", 1);
    const route = routes.get(path);
    if (route === undefined) return text(404, "not found");
    if (request.method !== "GET" && request.method !== "HEAD") return text(405, "method not allowed");
    try {
      return await within(answerTimeoutMs, Promise.resolve(route()));
    } catch (error) {
      log.warn({ err: error, path }, "http request failed");
      return text(
        toDaemonError(error).kind === "deadline-exceeded" ? 503 : 500,
        toDaemonError(error).message,
      );
    }
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // A body is of no use here; it is read away so that the connection can be used again.
    request.resume();
    const { status, type, body } = await answerTo(request);
    response.writeHead(status, {
      "content-type": type,
      "content-length": Buffer.byteLength(body),
      ...(status === 405 ? { allow: "GET, HEAD" } : {}),
    });
    response.end(request.method === "HEAD" ? undefined : body);
  }

  const server = createServer(
    { requestTimeout: requestTimeoutMs, headersTimeout: requestTimeoutMs },
    (request, response) => {
      serve(request, response).catch((error: unknown) => {
        log.error({ err: error }, "answering an http request failed");
        response.destroy();
      });
    },
  );
  server.maxConnections = maxConnections;
  let socket: ListeningSocket | undefined;
  let stopped: Promise<void> | undefined;

  async function listenOnTcp(address: string): Promise<string> {
    const { host, port } = parseHostPort(address);
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ port, ...(host === "" ? {} : { host }) }, () => {
        server.off("error", reject);
        server.on("error", (error) => log.error({ err: error }, "http listener failed"));
        resolve();
      });
    }).catch((error: unknown) => Promise.reject(toDaemonError(error)));
    const bound = server.address();
    return bound === null || typeof bound === "string"
      ? address
      : `${host === "" ? "localhost" : host}:${bound.port}`;
  }

  return {
    async listen(address, owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }) {
      const isPath = address.startsWith("/") || address.startsWith("unix://");
      if (isPath) socket = await listenOnUnixSocket(server, { path: address, ...owner }, log);
      const bound = socket?.path ?? (await listenOnTcp(address));
      log.info({ address: bound }, "http listening");
      return bound;
    },
    shutdown() {
      stopped ??= new Promise<void>((resolve) => {
        server.close(() => resolve());
        socket?.close();
        server.closeAllConnections();
      });
      return stopped;
    },
  };
}
