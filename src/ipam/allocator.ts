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
  let begin = 0;
  let resume: bigint | undefined;
  for (let i = 0; i < set.length && last !== undefined && resume === undefined; i++) {
    if (rangeContains(set[i] as IpRange, last)) [begin, resume] = [i, last.toBigInt() + 1n];
  }
  const first = set[begin];
  if (first === undefined) return undefined;
  resume ??= first.start.toBigInt();
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
