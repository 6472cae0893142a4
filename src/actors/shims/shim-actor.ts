/**
 * One shim process: starts or redials it, pings it, notices its end, lets it exit when it is empty. A restarted
 * actor opens the same id again, which gives back the living process.
 */
import type { ShimConnection, ShimLauncher, ShimRequest } from "../../ports/shim-launcher-port.js";
import type { ActorContext, ActorRef, Behavior } from "../kernel/types.js";
import type { PlacementMessage, ShimMessage } from "./messages.js";

export interface ShimActorOptions {
  readonly launcher: ShimLauncher;
  readonly placement: () => ActorRef<PlacementMessage>;
  readonly openTimeoutMs: number;
  readonly pingIntervalMs: number;
  readonly pingTimeoutMs: number;
  readonly shutdownTimeoutMs: number;
}

/** Missed pings in a row after which new tasks go elsewhere. */
const missedPingsAllowed = 2;

export type ShimState =
  | { readonly phase: "opening" }
  | { readonly phase: "ready"; readonly connection: ShimConnection; readonly missedPings: number }
  | { readonly phase: "retiring"; readonly connection: ShimConnection }
  | { readonly phase: "gone" };

export function createShimBehavior(
  request: ShimRequest,
  options: ShimActorOptions,
): Behavior<ShimState, ShimMessage> {
  const { shimId } = request;
  const { launcher } = options;

  /** The process has ended: its tasks' actors hear it from the connection; its own traces go here. */
  function end(ctx: ActorContext<ShimMessage>): ShimState {
    options.placement().tell({ kind: "shim-ended", shimId }, ctx.path);
    ctx.stop();
    return { phase: "gone" };
  }

  function open(ctx: ActorContext<ShimMessage>): void {
    ctx.perform(
      async (signal) => {
        const connection = await launcher.open(request, signal);
        return { connection, hosted: await connection.tasks(signal) };
      },
      (outcome) => ({ kind: "opened", outcome }),
      { deadlineMs: options.openTimeoutMs },
    );
  }

  return {
    kind: "shim",
    phaseOf: (state) => state.phase,
    lane: (message) => (message.kind === "closed" ? "priority" : "normal"),
    init(ctx) {
      open(ctx);
      return { phase: "opening" };
    },
    handle(state, message, ctx) {
      switch (message.kind) {
        case "opened": {
          if (!message.outcome.ok) {
            ctx.log.warn({ err: message.outcome.error, shim: shimId }, "shim did not open");
            if (launcher.isAlive(shimId)) {
              // One of an earlier daemon that hangs: it may have tasks, so it is not given up while it lives.
              options.placement().tell({ kind: "shim-health", shimId, responsive: false }, ctx.path);
              ctx.startTimer("reopen", options.pingIntervalMs, { kind: "reopen" });
              return state;
            }
            options.placement().tell({ kind: "shim-failed", shimId, error: message.outcome.error }, ctx.path);
            ctx.stop();
            return { phase: "gone" };
          }
          const { connection, hosted } = message.outcome.value;
          ctx.perform(
            () => connection.closed,
            () => ({ kind: "closed" }),
          );
          options.placement().tell({ kind: "shim-ready", shimId, connection, hosted }, ctx.path);
          ctx.log.info({ shim: shimId, pid: connection.pid, tasks: hosted.length }, "shim ready");
          ctx.startTimer("ping", options.pingIntervalMs, { kind: "ping" });
          return { phase: "ready", connection, missedPings: 0 };
        }
        case "reopen":
          if (state.phase === "opening") open(ctx);
          return state;
        case "closed":
          if (state.phase === "gone") return state;
          if (state.phase === "ready")
            ctx.log.warn({ shim: shimId, pid: state.connection.pid }, "shim ended unexpectedly");
          return end(ctx);
        case "ping":
          if (state.phase !== "ready") return state;
          ctx.perform(
            (signal) => state.connection.ping(signal),
            (outcome) => ({ kind: "pinged", outcome }),
            { deadlineMs: options.pingTimeoutMs },
          );
          return state;
        case "pinged": {
          if (state.phase !== "ready") return state;
          ctx.startTimer("ping", options.pingIntervalMs, { kind: "ping" });
          const missedPings = message.outcome.ok ? 0 : state.missedPings + 1;
          if (missedPings === missedPingsAllowed) {
            ctx.log.warn({ shim: shimId, missedPings }, "shim does not answer pings");
            options.placement().tell({ kind: "shim-health", shimId, responsive: false }, ctx.path);
          } else if (missedPings === 0 && state.missedPings >= missedPingsAllowed) {
            ctx.log.info({ shim: shimId }, "shim answers pings again");
            options.placement().tell({ kind: "shim-health", shimId, responsive: true }, ctx.path);
          }
          return { ...state, missedPings };
        }
        case "retire":
          if (state.phase !== "ready") return state;
          ctx.perform(
            (signal) => state.connection.shutdown(signal),
            (outcome) => ({ kind: "retired", outcome }),
            { deadlineMs: options.shutdownTimeoutMs },
          );
          return { phase: "retiring", connection: state.connection };
        case "retired":
          if (state.phase !== "retiring") return state;
          if (!message.outcome.ok)
            ctx.log.warn({ err: message.outcome.error, shim: shimId }, "idle shim did not exit");
          return end(ctx);
      }
    },
  };
}
