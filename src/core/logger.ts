/** The part of pino that rooms use; pino's Logger fits it, and so does `silentLogger` in tests. */
export interface Logger {
  child(bindings: Record<string, unknown>): Logger;
  error(fields: Record<string, unknown>, message: string): void;
  warn(fields: Record<string, unknown>, message: string): void;
  info(fields: Record<string, unknown>, message: string): void;
  debug(fields: Record<string, unknown>, message: string): void;
}

const nothing = (): void => {};
export const silentLogger: Logger = {
  child: () => silentLogger,
  error: nothing,
  warn: nothing,
  info: nothing,
  debug: nothing,
};
