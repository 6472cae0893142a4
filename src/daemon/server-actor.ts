/**
 * A server as an actor: it listens when it starts, and closes when its supervisor stops it. A socket that
 * cannot be had is a crash, which its supervisor tries again a few times and then hands upwards.
 */

import type { Behavior } from "../actors/kernel/types.js";
import type { Outcome } from "../core/outcome.js";

export interface DaemonServer {
  listen(signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

export type ServerMessage =
  | { readonly kind: "listening"; readonly outcome: Outcome<void> }
  | { readonly kind: "closed"; readonly outcome: Outcome<void> };

export interface ServerActorOptions {
  readonly name: string;
  /** A new server for each incarnation. */
  readonly create: () => DaemonServer;
  /** It listens, or does no more. */
  readonly onChange: (listening: boolean) => void;
  readonly listenTimeoutMs: number;
}

export interface ServerState {
  readonly phase: "opening" | "serving" | "closing";
  readonly server: DaemonServer;
}

export function createServerBehavior(options: ServerActorOptions): Behavior<ServerState, ServerMessage> {
  return {
    kind: `server-${options.name}`,
    phaseOf: (state) => state.phase,
    init(ctx) {
      const server = options.create();
      ctx.perform(
        (signal) => server.listen(signal),
        (outcome) => ({ kind: "listening", outcome }),
        { deadlineMs: options.listenTimeoutMs },
      );
      return { phase: "opening", server };
    },
    handle(state, message, ctx) {
      if (message.kind === "closed") {
        ctx.stop();
        return state;
      }
      // Asked to stop before it listened: that it does not is no fault then.
      if (state.phase === "closing") return state;
      if (!message.outcome.ok) throw message.outcome.error;
      options.onChange(true);
      return { ...state, phase: "serving" };
    },
    stopping(state, ctx) {
      options.onChange(false);
      ctx.perform(
        () => state.server.close(),
        (outcome) => ({ kind: "closed", outcome }),
      );
      return { ...state, phase: "closing" };
    },
    terminated(state) {
      options.onChange(false);
      // After a crash nobody else would close it; closing twice is harmless.
      void state.server.close().catch(() => undefined);
    },
  };
}
