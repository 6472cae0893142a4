/**
 * The public surface of a container actor: one task (and its execs) of one container record. Everything that
 * Tasks clients may ask, plus what the shim's events and this actor's own effects bring.
 */
import type { Exit, Instant } from "../../core/exit.js";
import type { ExecId } from "../../core/ids.js";
import type { Envelope } from "../../ports/event-sink.js";
import type { Mount, ProcessState, Stdio } from "../../ports/shim-port.js";
import type { OpaqueAny } from "../../ports/store-port.js";
import type { Reply } from "../kernel/types.js";

export interface CreateTask {
  readonly kind: "create";
  readonly rootfs: readonly Mount[];
  readonly stdio: Stdio;
  /** Replaces the container's runtime options as a whole when it has a value. */
  readonly options: OpaqueAny | undefined;
  /** Overrides container.runtime.name when not empty. */
  readonly runtimePath: string;
  /** Media type and digest of a checkpoint to restore, when the client gave one. */
  readonly checkpoint: { readonly mediaType: string; readonly digest: string } | undefined;
  readonly reply: Reply<{ readonly pid: number }>;
}

/** An exec id of "" means the init process. */
export type ContainerRequest =
  | CreateTask
  | { readonly kind: "start"; readonly execId: string; readonly reply: Reply<{ readonly pid: number }> }
  /** execId is undefined for Tasks.Delete; DeleteProcess with an empty exec id reaches init and is refused while it runs. */
  | { readonly kind: "delete"; readonly execId: string | undefined; readonly reply: Reply<Exit> }
  | { readonly kind: "get"; readonly execId: string; readonly reply: Reply<ProcessState> }
  | {
      readonly kind: "kill";
      readonly execId: string;
      readonly signalNumber: number;
      readonly all: boolean;
      readonly reply: Reply<void>;
    }
  | {
      readonly kind: "exec";
      readonly execId: ExecId;
      readonly stdio: Stdio;
      readonly spec: OpaqueAny;
      readonly reply: Reply<void>;
    }
  | {
      readonly kind: "resize-pty";
      readonly execId: string;
      readonly width: number;
      readonly height: number;
      readonly reply: Reply<void>;
    }
  | {
      readonly kind: "close-io";
      readonly execId: string;
      readonly stdin: boolean;
      readonly reply: Reply<void>;
    }
  | { readonly kind: "pause"; readonly reply: Reply<void> }
  | { readonly kind: "resume"; readonly reply: Reply<void> }
  | {
      readonly kind: "pids";
      readonly reply: Reply<readonly { readonly pid: number; readonly info: OpaqueAny | undefined }[]>;
    }
  | {
      readonly kind: "update";
      readonly resources: OpaqueAny;
      readonly annotations: Readonly<Record<string, string>>;
      readonly reply: Reply<void>;
    }
  | { readonly kind: "stats"; readonly reply: Reply<OpaqueAny> }
  /** Answered at the exit; withdrawn when the asker's signal aborts (`waiter-gone`). */
  | {
      readonly kind: "wait";
      readonly execId: string;
      readonly reply: Reply<{ readonly exitStatus: number; readonly exitedAt: Instant }>;
    };

/** What the shim says, in the shim's order. The reply acknowledges: the event is stored, the shim may forget it. */
export interface ShimEvent {
  readonly kind: "shim-event";
  readonly envelope: Envelope;
  readonly reply: Reply<void>;
}
