import { InvalidInput } from "../lib/errors.ts";
import { Ip } from "../lib/ip.ts";
import { firstOf } from "../lib/lists.ts";
import type { Prefix } from "../lib/prefix.ts";

/** Addresses that may be given out: from `start` to `end`, both included, except the gateway. */
export interface IpRange {
  readonly subnet: Prefix;
  readonly start: Ip;
  readonly end: Ip;
  readonly gateway: Ip;
}

/** Ranges of one family that stand in for each other: an attachment gets one address from each set. */
export type RangeSet = readonly IpRange[];

/** What a configuration says of a range; what is absent follows from the subnet. */
export interface RangeInput {
  subnet: Prefix;
  start?: Ip;
  end?: Ip;
  gateway?: Ip;
}

/**
 * Completes and checks a range as the reference host-local does: the gateway is the first address where none is
 * given and may lie outside of the subnet, an IPv4 range ends before the broadcast address. Throws
 * {@link InvalidInput} with `field`.
 */
export function completeRange(input: RangeInput, field: string): IpRange {
  const { subnet } = input;
  const name = (key: string) => (field === "" ? key : `${field}.${key}`);
  if (subnet.length > subnet.ip.bits - 2) {
    throw new InvalidInput(name("subnet"), String(subnet), "is too small to allocate from", {
      remedy: `Use a prefix length of at most ${subnet.ip.bits - 2}`,
    });
  }
  if (!subnet.isMasked()) {
    throw new InvalidInput(name("subnet"), String(subnet), "has host bits set", {
      remedy: `Write it as ${subnet.masked()}`,
    });
  }
  const first = firstHost(subnet);
  const inside = (key: string, ip: Ip) => {
    if (subnet.contains(ip)) return ip;
    throw new InvalidInput(name(key), String(ip), `is not in ${subnet}`);
  };
  const start = inside("rangeStart", input.start ?? first);
  const end = inside("rangeEnd", input.end ?? lastHost(subnet));
  if (start.compare(end) > 0) {
    throw new InvalidInput(name("rangeEnd"), String(end), `is before rangeStart ${start}`);
  }
  const gateway = input.gateway ?? first;
  if (gateway.family !== subnet.family) {
    throw new InvalidInput(name("gateway"), String(gateway), `is of another family than ${subnet}`);
  }
  return { subnet, start, end, gateway };
}

function firstHost(subnet: Prefix): Ip {
  const bytes = subnet.ip.bytes.slice();
  bytes[bytes.length - 1] = (bytes[bytes.length - 1] as number) | 1;
  return Ip.fromBytes(bytes);
}

/** The last address that is no broadcast address. */
function lastHost(subnet: Prefix): Ip {
  const bytes = subnet.ip.bytes.slice();
  const end = subnet.family === 4 ? 31 : 128;
  for (let bit = subnet.length; bit < end; bit++) {
    bytes[bit >> 3] = (bytes[bit >> 3] as number) | (0x80 >> (bit & 7));
  }
  return Ip.fromBytes(bytes);
}

/** True where the address can be given out of the range or is its gateway. */
export function rangeContains(range: IpRange, ip: Ip): boolean {
  return range.subnet.contains(ip) && ip.compare(range.start) >= 0 && ip.compare(range.end) <= 0;
}

/** The range of the set that has the address. */
export function rangeFor(set: RangeSet, ip: Ip): IpRange | undefined {
  return firstOf(set, (range) => rangeContains(range, ip));
}

/** True where some address is in both. */
export function rangesOverlap(a: IpRange, b: IpRange): boolean {
  return a.subnet.family === b.subnet.family && a.start.compare(b.end) <= 0 && b.start.compare(a.end) <= 0;
}

/** "10.1.0.1-10.1.0.254,10.2.0.1-10.2.0.254", for messages. */
export function formatRangeSet(set: RangeSet): string {
  return set.map(({ start, end }) => `${start}-${end}`).join(",");
}

/** A range and where it stands. */
interface PlacedRange {
  range: IpRange;
  at: string;
  /** Among all ranges. */
  index: number;
}

/** A range set, and the names of the fields that it and its ranges come from. */
export interface PlacedRangeSet {
  set: RangeSet;
  at: string;
  rangesAt: readonly string[];
}

/**
 * Checks sets against each other: each of one family, no range overlapping another. Throws {@link InvalidInput}.
 */
export function requireDistinctRanges(sets: readonly PlacedRangeSet[]): void {
  const placed: PlacedRange[] = [];
  for (const { set, at: setAt, rangesAt } of sets) {
    const family = set[0]?.subnet.family;
    if (family === undefined) throw new InvalidInput(setAt, [], "has no range");
    for (let j = 0; j < set.length; j++) {
      const range = set[j] as IpRange;
      const at = rangesAt[j] as string;
      if (range.subnet.family !== family) {
        throw new InvalidInput(at, String(range.subnet), "is of another family than the set's first range", {
          remedy: "Give each family a range set of its own",
        });
      }
      placed.push({ range, at, index: placed.length });
    }
  }
  if (placed.length > 1) requireDistinct(placed);
}

function requireDistinct(placed: PlacedRange[]): void {
  placed.sort((a, b) => a.range.start.compare(b.range.start));
  const widest = new Map<4 | 6, PlacedRange>();
  for (const each of placed) {
    const { family } = each.range.subnet;
    const before = widest.get(family);
    if (before !== undefined && rangesOverlap(before.range, each.range)) {
      const [first, second] = before.index < each.index ? [before, each] : [each, before];
      throw new InvalidInput(
        second.at,
        String(second.range.subnet),
        `overlaps ${first.range.subnet} of ${first.at}`,
      );
    }
    widest.set(family, each);
  }
}
