/**
 * A list of things to give back, released in reverse order even when one release fails. Use it where several
 * resources are taken in turn and a later step may fail: `keep()` hands ownership on once all went well.
 */
export class ResourceScope {
  #releases: Array<{ readonly what: string; readonly release: () => void | Promise<void> }> = [];

  /** Adds a release; runs before those added earlier. */
  defer(what: string, release: () => void | Promise<void>): void {
    this.#releases.push({ what, release });
  }

  /** Forgets every release: the resources now belong to somebody else. */
  keep(): void {
    this.#releases = [];
  }

  /** Releases everything; returns what failed, never throws. */
  async release(): Promise<Array<{ readonly what: string; readonly error: unknown }>> {
    const failures: Array<{ readonly what: string; readonly error: unknown }> = [];
    for (let entry = this.#releases.pop(); entry !== undefined; entry = this.#releases.pop()) {
      try {
        await entry.release();
      } catch (error) {
        failures.push({ what: entry.what, error });
      }
    }
    return failures;
  }
}
