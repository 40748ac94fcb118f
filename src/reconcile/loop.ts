import type { Clock } from "../lib/clock.ts";

export interface ReconcileOptions {
  clock: Clock;
  signal: AbortSignal;
  /** After a failure it is tried again: first after this many milliseconds, then after twice as many, and so on. */
  retryMin?: number;
  retryMax?: number;
  /** Told of each failure; the work is tried again in any case. */
  onError(error: unknown): void;
}

/**
 * Work that makes what is into what should be, whenever something changed. Triggers that come while it runs are one
 * more run; a run that fails is repeated with growing pauses. The first trigger runs at once.
 */
export class ReconcileLoop {
  readonly #work: () => void | Promise<void>;
  readonly #options: ReconcileOptions;
  #running = false;
  #again = false;
  #delay: number;
  #cancelRetry: (() => void) | undefined;

  constructor(work: () => void | Promise<void>, options: ReconcileOptions) {
    this.#work = work;
    this.#options = options;
    this.#delay = options.retryMin ?? 250;
    options.signal.addEventListener("abort", () => this.#cancelRetry?.(), { once: true });
  }

  /** Something changed. */
  trigger(): void {
    if (this.#running) this.#again = true;
    else void this.#run();
  }

  /** For handlers that want a function. */
  readonly triggered = (): void => this.trigger();

  async #run(): Promise<void> {
    this.#running = true;
    this.#cancelRetry?.();
    // What comes in one go (a first list, a burst of events) is one run.
    await Promise.resolve();
    do {
      this.#again = false;
      if (this.#options.signal.aborted) break;
      try {
        await this.#work();
        this.#delay = this.#options.retryMin ?? 250;
      } catch (error) {
        this.#options.onError(error);
        this.#retryLater();
      }
    } while (this.#again);
    this.#running = false;
  }

  #retryLater(): void {
    this.#cancelRetry?.();
    this.#cancelRetry = this.#options.clock.after(this.#delay, () => this.trigger());
    this.#delay = Math.min(this.#delay * 2, this.#options.retryMax ?? 30_000);
  }
}
