/** What a container actor needs of the world, all of it behind ports. */
import type { Namespace, TaskKey } from "../../core/ids.js";
import type { BundlePort } from "../../ports/bundle-port.js";
import type { EventCodec } from "../../ports/event-codec-port.js";
import type { Envelope } from "../../ports/event-sink.js";
import type { ShimConnection } from "../../ports/shim-launcher-port.js";
import type { StorePort } from "../../ports/store-port.js";
import type { Permit } from "../admission/messages.js";
import type { JournalMessage } from "../journal/messages.js";
import type { ActorRef } from "../kernel/types.js";

export interface PlaceRequest {
  readonly key: TaskKey;
  readonly runtime: string;
  /** config.json as stored, for grouping by annotation. */
  readonly spec: Uint8Array;
}

export interface ShimsGateway {
  /** Reserves a place in a shim, starting one when none has room. Rejects in containerd's words. */
  place(request: PlaceRequest, signal: AbortSignal): Promise<ShimConnection>;
  /** Gives the place back: the task is gone. */
  release(key: TaskKey): void;
  /** The shim that has this task by the shims' own account. */
  hosting(key: TaskKey): ShimConnection | undefined;
  /** After the shim's death: ends and deletes the container through its runtime. */
  cleanUpTask(key: TaskKey, bundle: string, signal: AbortSignal): Promise<{ readonly pid: number }>;
  /** What a dead shim had still to say of this task, in its order. */
  undelivered(shim: ShimConnection, key: TaskKey): readonly Envelope[];
}

export interface ContainerTimeouts {
  /** Milliseconds for Create: FIFO opening, mounts and the runtime. */
  readonly createMs: number;
  readonly startMs: number;
  readonly deleteMs: number;
  readonly killMs: number;
  /** Any other call on the shim. */
  readonly callMs: number;
  /** How long an event may wait for its forerunner. */
  readonly eventOrderMs: number;
}

export interface ContainerDependencies {
  readonly store: StorePort;
  readonly codec: EventCodec;
  readonly bundles: BundlePort;
  readonly shims: ShimsGateway;
  readonly admit: (namespace: Namespace, signal: AbortSignal) => Promise<Permit>;
  /** Looked up on each use: the journal may have been restarted. */
  readonly journal: () => ActorRef<JournalMessage>;
  readonly timeouts: ContainerTimeouts;
}
