import { CHAINS, type Elements } from "./elements.ts";

/** Chains that wait unused for the next Service of their class. */
const SPARE = 64;

/**
 * The chains that come and go. One that nobody uses any more stays for a while: adding a rule that looks into a map makes
 * the kernel walk the whole map (nf_tables_bind_set: 15 ms for 30,000 endpoints), and in a rolling update the same numbers
 * of endpoints come again and again.
 */
export class ChainPool {
  readonly #elements: Elements;
  readonly #uses = new Map<string, number>();
  /** The longest unused first. */
  readonly #spare = new Set<string>();

  constructor(elements: Elements) {
    this.#elements = elements;
  }

  /** Takes up a chain that is in the kernel already. */
  adopt(name: string): void {
    if (!this.#uses.has(name)) this.#retire(name);
  }

  /** Adds 1 or -1 to the number of a chain's users. */
  use(name: string, difference: 1 | -1): void {
    const count = (this.#uses.get(name) ?? 0) + difference;
    if (count > 0) {
      this.#uses.set(name, count);
      this.#spare.delete(name);
      this.#elements.put(CHAINS, name, "");
    } else {
      this.#uses.delete(name);
      this.#retire(name);
    }
  }

  #retire(name: string): void {
    this.#elements.put(CHAINS, name, "");
    this.#spare.add(name);
    if (this.#spare.size <= SPARE) return;
    for (const oldest of this.#spare) {
      this.#spare.delete(oldest);
      this.#elements.put(CHAINS, oldest, undefined);
      return;
    }
  }
}
