import { Ip } from "../lib/ip.ts";
import { type IpRange, type RangeSet, rangeContains } from "./range.ts";

/** An address and the range that it comes from. */
export interface Candidate {
  ip: Ip;
  range: IpRange;
}

/**
 * The next free address of a set, or undefined where none is left. Round robin: the search begins behind the address
 * that was given out last and wraps around, so that an address is reused as late as possible. Gateways are passed
 * over. Looks at no more addresses than `taken` has, and one.
 */
export function allocate(
  set: RangeSet,
  taken: (ip: Ip) => boolean,
  last: Ip | undefined,
): Candidate | undefined {
  const at = last === undefined ? -1 : set.findIndex((range) => rangeContains(range, last));
  const begin = Math.max(at, 0);
  const first = set[begin];
  if (first === undefined) return undefined;
  const resume = at < 0 || last === undefined ? first.start.toBigInt() : last.toBigInt() + 1n;
  const ahead = firstFree(first, resume, first.end.toBigInt(), taken);
  if (ahead !== undefined) return ahead;
  for (let i = 1; i < set.length; i++) {
    const range = set[(begin + i) % set.length] as IpRange;
    const found = firstFree(range, range.start.toBigInt(), range.end.toBigInt(), taken);
    if (found !== undefined) return found;
  }
  return firstFree(first, first.start.toBigInt(), resume - 1n, taken);
}

function firstFree(
  range: IpRange,
  from: bigint,
  to: bigint,
  taken: (ip: Ip) => boolean,
): Candidate | undefined {
  for (let value = from; value <= to; value++) {
    const ip = Ip.fromBigInt(value, range.subnet.family);
    if (!ip.equals(range.gateway) && !taken(ip)) return { ip, range };
  }
  return undefined;
}
