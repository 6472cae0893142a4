/** One descriptor with one owner. */
import { closeFd } from "../../native/fds.js";

/** Closes its descriptor exactly once, however often it is asked: a second close could hit a stranger's file. */
export class OwnedFd {
  #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** The number, to lend; throws once closed. */
  get fd(): number {
    if (this.#fd < 0) throw new Error("descriptor used after it was closed");
    return this.#fd;
  }

  get open(): boolean {
    return this.#fd >= 0;
  }

  close(): void {
    const fd = this.#fd;
    this.#fd = -1;
    if (fd >= 0) closeFd(fd);
  }
}
