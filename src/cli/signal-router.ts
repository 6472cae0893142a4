/**
 * Who hears the signals sent to this process. By default one aborts the command, and a second one ends it at
 * once; an attached session takes them over and hands them to the container.
 */
import { constants } from "node:os";

const routed = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"] as const;
export type RoutedSignal = (typeof routed)[number] | "SIGPIPE";

export class SignalRouter {
  readonly #controller = new AbortController();
  #taker: ((signal: RoutedSignal) => void) | undefined;
  #last: RoutedSignal | undefined;

  /** Aborts when a signal came and nobody had taken the signals over. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** What aborted the command, if a signal did. */
  get abortedBy(): RoutedSignal | undefined {
    return this.#last;
  }

  /** Starts listening; returns how to stop. */
  listen(): () => void {
    const listeners = routed.map((name) => {
      const listener = (): void => this.deliver(name);
      process.on(name, listener);
      return () => process.off(name, listener);
    });
    return () => {
      for (const stop of listeners) stop();
    };
  }

  /** Hands `name` to whoever has taken the signals over, else aborts. */
  deliver(name: RoutedSignal): void {
    if (this.#taker !== undefined) {
      this.#taker(name);
      return;
    }
    // Cleaning up hangs, or the user is in a hurry.
    if (this.#last !== undefined && name !== "SIGPIPE") process.exit(statusOfSignal(name));
    this.#last = name;
    this.#controller.abort(new Error(`interrupted by ${name}`));
  }

  /** From now on `taker` gets every signal, until the returned function is called. */
  take(taker: (signal: RoutedSignal) => void): () => void {
    this.#taker = taker;
    return () => {
      if (this.#taker === taker) this.#taker = undefined;
    };
  }
}

/** The exit status that shells expect of a process that a signal ended. */
export const statusOfSignal = (name: RoutedSignal): number => 128 + constants.signals[name];
