import { Prefix } from "../lib/prefix.ts";

/** A prefix as nft writes it in a set of ranges: an address alone without its length. */
export function rangeText(prefix: Prefix): string {
  return prefix.length === prefix.ip.bits ? String(prefix.ip) : String(prefix.masked());
}

/** The same addresses, in order, without prefixes inside of others: the kernel refuses ranges that overlap. */
export function disjoint(prefixes: readonly Prefix[]): Prefix[] {
  // Two prefixes overlap only where one holds the other: what holds comes before what it holds.
  const sorted = prefixes
    .map((prefix) => prefix.masked())
    .sort((a, b) => a.ip.compare(b.ip) || a.length - b.length);
  const kept: Prefix[] = [];
  for (const prefix of sorted) if (kept.at(-1)?.contains(prefix) !== true) kept.push(prefix);
  return kept;
}

/** A prefix with its host bits cleared; undefined for what is none. */
export function tryPrefix(text: string): Prefix | undefined {
  try {
    return Prefix.parse(text).masked();
  } catch {
    return undefined;
  }
}
