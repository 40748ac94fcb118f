import type { Clock } from "../lib/clock.ts";
import { NotInTime } from "./transport.ts";

/** A signal of its own for one exchange, that follows others; `end` must be called, it unties them. */
export class Deadline {
  readonly #controller = new AbortController();
  readonly #parents: AbortSignal[];
  readonly #clock: Clock;
  readonly #onAbort: (this: AbortSignal) => void;
  #cancel: (() => void) | undefined;

  constructor(clock: Clock, parents: readonly (AbortSignal | undefined)[]) {
    this.#clock = clock;
    this.#parents = parents.filter((parent) => parent !== undefined);
    const controller = this.#controller;
    this.#onAbort = function () {
      controller.abort(this.reason);
    };
    for (const parent of this.#parents) {
      if (parent.aborted) controller.abort(parent.reason);
      else parent.addEventListener("abort", this.#onAbort, { once: true });
    }
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Aborts when so long has passed from now, in place of what was set before. */
  set(milliseconds: number): void {
    this.#cancel?.();
    this.#cancel = this.#clock.after(milliseconds, () => this.#controller.abort(new NotInTime(milliseconds)));
  }

  /** The exchange is over; closes its connection where it is not. */
  end(options: { abort: boolean }): void {
    this.#cancel?.();
    for (const parent of this.#parents) parent.removeEventListener("abort", this.#onAbort);
    if (options.abort) this.#controller.abort();
  }
}
