/** The calls under way, those of one attachment in a row. */
export class Calls {
  readonly #all = new Set<Promise<void>>();
  readonly #last = new Map<string, Promise<void>>();
  readonly #onIdle: () => void;

  /** `onIdle` is called each time when none is left. */
  constructor(onIdle: () => void) {
    this.#onIdle = onIdle;
  }

  get isIdle(): boolean {
    return this.#all.size === 0;
  }

  /** Makes a call, once those before it with the same key are done. `call` must not fail. */
  add(key: string | undefined, call: () => Promise<void>): void {
    const before = key === undefined ? undefined : this.#last.get(key);
    const mine = (before === undefined ? call() : before.then(call)).finally(() => {
      this.#all.delete(mine);
      if (key !== undefined && this.#last.get(key) === mine) this.#last.delete(key);
      if (this.isIdle) this.#onIdle();
    });
    this.#all.add(mine);
    if (key !== undefined) this.#last.set(key, mine);
  }

  /** Resolves when none is left. */
  async ended(): Promise<void> {
    while (!this.isIdle) await Promise.all(this.#all);
  }
}
