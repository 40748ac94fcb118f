import type { Prefix } from "../../lib/prefix.ts";
import { Rtnl } from "../../linux/route/rtnl.ts";
import { matchPrefix, type U32Match } from "../../linux/route/tc-filters.ts";
import type { HtbClass } from "../../linux/route/tc-kinds.ts";
import { type BandwidthConfig, bucketOf, bytesOf, type Shape } from "./config.ts";

/*
 * Limits that are not for all traffic: a class for what is shaped, one for what is not, and filters that sort by the
 * peer's address. Numbers are those of the reference plugin.
 */

export const rootHandle = "1:";
export const unshapedClass = "1:1";
export const shapedClass = "1:30";
/** The minor number of the class for what no filter sorts. */
export const defaultClassOf = ({ isShaped }: BandwidthConfig): number => (isShaped ? 0x1 : 0x30);
/** The class for what the filters sort. */
export const sortedClassOf = ({ isShaped }: BandwidthConfig): string =>
  isShaped ? shapedClass : unshapedClass;

/** Bytes a second at which what is not shaped goes: as if without limit. */
export const unlimited = 100_000_000_000;
/** The kernel complains in its log where it computes a quantum out of these bounds. Bytes. */
const quanta = { lowest: 1000, highest: 200_000 };
const rateToQuantum = 10;

/**
 * Gives a link classes by which it sends to (or from: `side`) the configured subnets and to others. Where that fails,
 * nothing of it stays.
 */
export function addClasses(index: number, shape: Shape, config: BandwidthConfig, side: "src" | "dst"): void {
  using rtnl = new Rtnl();
  const qdisc = { link: index, kind: "htb", handle: rootHandle };
  rtnl.tc.addQdisc({ ...qdisc, htb: { defaultClass: defaultClassOf(config), rateToQuantum } });
  try {
    rtnl.tc.addClass({ link: index, kind: "htb", handle: shapedClass, htb: shapedClassOf(shape) });
    rtnl.tc.addClass({ link: index, kind: "htb", handle: unshapedClass, htb: unshaped });
    for (const subnet of config.subnets) {
      rtnl.tc.addFilter({
        link: index,
        kind: "u32",
        parent: rootHandle,
        ...protocolOf(subnet),
        u32: { classId: sortedClassOf(config), match: matchesOf(subnet, side) },
      });
    }
  } catch (error) {
    rtnl.tc.deleteQdisc(qdisc);
    throw error;
  }
}

/** One priority has one protocol. */
const protocolOf = ({ family }: Prefix) =>
  family === 4 ? ({ protocol: "ip", priority: 16 } as const) : ({ protocol: "ipv6", priority: 15 } as const);

const unshaped: HtbClass = { rate: unlimited, burst: 0, ceilBurst: 0, quantum: quanta.highest };

/** The ceiling, which the reference has too, is for classes that borrow: this one has nobody to borrow from. */
function shapedClassOf(shape: Shape): HtbClass {
  const { rate, ticks, bytes } = bucketOf(shape);
  const ceil = 2 * rate;
  const quantum = Math.min(quanta.highest, Math.max(quanta.lowest, Math.floor(rate / rateToQuantum)));
  return { rate, burst: bytes, ceil, ceilBurst: bytesOf(ticks, ceil), quantum };
}

/** What a filter for the subnet asks for; for the whole of a family a key that every packet matches. */
export function matchesOf(subnet: Prefix, side: "src" | "dst"): U32Match[] {
  return subnet.length === 0 ? [{ offset: 0, value: 0, mask: 0 }] : matchPrefix(subnet, side);
}
