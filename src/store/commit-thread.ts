/**
 * The thread that commits: a durable lmdb commit waits for the disk (milliseconds, or far more), which must never
 * hold up the daemon's main thread. Commits here are synchronous ones: lmdb's own asynchronous writes stall for
 * ever, or end in an unhandled rejection, when the disk is full.
 */
import { createRequire } from "node:module";
import { Worker } from "node:worker_threads";
import { type DaemonError, unavailable } from "../core/errors.js";
import type { Logger } from "../core/logger.js";
import { storageError } from "./storage-error.js";

/** One key's new value; undefined removes it. */
export interface WriteOperation {
  readonly key: string;
  readonly value: Buffer | undefined;
}

export interface CommitThread {
  /** All operations or none, on disk when it resolves. One call at a time. */
  commit(operations: readonly WriteOperation[]): Promise<void>;
  close(): Promise<void>;
}

interface CommitReply {
  readonly error?: { readonly message: string; readonly code: unknown };
}

// Source text, so that it runs the same from TypeScript sources, tests and the bundle; plain CommonJS, because
// that is what an evaluated worker is. It gets lmdb's path: `require` in here would search the working directory.
const threadSource = `
const { parentPort, workerData } = require("node:worker_threads");
const { open } = require(workerData.lmdb);
const db = open(workerData.options);
parentPort.on("message", (operations) => {
  if (operations === "close") {
    db.close().finally(() => parentPort.close());
    return;
  }
  try {
    db.transactionSync(() => {
      for (const { key, value } of operations) {
        if (value === undefined) db.removeSync(key);
        else db.putSync(key, Buffer.from(value.buffer, value.byteOffset, value.byteLength));
      }
    });
    parentPort.postMessage({});
  } catch (error) {
    parentPort.postMessage({ error: { message: String(error && error.message), code: error && error.code } });
  }
});
`;

const closeTimeoutMs = 10_000;

/** `options` are lmdb's open options; the same must be used by whoever reads beside this thread. */
export function startCommitThread(options: { readonly path: string }, log: Logger): CommitThread {
  const lmdb = createRequire(import.meta.url).resolve("lmdb");
  let worker: Worker | undefined;
  let settle: ((error: DaemonError | undefined) => void) | undefined;
  let closed = false;

  const start = (): Worker => {
    const started = new Worker(threadSource, {
      eval: true,
      name: "store-commit",
      workerData: { lmdb, options },
      // Loaders of tests and tools have no business in here.
      execArgv: [],
    });
    // Only a commit under way keeps the process alive.
    started.unref();
    started.on("message", ({ error }: CommitReply) => {
      settle?.(error === undefined ? undefined : storageError(options.path, error));
    });
    started.on("error", (error) => log.error({ err: error }, "metadata commit thread failed"));
    started.once("exit", (exitCode) => {
      if (worker === started) worker = undefined;
      if (!closed) log.error({ exitCode }, "metadata commit thread ended");
      settle?.(
        unavailable("metadata store: the commit thread ended; whether the write was stored is unknown"),
      );
    });
    return started;
  };
  worker = start();

  return {
    commit(operations) {
      if (closed) return Promise.reject(unavailable("metadata store is closed"));
      worker ??= start();
      const thread = worker;
      return new Promise((resolve, reject) => {
        settle = (error) => {
          settle = undefined;
          thread.unref();
          if (error === undefined) resolve();
          else reject(error);
        };
        thread.ref();
        thread.postMessage(operations);
      });
    },
    async close() {
      if (closed) return;
      closed = true;
      const thread = worker;
      if (thread === undefined) return;
      const timer = setTimeout(() => void thread.terminate(), closeTimeoutMs);
      await new Promise((resolve) => {
        thread.ref();
        thread.once("exit", resolve);
        thread.postMessage("close");
      });
      clearTimeout(timer);
    },
  };
}
