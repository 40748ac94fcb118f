interface Turn {
  last: Promise<unknown>;
  abort: AbortController;
  isYielding: boolean;
}

/** Lets what concerns one thing happen in a row. */
export class Turns {
  /** What has not ended yet, by name, in the order in which it was begun. */
  readonly #turns = new Map<string, Turn[]>();

  /**
   * Runs `action` when all that was begun for this name before has ended. Its signal aborts with the caller's and with
   * {@link giveUpAll}; where that is before its turn, it is not run and the signal's reason is thrown.
   */
  async run<T>(
    name: string,
    signal: AbortSignal,
    action: (signal: AbortSignal) => T | Promise<T>,
  ): Promise<T> {
    return await this.#run(name, signal, action, false);
  }

  /** As {@link run}, for what {@link giveUp} aborts as well. */
  async runYielding<T>(
    name: string,
    signal: AbortSignal,
    action: (signal: AbortSignal) => T | Promise<T>,
  ): Promise<T> {
    return await this.#run(name, signal, action, true);
  }

  async #run<T>(
    name: string,
    signal: AbortSignal,
    action: (signal: AbortSignal) => T | Promise<T>,
    isYielding: boolean,
  ): Promise<T> {
    const turns = this.#turns.get(name) ?? [];
    this.#turns.set(name, turns);
    const before = turns.at(-1);
    const abort = new AbortController();
    const either = AbortSignal.any([abort.signal, signal]);
    const take = async () => {
      // Its failure was its caller's.
      await before?.last.catch(() => {});
      either.throwIfAborted();
      return await action(either);
    };
    const last = take();
    const turn: Turn = { last, abort, isYielding };
    turns.push(turn);
    try {
      return await last;
    } finally {
      turns.splice(turns.indexOf(turn), 1);
      if (turns.length === 0) this.#turns.delete(name);
    }
  }

  /** Aborts what is under way or waits for a name by {@link runYielding}, and nothing else. */
  giveUp(name: string, reason: Error): void {
    for (const { abort, isYielding } of this.#turns.get(name) ?? []) if (isYielding) abort.abort(reason);
  }

  /** Aborts everything. */
  giveUpAll(reason: Error): void {
    for (const { abort } of [...this.#turns.values()].flat()) abort.abort(reason);
  }
}
