import { Prefix } from "../lib/prefix.ts";

/** A prefix and the node that has it. */
export interface Claim {
  prefix: Prefix;
  node: string;
}

/** Prefixes that do not overlap, found quickly where most are of the same few lengths, as podCIDRs are. */
export class Claims {
  readonly #byText = new Map<string, Claim>();
  /** The claims of each family and length. */
  readonly #byLength = new Map<string, { length: number; claims: Claim[] }>();

  /** A claim that shares addresses with this prefix. */
  overlapping(prefix: Prefix): Claim | undefined {
    for (const [key, { length, claims }] of this.#byLength) {
      if (!key.startsWith(String(prefix.family))) continue;
      const found =
        length <= prefix.length
          ? this.#byText.get(new Prefix(prefix.ip, length).masked().toString())
          : claims.find((claim) => prefix.contains(claim.prefix));
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** Takes a claim that overlaps none. */
  add(claim: Claim): void {
    const { family, length } = claim.prefix;
    this.#byText.set(claim.prefix.toString(), claim);
    const key = `${family}/${length}`;
    const known = this.#byLength.get(key);
    if (known === undefined) this.#byLength.set(key, { length, claims: [claim] });
    else known.claims.push(claim);
  }
}
