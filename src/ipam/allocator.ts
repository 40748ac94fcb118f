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
  for (const candidate of candidates(set, last)) {
    if (!taken(candidate.ip)) return candidate;
  }
  return undefined;
}

/** Every address of the set once, in the order in which they are to be tried. */
export function* candidates(set: RangeSet, last: Ip | undefined): Generator<Candidate> {
  const at = last === undefined ? -1 : set.findIndex((range) => rangeContains(range, last));
  const begin = at < 0 ? 0 : at;
  const resume = at < 0 || last === undefined ? undefined : last.toBigInt() + 1n;
  for (let i = 0; i < set.length; i++) {
    const range = set[(begin + i) % set.length] as IpRange;
    yield* within(
      range,
      i === 0 && resume !== undefined ? resume : range.start.toBigInt(),
      range.end.toBigInt(),
    );
  }
  // What lies before the place of resumption comes last.
  const first = set[begin];
  if (first !== undefined && resume !== undefined) yield* within(first, first.start.toBigInt(), resume - 1n);
}

function* within(range: IpRange, from: bigint, to: bigint): Generator<Candidate> {
  const gateway = range.gateway.toBigInt();
  for (let value = from; value <= to; value++) {
    if (value !== gateway) yield { ip: Ip.fromBigInt(value, range.subnet.family), range };
  }
}
