/**
 * One pump thread as the main thread sees it: starting, telling, waking, ending. Owns the thread's epoll and
 * wake descriptors and closes them when the thread is gone, however it went.
 */
import { Worker } from "node:worker_threads";
import comlink from "comlink";
import { unavailable } from "../core/errors.js";
import { createEpoll } from "../native/epoll.js";
import { createEventFd, signalEventFd } from "../native/eventfd.js";
import { closeFd } from "../native/fds.js";
import { portEndpoint } from "./stdio-pump-channel.js";
import type { PumpControl, PumpReport, PumpWorkerData } from "./stdio-pump-protocol.js";

export interface PumpThread {
  /** Node's number of the thread, for logs. */
  readonly threadId: number;
  /** Resolves once the thread has ended and its own descriptors are closed; holds its failure, if any. */
  readonly exited: Promise<Error | undefined>;
  /** Sends one call. Rejects `unavailable` when the thread ends before it answers; comlink alone never would. */
  call(send: (control: PumpRemote) => Promise<void>): Promise<void>;
  /** Asks the thread to end; it does so between two transfers. Returns at once; callable at any time. */
  stop(): void;
}

/** The control calls as comlink makes them. */
export type PumpRemote = {
  readonly [K in keyof PumpControl]: (...args: Parameters<PumpControl[K]>) => Promise<void>;
};

/** Starts a thread from the built worker file. It never keeps the process alive by itself. */
export function startPumpThread(workerUrl: URL, onReport: (report: PumpReport) => void): PumpThread {
  const epoll = createEpoll();
  let wakeFd = -1;
  let worker: Worker;
  const stopBuffer = new SharedArrayBuffer(4);
  const stopCell = new Int32Array(stopBuffer);
  try {
    wakeFd = createEventFd();
    const workerData: PumpWorkerData = { epollFd: epoll.fd, wakeFd, stop: stopBuffer };
    worker = new Worker(workerUrl, { workerData, name: "stdio-pump" });
  } catch (error) {
    if (wakeFd >= 0) closeFd(wakeFd);
    epoll.close();
    throw error;
  }
  let alive = true;
  let failure: Error | undefined;
  const wake = (): void => {
    if (alive) signalEventFd(wakeFd);
  };
  const stop = (): void => {
    Atomics.store(stopCell, 0, 1);
    wake();
  };
  // A thread in epoll_wait would hold up process.exit() for as long as it sleeps.
  process.on("exit", stop);
  worker.on("message", (message: PumpReport | { readonly kind?: undefined }) => {
    if (message.kind === "stream-ended") onReport(message);
  });
  worker.on("error", (error) => {
    failure = error instanceof Error ? error : new Error(String(error));
  });
  const exited = new Promise<Error | undefined>((resolve) => {
    worker.once("exit", () => {
      alive = false;
      process.off("exit", stop);
      closeFd(wakeFd);
      epoll.close();
      resolve(failure);
    });
  });
  worker.unref();
  const control = comlink.wrap<PumpControl>(portEndpoint(worker)) as unknown as PumpRemote;
  const gone = exited.then((error): never => {
    throw unavailable("the stdio pump thread ended", { cause: error });
  });
  gone.catch(() => {}); // Only races look at it.
  return {
    threadId: worker.threadId,
    exited,
    call(send) {
      if (!alive) return gone;
      const answer = send(control);
      wake();
      return Promise.race([answer, gone]);
    },
    stop,
  };
}
