/**
 * Which shim made which task of a container, for as long as events of that task may still come: a shim that dies
 * with events undelivered must not leave clients with a task that never ends.
 */
import type { Exit } from "../../core/exit.js";
import type { ShimConnection } from "../../ports/shim-launcher-port.js";

export interface KnownTask {
  readonly shim: ShimConnection;
  /** Init's; undefined while its creation is under way, and for ever when that failed. */
  pid: number | undefined;
  /** Known once its deletion was answered. */
  exit: Exit | undefined;
}

export class PastTasks {
  #known: KnownTask[] = [];

  /** A creation has got a place in this shim. */
  placed(shim: ShimConnection): void {
    this.#known.push({ shim, pid: undefined, exit: undefined });
  }

  made(shim: ShimConnection, pid: number): void {
    if (this.knows(pid)) return;
    const creation = this.#known.find((task) => task.shim === shim && task.pid === undefined);
    if (creation !== undefined) creation.pid = pid;
    else this.#known.push({ shim, pid, exit: undefined });
  }

  deleted(pid: number, exit: Exit | undefined): void {
    const task = this.#known.find((known) => known.pid === pid);
    if (task !== undefined) task.exit = exit;
  }

  get all(): readonly KnownTask[] {
    return this.#known;
  }

  /** Init's pid of the last task in this shim, or 0. */
  pidIn(shim: ShimConnection): number {
    return this.#known.findLast((task) => task.shim === shim)?.pid ?? 0;
  }

  /** A creation in this shim was never answered, so nobody was told of its task. */
  isUnmade(shim: ShimConnection): boolean {
    return this.#known.some((task) => task.shim === shim && task.pid === undefined);
  }

  knows(pid: number): boolean {
    return this.#known.some((task) => task.pid === pid);
  }

  forget(task: KnownTask): void {
    this.#known = this.#known.filter((known) => known !== task);
  }

  /** Nothing is to come of any task but that of `pid`. */
  forgetAllBut(pid: number | undefined): void {
    if (this.#known.length > 0)
      this.#known = this.#known.filter((task) => task.pid === pid && pid !== undefined);
  }
}
