import { type DaemonError, toDaemonError } from "./errors.js";

/** What a finished effect brought: data, so that it can travel in a message. */
export type Outcome<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: DaemonError };

export const succeeded = <T>(value: T): Outcome<T> => ({ ok: true, value });
export const failed = (thrown: unknown): Outcome<never> => ({ ok: false, error: toDaemonError(thrown) });
