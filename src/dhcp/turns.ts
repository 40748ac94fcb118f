interface Turn {
  last: Promise<unknown>;
  abort: AbortController;
}

/** Lets what concerns one thing happen in a row. */
export class Turns {
  readonly #turns = new Map<string, Turn>();

  /**
   * Runs `action` when all that was begun for this name before has ended. Its signal aborts with the caller's and with
   * {@link giveUp}; where that is before its turn, it is not run and the signal's reason is thrown.
   */
  async run<T>(
    name: string,
    signal: AbortSignal,
    action: (signal: AbortSignal) => T | Promise<T>,
  ): Promise<T> {
    const before = this.#turns.get(name);
    const abort = new AbortController();
    const either = AbortSignal.any([abort.signal, signal]);
    const take = async () => {
      // Its failure was its caller's.
      await before?.last.catch(() => {});
      either.throwIfAborted();
      return await action(either);
    };
    const last = take();
    const turn: Turn = { last, abort };
    this.#turns.set(name, turn);
    try {
      return await last;
    } finally {
      if (this.#turns.get(name) === turn) this.#turns.delete(name);
    }
  }

  /** Aborts what is under way, or was begun last, for a name. */
  giveUp(name: string, reason: Error): void {
    this.#turns.get(name)?.abort.abort(reason);
  }

  /** Aborts everything. */
  giveUpAll(reason: Error): void {
    for (const { abort } of this.#turns.values()) abort.abort(reason);
  }
}
