import { InvalidInput } from "../../lib/errors.ts";
import { Ip } from "../../lib/ip.ts";
import { Prefix } from "../../lib/prefix.ts";
import { didYouMean } from "../../lib/suggest.ts";
import type { Flow, FlowFilter, FlowTuple, TupleFilter } from "./model.ts";

/** True where all conditions hold. */
export function matches(filter: FlowFilter, flow: Flow): boolean {
  const { family, protocol, zone, mark, status } = filter;
  if (family !== undefined && flow.family !== family) return false;
  if (protocol !== undefined && flow.original.protocol !== protocol) return false;
  if (zone !== undefined && flow.zone !== zone) return false;
  if (mark !== undefined && ((flow.mark ^ mark.value) & (mark.mask ?? 0xffffffff)) !== 0) return false;
  if (status !== undefined && (flow.status & status) !== status) return false;
  return matchesTuple(filter.original, flow.original) && matchesTuple(filter.reply, flow.reply);
}

function matchesTuple(filter: TupleFilter | undefined, tuple: FlowTuple): boolean {
  if (filter === undefined) return true;
  const { source, destination, sourcePort, destinationPort } = filter;
  return (
    covers(source, tuple.source) &&
    covers(destination, tuple.destination) &&
    (sourcePort === undefined || sourcePort === tuple.sourcePort) &&
    (destinationPort === undefined || destinationPort === tuple.destinationPort)
  );
}

function covers(wanted: Ip | Prefix | undefined, ip: Ip): boolean {
  if (wanted === undefined) return true;
  return wanted instanceof Ip ? wanted.equals(ip) : wanted.contains(ip);
}

/** The filters as a list. */
export function filtersOf(filter: FlowFilter | readonly FlowFilter[]): readonly FlowFilter[] {
  return Array.isArray(filter) ? filter : [filter as FlowFilter];
}

const tupleConditions = ["source", "destination", "sourcePort", "destinationPort"];
const flowConditions = ["family", "protocol", "original", "reply", "zone", "mark", "status"];

/**
 * Throws for a filter that would mean every connection of the machine, or more than was meant: one with a condition
 * that is none.
 */
export function requireConditions(filters: readonly FlowFilter[]): void {
  for (const filter of filters) {
    const { original = {}, reply = {}, ...rest } = filter;
    requireKnown("filter", filter, flowConditions);
    for (const [name, tuple] of Object.entries({ original, reply })) {
      requireKnown(`filter.${name}`, tuple, tupleConditions);
      for (const end of [tuple.source, tuple.destination]) {
        if (end === undefined || end instanceof Ip || end instanceof Prefix) continue;
        throw new InvalidInput(`filter.${name}`, end, "is neither an Ip nor a Prefix", {
          remedy: "Write Ip.parse(...) or Prefix.parse(...)",
        });
      }
    }
    const conditions = [rest, original, reply].flatMap((part) => Object.values(part));
    if (!conditions.some((condition) => condition !== undefined)) {
      throw new InvalidInput("filter", filter, "has no condition: it would delete every connection", {
        remedy: "Give a family, protocol, address, port, zone or mark",
      });
    }
  }
}

function requireKnown(field: string, conditions: object, known: readonly string[]): void {
  for (const name of Object.keys(conditions)) {
    if (known.includes(name)) continue;
    throw new InvalidInput(field, name, `is no condition${didYouMean(name, known)}`, {
      remedy: `There are ${known.join(", ")}`,
    });
  }
}

/**
 * What all of the filters ask for, and so the kernel can sort out by itself: the same family, protocol and so on in each.
 */
export function commonFilter(filters: readonly FlowFilter[]): FlowFilter {
  const [first = {}, ...others] = filters;
  return others.reduce((common, filter) => intersect(common, filter), first);
}

function intersect(a: FlowFilter, b: FlowFilter): FlowFilter {
  return {
    ...same(a, b, "family"),
    ...same(a, b, "protocol"),
    original: intersectTuples(a.original, b.original),
    reply: intersectTuples(a.reply, b.reply),
  };
}

function intersectTuples(a: TupleFilter = {}, b: TupleFilter = {}): TupleFilter {
  return {
    ...same(a, b, "source"),
    ...same(a, b, "destination"),
    ...same(a, b, "sourcePort"),
    ...same(a, b, "destinationPort"),
  };
}

function same<T extends object, K extends keyof T>(a: T, b: T, key: K): Pick<T, K> | undefined {
  const [left, right] = [a[key], b[key]];
  if (left === undefined || String(left) !== String(right)) return undefined;
  return { [key]: left } as Pick<T, K>;
}
