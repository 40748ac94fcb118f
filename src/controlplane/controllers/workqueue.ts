import { isClientClosed, isConflict } from "../../kube/errors.ts";
import type { Clock } from "../../lib/clock.ts";
import { explain } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";

export interface WorkQueueOptions {
  clock: Clock;
  log: Log;
  signal: AbortSignal;
  /**
   * Makes the world as it should be for one key. May answer with the milliseconds after which to look again. When it
   * throws, it is called again after a while, longer each time.
   */
  process: (key: string) => Promise<number | undefined>;
  /** How many keys at a time; 8 where not given. One key is never worked on twice at a time. */
  concurrency?: number;
}

const firstRetryMs = 5;
const longestRetryMs = 30_000;

/** Keys that wait for work: each once, however often it was added, and again if it was added while worked on. */
export class WorkQueue {
  readonly #options: WorkQueueOptions;
  readonly #waiting = new Set<string>();
  readonly #active = new Set<string>();
  readonly #later = new Map<string, { at: number; cancel: () => void }>();
  readonly #failures = new Map<string, number>();
  #started = false;
  #pumping = false;

  constructor(options: WorkQueueOptions) {
    this.#options = options;
    options.signal.addEventListener("abort", () => {
      for (const { cancel } of this.#later.values()) cancel();
      this.#later.clear();
      this.#waiting.clear();
    });
  }

  /** Work begins: until now keys were only gathered. */
  start(): void {
    this.#started = true;
    this.#pump();
  }

  add(key: string): void {
    if (this.#options.signal.aborted) return;
    this.#waiting.add(key);
    // Later, so that a burst of events costs one round of work, and no handler waits for it.
    if (this.#started && !this.#pumping) {
      this.#pumping = true;
      queueMicrotask(() => this.#pump());
    }
  }

  /** Adds the key after a while, unless that is to happen earlier anyway. */
  addAfter(key: string, milliseconds: number): void {
    const { clock, signal } = this.#options;
    if (signal.aborted) return;
    const at = clock.now() + milliseconds;
    const planned = this.#later.get(key);
    if (planned !== undefined && planned.at <= at) return;
    planned?.cancel();
    const cancel = clock.after(milliseconds, () => {
      this.#later.delete(key);
      this.add(key);
    });
    this.#later.set(key, { at, cancel });
  }

  #pump(): void {
    this.#pumping = false;
    const concurrency = this.#options.concurrency ?? 8;
    for (const key of this.#waiting) {
      if (this.#active.size >= concurrency) return;
      if (this.#active.has(key)) continue;
      this.#waiting.delete(key);
      this.#active.add(key);
      void this.#work(key);
    }
  }

  async #work(key: string): Promise<void> {
    try {
      const again = await this.#options.process(key);
      this.#failures.delete(key);
      if (again !== undefined) this.addAfter(key, again);
    } catch (error) {
      this.#failed(key, error);
    } finally {
      this.#active.delete(key);
      if (!this.#options.signal.aborted) this.#pump();
    }
  }

  #failed(key: string, error: unknown): void {
    const { signal, log } = this.#options;
    if (signal.aborted || isClientClosed(error)) return;
    const failures = this.#failures.get(key) ?? 0;
    this.#failures.set(key, failures + 1);
    const delay = Math.min(longestRetryMs, firstRetryMs * 2 ** Math.min(failures, 20));
    // Somebody else wrote in between: what to do is computed anew, nothing is wrong.
    const level = isConflict(error) && failures < 5 ? "debug" : "warn";
    log[level]("A step failed and is tried again", { key, error: explain(error), inMs: delay });
    this.addAfter(key, delay);
  }
}
