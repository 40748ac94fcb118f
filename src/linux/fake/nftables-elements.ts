import { errno } from "../errno.ts";
import { canonicalExpressions } from "../nftables/compare.ts";
import { CATCHALL_KEY, isVerdict } from "../nftables/elements.ts";
import type { Element, NftMap, NftSet, Verdict } from "../nftables/model.ts";
import { decodeRange, decodeValue, encodeRange, encodeValue, layoutOf } from "../nftables/values.ts";

/** Why the kernel would refuse an element. */
export class Refused extends Error {
  readonly errno: number;

  constructor(errno: number) {
    super(`errno ${errno}`);
    this.errno = errno;
  }
}

interface Entry {
  readonly from: Uint8Array;
  readonly to: Uint8Array;
  readonly element: Element;
}

/** The elements of one set, with the kernel's rules for what may stand beside what. */
export class FakeElements {
  readonly #set: NftSet | NftMap;
  readonly #entries: Map<string, Entry>;

  constructor(set: NftSet | NftMap, entries = new Map<string, Entry>()) {
    this.#set = set;
    this.#entries = entries;
  }

  /** Another set with the same elements, to be changed alone. */
  copy(): FakeElements {
    return new FakeElements(this.#set, new Map(this.#entries));
  }

  get size(): number {
    return this.#entries.size;
  }

  /** The elements as a dump shows them, sorted by key. */
  list(): Element[] {
    const entries = [...this.#entries.values()];
    return entries
      .sort((a, b) => compare(a.from, b.from) || compare(a.to, b.to))
      .map(({ element }) => element);
  }

  /** The verdicts of a verdict map. */
  verdicts(): Verdict[] {
    return this.list().flatMap(({ data }) => (data !== undefined && isVerdict(data) ? [data] : []));
  }

  /** Adds an element; `exclusive` refuses one that is there. Throws {@link Refused}. */
  add(element: Element, exclusive: boolean): void {
    const entry = this.#entry(element);
    const same = this.#entries.get(name(entry));
    if (same === undefined) {
      if (this.#overlaps(entry)) throw new Refused(errno.EEXIST);
      if (this.#set.size !== undefined && this.size >= this.#set.size) throw new Refused(errno.ENFILE);
      this.#entries.set(name(entry), entry);
      return;
    }
    if (exclusive || !sameData(same.element.data, entry.element.data)) throw new Refused(errno.EEXIST);
    if (element.timeout !== undefined) this.#entries.set(name(entry), entry);
  }

  /** Deletes by key; false where there is no such element. */
  delete(element: Element): boolean {
    const entry = this.#entry({ key: element.key }, true);
    if (this.#entries.delete(name(entry))) return true;
    if (!this.#isConcatenatedInterval()) return false;
    // The kernel looks for the element around the start of the given range, and does not compare the rest.
    for (const [key, other] of this.#entries) {
      if (contains(this.#set, other, entry.from)) return this.#entries.delete(key);
    }
    return false;
  }

  clear(): void {
    this.#entries.clear();
  }

  #isConcatenatedInterval(): boolean {
    return this.#isInterval() && typeof this.#set.key !== "string";
  }

  #isInterval(): boolean {
    return this.#set.flags?.includes("interval") ?? false;
  }

  #overlaps(entry: Entry): boolean {
    if (!this.#isInterval() || entry.element.key === CATCHALL_KEY) return false;
    for (const other of this.#entries.values()) {
      if (other.element.key === CATCHALL_KEY) continue;
      if (contains(this.#set, other, entry.from) || contains(this.#set, other, entry.to)) return true;
      // Concatenated ranges may enclose others: the kernel looks at their ends only.
      if (!this.#isConcatenatedInterval() && contains(this.#set, entry, other.from)) return true;
    }
    return false;
  }

  #entry(element: Element, bare = false): Entry {
    const layout = layoutOf(this.#set.key);
    const none = new Uint8Array(0);
    if (element.key === CATCHALL_KEY) {
      return { from: none, to: none, element: bare ? element : this.#canonical(element, CATCHALL_KEY) };
    }
    const [from, to] = this.#isInterval()
      ? encodeRange(layout, element.key)
      : [encodeValue(layout, element.key), encodeValue(layout, element.key)];
    const key = decodeRange(layout, from, to);
    return { from, to, element: bare ? element : this.#canonical(element, key) };
  }

  #canonical(element: Element, key: Element["key"]): Element {
    const set = this.#set;
    const timed = set.flags?.includes("timeout") ?? false;
    if (!timed && element.timeout !== undefined) throw new Refused(errno.EINVAL);
    const lifetime = element.timeout ?? set.timeout;
    const expires = element.expires ?? lifetime;
    const expressions = element.expressions ?? set.expressions;
    return {
      key,
      ...(element.data !== undefined && { data: this.#canonicalData(element.data) }),
      ...(element.timeout !== undefined && element.timeout !== set.timeout && { timeout: element.timeout }),
      ...(timed && expires !== undefined && { expires }),
      ...(element.comment !== undefined && { comment: element.comment }),
      ...(expressions !== undefined && { expressions: canonicalExpressions(expressions) }),
    };
  }

  #canonicalData(data: NonNullable<Element["data"]>): NonNullable<Element["data"]> {
    if (isVerdict(data) || this.#set.kind !== "map" || this.#set.data === "verdict") return data;
    const layout = layoutOf(this.#set.data);
    return decodeValue(layout, encodeValue(layout, data));
  }
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
const name = ({ from, to }: Entry) => `${hex(from)}-${hex(to)}`;

function compare(a: Uint8Array, b: Uint8Array): number {
  return Buffer.compare(a, b);
}

/** True where each field of the point lies in the entry's range. */
function contains(set: NftSet | NftMap, entry: Entry, point: Uint8Array): boolean {
  return layoutOf(set.key).fields.every(({ type, at }) => {
    const part = (bytes: Uint8Array) => bytes.subarray(at, at + type.size);
    return compare(part(entry.from), part(point)) <= 0 && compare(part(point), part(entry.to)) <= 0;
  });
}

function sameData(a: Element["data"], b: Element["data"]): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
