/** A `binary://` logger. */
import { unimplemented } from "../../core/errors.js";
import type { OutputSink } from "./output-sink.js";
import type { PlaneParts } from "./process-io.js";
import type { OutputTarget } from "./stdio-plan.js";

export async function openLoggerSinks(
  target: Extract<OutputTarget, { readonly kind: "logger" }>,
  _streamKey: string,
  _parts: PlaneParts,
  _signal: AbortSignal,
): Promise<readonly [OutputSink, OutputSink]> {
  throw unimplemented(`binary:// loggers: ${target.program}`);
}
