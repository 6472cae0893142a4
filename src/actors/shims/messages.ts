/** Who places tasks into shim processes, and what shim actors report. */
import type { DaemonError } from "../../core/errors.js";
import type { ShimId, TaskKey } from "../../core/ids.js";
import type { Outcome } from "../../core/outcome.js";
import type { HostedTask, ShimConnection } from "../../ports/shim-launcher-port.js";
import type { Reply } from "../kernel/types.js";

export type PlacementMessage =
  | {
      readonly kind: "place";
      readonly key: TaskKey;
      readonly runtime: string;
      /** config.json as stored, for grouping by annotation. */
      readonly spec: Uint8Array;
      readonly reply: Reply<ShimConnection>;
    }
  | { readonly kind: "release"; readonly key: TaskKey }
  /** To itself, first of all: take up the shims of an earlier daemon. */
  | { readonly kind: "restore" }
  /** From a shim's actor: it may take tasks, and has these already. */
  | {
      readonly kind: "shim-ready";
      readonly shimId: ShimId;
      readonly connection: ShimConnection;
      readonly hosted: readonly HostedTask[];
    }
  | { readonly kind: "shim-failed"; readonly shimId: ShimId; readonly error: DaemonError }
  | { readonly kind: "shim-ended"; readonly shimId: ShimId }
  | { readonly kind: "forgotten"; readonly shimId: ShimId; readonly outcome: Outcome<void> }
  /** Answers pings again, or has missed several: new tasks go elsewhere. */
  | { readonly kind: "shim-health"; readonly shimId: ShimId; readonly responsive: boolean }
  | { readonly kind: "idle"; readonly shimId: ShimId }
  /** Answered once every shim of an earlier daemon has been heard or given up. */
  | { readonly kind: "restored"; readonly reply: Reply<readonly TaskKey[]> }
  | { readonly kind: "summary"; readonly reply: Reply<readonly ShimSummary[]> };

export interface ShimSummary {
  readonly shimId: string;
  readonly namespace: string;
  readonly group: string;
  readonly status: "starting" | "ready" | "unresponsive" | "retiring";
  readonly pid: number | undefined;
  readonly tasks: number;
}

export type ShimMessage =
  | {
      readonly kind: "opened";
      readonly outcome: Outcome<{
        readonly connection: ShimConnection;
        readonly hosted: readonly HostedTask[];
      }>;
    }
  /** The process lives but did not answer: once more. */
  | { readonly kind: "reopen" }
  | { readonly kind: "closed" }
  | { readonly kind: "ping" }
  | { readonly kind: "pinged"; readonly outcome: Outcome<void> }
  /** No task is left: ask the process to exit. */
  | { readonly kind: "retire" }
  | { readonly kind: "retired"; readonly outcome: Outcome<void> };
