/** The observers of a system. An observer that throws is removed: watching must not change what is watched. */
import type { Logger } from "../../core/logger.js";
import type { TapEvent } from "./types.js";

export class Taps {
  #listeners: readonly ((event: TapEvent) => void)[] = [];

  constructor(readonly log: Logger) {}

  /** Ask before building an event: with nobody looking it costs nothing. */
  get active(): boolean {
    return this.#listeners.length > 0;
  }

  add(listener: (event: TapEvent) => void): () => void {
    // A wrapper of its own, so that one function added twice is removed once by each remover.
    const entry = (event: TapEvent): void => listener(event);
    this.#listeners = [...this.#listeners, entry];
    return () => this.#remove(entry);
  }

  emit(event: TapEvent): void {
    for (const listener of this.#listeners) {
      try {
        listener(event);
      } catch (error) {
        this.#remove(listener);
        this.log.warn({ err: error }, "removed a tap that threw");
      }
    }
  }

  #remove(entry: (event: TapEvent) => void): void {
    this.#listeners = this.#listeners.filter((listener) => listener !== entry);
  }
}
