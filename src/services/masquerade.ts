import { Prefix } from "../lib/prefix.ts";
import { ip, ip6, isIn, isNotIn, masquerade } from "../linux/nftables/expr.ts";
import type { NftablesApi, NftSet } from "../linux/nftables/index.ts";
import { chainOf, type DesiredPart, TablePart } from "../reconcile/table-part.ts";
import { disjoint, rangeText } from "./prefixes.ts";

/** Groups of receivers: their packets are copied, not answered. */
const multicast = ["224.0.0.0/4", "ff00::/8"].map((text) => Prefix.parse(text));

const families = [4, 6] as const;

const podSet = (family: 4 | 6): NftSet => rangeSet("masquerade-pods", family);
const exceptSet = (family: 4 | 6): NftSet => rangeSet("masquerade-except", family);

function rangeSet(name: string, family: 4 | 6): NftSet {
  return {
    kind: "set",
    name: `${name}${family}`,
    key: family === 4 ? "ipv4_addr" : "ipv6_addr",
    flags: ["interval"],
  };
}

/**
 * The rules by which this node's pods leave the cluster: with the address of the link by which they leave, except to the
 * prefixes in which they are known by their own.
 */
export function masqueradePart(pods: readonly Prefix[], except: readonly Prefix[]): DesiredPart {
  const elements = new Map<string, Map<string, string>>();
  for (const family of families) {
    for (const [set, prefixes] of [
      [podSet(family), pods],
      [exceptSet(family), [...except, ...multicast]],
    ] as const) {
      const own = disjoint(prefixes.filter((prefix) => prefix.family === family));
      elements.set(set.name, new Map(own.map((prefix) => [rangeText(prefix), ""])));
    }
  }
  return {
    sets: families.flatMap((family) => [podSet(family), exceptSet(family)]),
    chains: [
      chainOf(
        { name: "masquerade-postrouting", type: "nat", hook: "postrouting", priority: 100, policy: "accept" },
        ...families.map((family) => {
          const { saddr, daddr } = family === 4 ? ip : ip6;
          return [
            isIn(saddr, podSet(family)),
            isNotIn(daddr, exceptSet(family)),
            masquerade({ fullyRandom: true }),
          ];
        }),
      ),
    ],
    elements: (set) => elements.get(set) ?? new Map(),
  };
}

/** Keeps the masquerade part of the table as it shall be. */
export class MasqueradeDriver {
  readonly #part: TablePart;
  #desired: DesiredPart | undefined;
  /** What the desired part was made of. */
  #made = "";

  constructor(nft: NftablesApi) {
    this.#part = new TablePart(nft, "masquerade");
  }

  /** Sets what shall be and writes what differs. Returns the number of operations. */
  update(pods: readonly Prefix[], except: readonly Prefix[]): number {
    const made = `${pods.join(" ")} except ${except.join(" ")}`;
    if (this.#desired !== undefined && this.#made === made) return 0;
    const desired = masqueradePart(pods, except);
    const written = this.#part.repair(desired);
    // Only now: what failed is to be tried again.
    this.#desired = desired;
    this.#made = made;
    return written;
  }

  /** Puts right what somebody else changed. Returns the number of operations. */
  check(): number {
    return this.#desired === undefined || !this.#part.maybeChanged ? 0 : this.#part.repair(this.#desired);
  }

  /** Removes it all. Returns false where there was nothing. */
  remove(): boolean {
    this.#desired = undefined;
    return this.#part.remove();
  }
}
