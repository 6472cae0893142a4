/** What container actors see of the shims: messages to the placement actor, and its table for reading. */
import { taskKeyString } from "../../core/ids.js";
import type { ShimConnection, ShimLauncher } from "../../ports/shim-launcher-port.js";
import type { ShimsGateway } from "../container/dependencies.js";
import type { ActorRef } from "../kernel/types.js";
import type { PlacementMessage } from "./messages.js";

export interface GatewayOptions {
  readonly placement: () => ActorRef<PlacementMessage>;
  readonly hosts: ReadonlyMap<string, ShimConnection>;
  readonly launcher: ShimLauncher;
  /** Milliseconds for a place, which may take the start of a shim. */
  readonly placeTimeoutMs: number;
}

export function createShimsGateway({
  placement,
  hosts,
  launcher,
  placeTimeoutMs,
}: GatewayOptions): ShimsGateway {
  return {
    place: ({ key, runtime, spec }, signal) =>
      placement().ask((reply) => ({ kind: "place", key, runtime, spec, reply }), {
        timeoutMs: placeTimeoutMs,
        signal,
      }),
    release: (key) => placement().tell({ kind: "release", key }),
    hosting: (key) => hosts.get(taskKeyString(key)),
    cleanUpTask: (key, bundle, signal) => launcher.cleanUpTask(key, bundle, signal),
    undelivered: (shim, key) => launcher.undelivered(shim.shimId, key.id),
  };
}
