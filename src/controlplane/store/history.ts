import { WeftError } from "../../lib/errors.ts";
import type { StoreEvent } from "./entry.ts";

/** Events after this revision are no longer all known. */
export class Compacted extends WeftError {
  readonly requested: number;
  readonly oldest: number;

  constructor(requested: number, oldest: number) {
    super("compacted", `too old resource version: ${requested} (${oldest})`);
    this.requested = requested;
    this.oldest = oldest;
  }
}

/** Characters of JSON that the events of one resource may hold, however few they are. */
const MOST_TEXT = 32 * 1024 * 1024;

/** The last events of one resource, in order of revision. */
export class History {
  readonly #limit: number;
  #text = 0;
  #events: StoreEvent[] = [];
  /** All events after this revision are known. */
  #compacted: number;

  constructor(limit: number, compacted: number) {
    this.#limit = limit;
    this.#compacted = compacted;
  }

  add(event: StoreEvent): void {
    this.#events.push(event);
    this.#text += event.entry.text.length;
    // Dropping a part at a time keeps the cost of each event constant.
    if (this.#events.length > this.#limit * 1.25) this.#drop(this.#events.length - this.#limit);
    if (this.#text > MOST_TEXT) this.#drop(Math.ceil(this.#events.length / 4));
  }

  since(revision: number): readonly StoreEvent[] {
    if (revision < this.#compacted) throw new Compacted(revision, this.#compacted);
    return this.#events.slice(this.#indexAfter(revision));
  }

  compact(revision: number): void {
    this.#drop(this.#indexAfter(revision));
    this.#compacted = Math.max(this.#compacted, revision);
  }

  #drop(count: number): void {
    const last = this.#events[count - 1];
    if (last === undefined) return;
    this.#compacted = Math.max(this.#compacted, last.revision);
    for (const { entry } of this.#events.splice(0, count)) this.#text -= entry.text.length;
  }

  /** The index of the first event after a revision. */
  #indexAfter(revision: number): number {
    let low = 0;
    let high = this.#events.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#events[middle] as StoreEvent).revision <= revision) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
