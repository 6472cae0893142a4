/** How a bad filter, or another error that containerd passes on in an odd shape, is answered. */
import { DaemonError, invalidArgument, unknownError } from "../core/errors.js";
import { compileFilters, type Filter } from "../wire/filter/filter.js";
import { messageWithClass } from "../wire/status-code.js";

/** For lists of objects. containerd wraps this error twice, so its class words appear twice. */
export function listFilters(filters: readonly string[]): Filter {
  try {
    return compileFilters(filters);
  } catch (error) {
    if (!(error instanceof DaemonError)) throw error;
    throw invalidArgument(`${messageWithClass(error)}: invalid argument`, { bare: true });
  }
}

/** Where containerd's errors lose their class on the way: code 2, text unchanged. */
export function unclassed<T>(run: () => T, context = ""): T {
  try {
    return run();
  } catch (error) {
    if (!(error instanceof DaemonError)) throw error;
    throw unknownError(`${context}${messageWithClass(error)}`, { bare: true });
  }
}

/** For Tasks.Metrics and Events.Subscribe. */
export const looseFilters = (filters: readonly string[], context = ""): Filter =>
  unclassed(() => compileFilters(filters), context);
