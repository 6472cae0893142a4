/**
 * Every event of this shim, from the moment it happens until berthd has acknowledged it. An event is numbered,
 * written to the log on disk, and delivered in order per container, a bounded number of containers at a time.
 * Delivery is retried for ever: an exit that nobody heard of is a container shown as running for ever.
 * How an event travels is the forwarder's business (`event-forwarder.ts`).
 */
import type { Clock, Timer } from "../core/clock.js";
import { toDaemonError } from "../core/errors.js";
import { instantFromMs } from "../core/exit.js";
import type { Logger } from "../core/logger.js";
import type { OpaqueAny } from "../ports/store-port.js";
import { Envelope } from "../wire/gen/containerd/types/types.js";
import type { EventLog, EventRecord } from "./event-log.js";

/** Takes one event to the daemon; resolves once the daemon has it. */
export interface EventForwarder {
  /** Rejects `unavailable` when no daemon can be reached, other kinds when it answered with an error. */
  forward(record: EventRecord): Promise<void>;
}

export interface EventSpoolOptions {
  readonly namespace: string;
  readonly log: Logger;
  readonly clock: Clock;
  readonly eventLog: EventLog;
  readonly forwarder: EventForwarder;
  /** Events on their way at once, each of another container; default 32. */
  readonly window?: number;
  /** Undelivered events held in memory; further ones are on disk only. Default 4096. */
  readonly memoryLimit?: number;
  /** An event that may be lost (OOM, paused) is refused beyond this size of the log; default 64 MiB. */
  readonly diskLimitBytes?: number;
}

interface ContainerQueue {
  readonly records: EventRecord[];
  /** Refusals in a row of its first event, which set the pause before the next attempt. */
  refusals: number;
}

const firstDelayMs = 20;
const delayCapMs = 1000;
/** Never refused, however full the disk log is: clients wait for these. */
const terminalTopics = new Set(["/tasks/exit", "/tasks/delete"]);

export class EventSpool {
  readonly #options: Required<EventSpoolOptions>;
  readonly #queues = new Map<string, ContainerQueue>();
  /** Containers whose first event may be sent now. */
  readonly #ready: string[] = [];
  readonly #acknowledgedAhead = new Set<number>();
  #inMemory = 0;
  #inFlight = 0;
  #lastSequence: number;
  #acknowledged: number;
  /** The last event taken into memory; later ones are only on disk. */
  #loaded: number;
  #dropped = 0;
  #outageDelayMs = 0;
  #timer: Timer | undefined;
  readonly #retryTimers = new Map<string, Timer>();
  #closed = false;
  #drainWaiters: (() => void)[] = [];

  constructor(options: EventSpoolOptions) {
    this.#options = { window: 32, memoryLimit: 4096, diskLimitBytes: 64 * 1024 * 1024, ...options };
    // What an earlier run of this shim left undelivered comes first.
    this.#lastSequence = options.eventLog.lastSequence;
    this.#acknowledged = options.eventLog.acknowledgedSequence;
    this.#loaded = this.#acknowledged;
    this.#refill();
  }

  /** Numbers and keeps one event; it will be delivered after all earlier ones of its container. Never throws. */
  publish(containerId: string, topic: string, event: OpaqueAny): void {
    const { eventLog, log } = this.#options;
    if (eventLog.sizeBytes > this.#options.diskLimitBytes && !terminalTopics.has(topic)) {
      this.#dropped += 1;
      log.warn({ containerId, topic, dropped: this.#dropped }, "event spool is full, dropped an event");
      return;
    }
    const envelope = Envelope.encode({
      timestamp: instantFromMs(this.#options.clock.now()),
      namespace: this.#options.namespace,
      topic,
      event: { typeUrl: event.typeUrl, value: Buffer.from(event.value) },
    }).finish();
    const sequence = this.#lastSequence + 1;
    const record: EventRecord = { sequence, containerId, envelope };
    this.#lastSequence = sequence;
    let onDisk = true;
    try {
      eventLog.append(record);
    } catch (error) {
      onDisk = false;
      log.warn({ err: error, containerId, topic }, "event is not on disk, kept in memory only");
    }
    const spilled = this.#loaded < sequence - 1;
    const fits = !spilled && this.#inMemory < this.#options.memoryLimit;
    // A record that only memory has must stay there: order then yields to not losing it.
    if (fits || !onDisk) this.#enqueue(record);
    if (fits || (!onDisk && !spilled)) this.#loaded = sequence;
    this.#pump();
  }

  /** Tries now what waits for a pause to pass: the daemon has just shown itself. */
  kick(): void {
    this.#outageDelayMs = 0;
    this.#timer?.cancel();
    this.#timer = undefined;
    for (const [containerId, timer] of this.#retryTimers) {
      timer.cancel();
      this.#ready.push(containerId);
    }
    this.#retryTimers.clear();
    this.#pump();
  }

  /** Events that are not acknowledged yet. */
  get depth(): number {
    return this.#lastSequence - this.#acknowledged - this.#acknowledgedAhead.size;
  }

  get lastSequence(): number {
    return this.#lastSequence;
  }

  get acknowledgedSequence(): number {
    return this.#acknowledged;
  }

  get sizeBytes(): number {
    return this.#options.eventLog.sizeBytes;
  }

  /** True once everything is delivered; false when that takes longer than `timeoutMs`. */
  async drained(timeoutMs: number): Promise<boolean> {
    if (this.depth === 0) return true;
    return new Promise((resolve) => {
      const timer = this.#options.clock.setTimer(timeoutMs, () => resolve(this.depth === 0));
      this.#drainWaiters.push(() => {
        timer.cancel();
        resolve(true);
      });
    });
  }

  /** Stops delivering; what is undelivered stays in the log on disk. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#timer?.cancel();
    for (const timer of this.#retryTimers.values()) timer.cancel();
    this.#options.eventLog.close();
  }

  #enqueue(record: EventRecord): void {
    let queue = this.#queues.get(record.containerId);
    if (queue === undefined) {
      queue = { records: [], refusals: 0 };
      this.#queues.set(record.containerId, queue);
      this.#ready.push(record.containerId);
    }
    queue.records.push(record);
    this.#inMemory += 1;
  }

  /** Takes events back from disk once memory has room again. */
  #refill(): void {
    const room = this.#options.memoryLimit - this.#inMemory;
    if (this.#loaded >= this.#lastSequence || room < this.#options.memoryLimit / 2) return;
    const records = this.#options.eventLog.readAfter(this.#loaded, room);
    for (const record of records) {
      this.#loaded = record.sequence;
      this.#enqueue(record);
    }
    // Numbers missing on disk are those that the disk refused: memory has them already.
    if (records.length < room) this.#loaded = this.#lastSequence;
  }

  #pump(): void {
    while (!this.#closed && this.#timer === undefined && this.#inFlight < this.#options.window) {
      const containerId = this.#ready.shift();
      if (containerId === undefined) return;
      const queue = this.#queues.get(containerId);
      const record = queue?.records[0];
      if (queue === undefined || record === undefined) continue;
      this.#inFlight += 1;
      this.#options.forwarder.forward(record).then(
        () => this.#delivered(containerId, queue, record),
        (error: unknown) => this.#refused(containerId, queue, record, error),
      );
    }
  }

  #delivered(containerId: string, queue: ContainerQueue, record: EventRecord): void {
    this.#inFlight -= 1;
    this.#outageDelayMs = 0;
    if (this.#closed) return;
    this.#settle(containerId, queue, record);
    this.#pump();
  }

  #settle(containerId: string, queue: ContainerQueue, record: EventRecord): void {
    queue.records.shift();
    queue.refusals = 0;
    this.#inMemory -= 1;
    this.#acknowledgedAhead.add(record.sequence);
    while (this.#acknowledgedAhead.delete(this.#acknowledged + 1)) this.#acknowledged += 1;
    try {
      this.#options.eventLog.acknowledge(this.#acknowledged);
    } catch (error) {
      // Costs a duplicate after a crash at most, which the event's key lets the daemon recognise.
      this.#options.log.warn({ err: error }, "event log could not be trimmed");
    }
    if (queue.records.length === 0) this.#queues.delete(containerId);
    else this.#ready.push(containerId);
    this.#refill();
    if (this.depth === 0) for (const resolve of this.#drainWaiters.splice(0)) resolve();
  }

  #refused(containerId: string, queue: ContainerQueue, record: EventRecord, thrown: unknown): void {
    this.#inFlight -= 1;
    if (this.#closed) return;
    const error = toDaemonError(thrown);
    if (error.kind === "invalid-argument") {
      // It will never be taken, and behind it waits this container's exit.
      this.#options.log.error(
        { err: error, containerId, sequence: record.sequence },
        "daemon rejects an event",
      );
      this.#dropped += 1;
      this.#settle(containerId, queue, record);
    } else if (error.kind === "unavailable") {
      this.#ready.unshift(containerId);
      this.#pauseAll();
    } else {
      const delayMs = Math.min(delayCapMs, firstDelayMs * 2 ** Math.min(queue.refusals, 10));
      queue.refusals += 1;
      const retry = (): void => {
        this.#retryTimers.delete(containerId);
        this.#ready.push(containerId);
        this.#pump();
      };
      this.#retryTimers.set(containerId, this.#options.clock.setTimer(delayMs, retry));
    }
    this.#pump();
  }

  /** No daemon: nothing is sent until the pause has passed or somebody kicks. */
  #pauseAll(): void {
    if (this.#timer !== undefined) return;
    this.#outageDelayMs = Math.min(delayCapMs, Math.max(firstDelayMs, this.#outageDelayMs * 2));
    this.#timer = this.#options.clock.setTimer(this.#outageDelayMs, () => {
      this.#timer = undefined;
      this.#pump();
    });
  }
}
