import { InvalidInput } from "../../lib/errors.ts";
import type { Datum, TypeName } from "./datatypes.ts";
import type { Element, NftMap, NftSet } from "./model.ts";
import { decodeRange, encodeRange, type Layout, layoutOf } from "./values.ts";

/** The lowest and the highest value, both inside. */
interface Range {
  readonly from: Uint8Array;
  readonly to: Uint8Array;
}

/**
 * The same values in the fewest ranges: prefixes and ranges that overlap or touch are joined, as the kernel refuses
 * overlaps. In order, as the text of prefixes, ranges or single values.
 */
export function mergeRanges(type: TypeName, values: readonly Datum[]): (string | number)[] {
  const layout = layoutOf(type);
  const merged: { from: Uint8Array; to: Uint8Array }[] = [];
  for (const { from, to } of sortedRanges(layout, values)) {
    const last = merged.at(-1);
    if (last !== undefined && reaches(last.to, from)) {
      if (compareBytes(to, last.to) > 0) last.to = to;
    } else {
      merged.push({ from, to });
    }
  }
  return merged.map(({ from, to }) => decodeRange(layout, from, to) as string | number);
}

function sortedRanges(layout: Layout, values: readonly Datum[]): Range[] {
  return values
    .map((value) => {
      const [from, to] = encodeRange(layout, value);
      return { from, to };
    })
    .sort((a, b) => compareBytes(a.from, b.from) || compareBytes(a.to, b.to));
}

/** True where a value directly after the end is in the range that begins at `from`. */
function reaches(end: Uint8Array, from: Uint8Array): boolean {
  const after = successor(end);
  return after === undefined || compareBytes(from, after) <= 0;
}

/**
 * Throws where intervals of one operation overlap. The kernel does not notice when one ends where another does and begins
 * before it (nft_set_rbtree, seen in 6.18), and deleting one of them would then break the other.
 */
export function refuseOverlaps(set: NftSet | NftMap, elements: readonly Element[]): void {
  if (typeof set.key !== "string" || !set.flags?.includes("interval") || elements.length < 2) return;
  const layout = layoutOf(set.key);
  const keys = elements.flatMap(({ key }) => (key === "*" ? [] : [key as Datum]));
  const ranges = sortedRanges(layout, keys);
  for (const [i, { from, to }] of ranges.entries()) {
    const next = ranges[i + 1];
    if (next === undefined || compareBytes(next.from, to) > 0) continue;
    if (compareBytes(next.from, from) === 0 && compareBytes(next.to, to) === 0) continue;
    const pair = [decodeRange(layout, from, to), decodeRange(layout, next.from, next.to)];
    throw new InvalidInput(`elements of ${set.kind} "${set.name}"`, pair, "overlap", {
      remedy: "Join them with mergeRanges",
    });
  }
}

/** Negative, 0 or positive, as the kernel orders keys. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const difference = (a[i] as number) - (b[i] as number);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

/** The next greater value; undefined after the greatest. */
export function successor(bytes: Uint8Array): Uint8Array | undefined {
  const next = bytes.slice();
  for (let i = next.length - 1; i >= 0; i--) {
    next[i] = ((next[i] as number) + 1) & 0xff;
    if (next[i] !== 0) return next;
  }
  return undefined;
}

/** The next lesser value; the greatest before 0. */
export function predecessor(bytes: Uint8Array): Uint8Array {
  const previous = bytes.slice();
  for (let i = previous.length - 1; i >= 0; i--) {
    const borrow = previous[i] === 0;
    previous[i] = ((previous[i] as number) - 1) & 0xff;
    if (!borrow) break;
  }
  return previous;
}
