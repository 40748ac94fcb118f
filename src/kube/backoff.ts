export interface BackoffOptions {
  /** The first delay; 100 ms where not given. */
  initialMs?: number;
  /** No delay is longer; 30 s where not given. */
  maxMs?: number;
  /** What each delay is multiplied by; 2 where not given. */
  factor?: number;
  /** The share of each delay that is random, 0 to 1; 0.5 where not given. */
  jitter?: number;
  /** Random numbers from 0 to 1. */
  random?: () => number;
}

/** Delays that grow exponentially, with jitter so that many clients of one server do not come back as one wave. */
export class Backoff {
  readonly #options: Required<BackoffOptions>;
  #failures = 0;

  constructor(options: BackoffOptions = {}) {
    this.#options = {
      initialMs: options.initialMs ?? 100,
      maxMs: options.maxMs ?? 30_000,
      factor: options.factor ?? 2,
      jitter: options.jitter ?? 0.5,
      random: options.random ?? Math.random,
    };
  }

  /** How many delays were given since the last reset. */
  get failures(): number {
    return this.#failures;
  }

  /** The delay before the next attempt, in milliseconds. */
  next(): number {
    const { initialMs, maxMs, factor, jitter, random } = this.#options;
    const full = Math.min(maxMs, initialMs * factor ** Math.min(this.#failures, 64));
    this.#failures++;
    return full * (1 - jitter * random());
  }

  /** An attempt went well: begin again with the first delay. */
  reset(): void {
    this.#failures = 0;
  }
}
