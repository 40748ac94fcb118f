/** Names of the sets and maps of services; each is there once per family ("services-frontends4"). */
export const setNames = {
  frontends: "services-frontends",
  endpoints: "services-endpoints",
  outside: "services-outside",
  special: "services-special",
  sticky: "services-sticky",
  nodePorts: "services-nodeports",
  nodePortEndpoints: "services-nodeport-endpoints",
  nodePortOutside: "services-nodeport-outside",
  nodePortGate: "services-nodeport-gate",
  nodePortSticky: "services-nodeport-sticky",
  restricted: "services-restricted",
  sourceRanges: "services-source-ranges",
  affinity: "services-affinity",
  clusterIps: "services-cluster-ips",
  serviceCidrs: "services-cidrs",
  pods: "services-pods",
  hairpin: "services-hairpin",
} as const;

/** Beside the sets: the chains that come and go with what Services need. */
export const CHAINS = "chains";

/** One element: what it was and what it shall be. Keys and values are written as nft writes them; a set's value is "". */
export interface Change {
  readonly set: string;
  readonly key: string;
  /** Undefined: not there. */
  readonly before: string | undefined;
  readonly after: string | undefined;
}

/** What shall be in the kernel, and what changed since that was last asked. */
export class Elements {
  readonly #sets = new Map<string, Map<string, string>>();
  readonly #changed = new Map<string, Map<string, string | undefined>>();
  readonly #uses = new Map<string, Map<string, number>>();

  /** Sets or (undefined) removes an element. */
  put(set: string, key: string, value: string | undefined): void {
    const elements = inner(this.#sets, set);
    const before = elements.get(key);
    if (before === value) return;
    if (value === undefined) elements.delete(key);
    else elements.set(key, value);
    const changed = inner(this.#changed, set);
    if (!changed.has(key)) changed.set(key, before);
  }

  /** An element that several want is there as long as one of them does: adds 1 or -1 to their number. */
  use(set: string, key: string, difference: 1 | -1, value = ""): void {
    const uses = inner(this.#uses, set);
    const count = (uses.get(key) ?? 0) + difference;
    if (count === 0) uses.delete(key);
    else uses.set(key, count);
    if (count === 0) this.put(set, key, undefined);
    else if (count === 1 && difference === 1) this.put(set, key, value);
  }

  get(set: string, key: string): string | undefined {
    return this.#sets.get(set)?.get(key);
  }

  /** All elements of a set. */
  of(set: string): ReadonlyMap<string, string> {
    return this.#sets.get(set) ?? new Map();
  }

  /** What changed since the last call; an element that came back to what it was is not in it. */
  take(): Change[] {
    const changes: Change[] = [];
    for (const [set, changed] of this.#changed) {
      const elements = this.#sets.get(set);
      for (const [key, before] of changed) {
        const after = elements?.get(key);
        if (after !== before) changes.push({ set, key, before, after });
      }
    }
    this.#changed.clear();
    return changes;
  }

  /** Everything as text, a line an element, in order: for tests and for people. */
  toString(): string {
    const lines: string[] = [];
    for (const [set, elements] of this.#sets) {
      for (const [key, value] of elements) lines.push(`${set} ${key}${value === "" ? "" : ` : ${value}`}`);
    }
    return lines.sort().join("\n");
  }
}

/** The map under a key; made where it is missing. */
export function inner<K, L, V>(maps: Map<K, Map<L, V>>, key: K): Map<L, V> {
  const found = maps.get(key);
  if (found !== undefined) return found;
  const made = new Map<L, V>();
  maps.set(key, made);
  return made;
}
