/** A first-in-first-out queue on a circular array: constant-time ends, memory only while something is queued. */
export class Ring<T> {
  #slots: (T | undefined)[] = [];
  #head = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(item: T): void {
    if (this.#length === this.#slots.length) this.#grow();
    // The capacity is a power of two, so the mask wraps.
    this.#slots[(this.#head + this.#length) & (this.#slots.length - 1)] = item;
    this.#length += 1;
  }

  shift(): T | undefined {
    if (this.#length === 0) return undefined;
    const item = this.#slots[this.#head];
    this.#slots[this.#head] = undefined;
    this.#head = (this.#head + 1) & (this.#slots.length - 1);
    this.#length -= 1;
    // A burst must not pin its peak for the actor's life; small arrays are worth keeping.
    if (this.#length === 0 && this.#slots.length > 128) this.clear();
    return item;
  }

  peek(): T | undefined {
    return this.#length === 0 ? undefined : this.#slots[this.#head];
  }

  clear(): void {
    this.#slots = [];
    this.#head = 0;
    this.#length = 0;
  }

  toArray(): T[] {
    const items: T[] = [];
    for (let i = 0; i < this.#length; i++) {
      items.push(this.#slots[(this.#head + i) & (this.#slots.length - 1)] as T);
    }
    return items;
  }

  #grow(): void {
    const items: (T | undefined)[] = this.toArray();
    const capacity = Math.max(4, this.#slots.length * 2);
    // Pushing keeps the array packed: holes would slow every later access.
    while (items.length < capacity) items.push(undefined);
    this.#slots = items;
    this.#head = 0;
  }
}
