/** grpc.health.v1: dockerd loops on Check after a lost connection. Only the daemon as a whole (service "") is known. */
import { notFound } from "../core/errors.js";
import {
  type HealthServer,
  HealthCheckResponse_ServingStatus as Serving,
} from "../wire/gen/grpc/health/v1/health.js";
import type { CallTracker } from "./call-tracker.js";
import type { CallWrappers } from "./unary.js";

export function createHealthService(
  tracker: CallTracker,
  { unary, serverStream }: CallWrappers,
): HealthServer {
  const status = (): Serving => (tracker.draining ? Serving.NOT_SERVING : Serving.SERVING);
  return {
    check: unary(({ request }) => {
      if (request.service !== "") throw notFound("unknown service", { bare: true });
      return { status: status() };
    }),
    list: unary(() => ({ statuses: { "": { status: status() } } })),
    // The status changes only when the daemon goes, and then so does the connection.
    watch: serverStream(
      async ({ request, signal }, stream) => {
        stream.write({ status: request.service === "" ? status() : Serving.SERVICE_UNKNOWN });
        await new Promise<never>((_, reject) => {
          if (signal.aborted) reject(signal.reason);
          else signal.addEventListener("abort", () => reject(signal.reason), { once: true });
        });
      },
      { subscription: true },
    ),
  };
}
