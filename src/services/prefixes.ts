import { Prefix } from "../lib/prefix.ts";

/** A prefix as nft writes it in a set of ranges: an address alone without its length. */
export function rangeText(prefix: Prefix): string {
  return prefix.length === prefix.ip.bits ? String(prefix.ip) : String(prefix.masked());
}

/** The same addresses without prefixes inside of others: the kernel refuses ranges that overlap. */
export function disjoint(prefixes: readonly Prefix[]): Prefix[] {
  const widest = [...prefixes].sort((a, b) => a.length - b.length || a.ip.compare(b.ip));
  return widest.filter((prefix, i) => !widest.slice(0, i).some((other) => other.contains(prefix)));
}

/** A prefix with its host bits cleared; undefined for what is none. */
export function tryPrefix(text: string): Prefix | undefined {
  try {
    return Prefix.parse(text).masked();
  } catch {
    return undefined;
  }
}
