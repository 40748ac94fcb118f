import { RT_TABLE_LOCAL, RT_TABLE_MAIN } from "../../linux/route/route.ts";
import type { Rtnl } from "../../linux/route/rtnl.ts";

const RT_TABLE_DEFAULT = 253;

/**
 * The lowest number of a routing table that nobody uses: no VRF, no rule and no route. Tables 253 to 255 are the kernel's
 * own.
 */
export function freeTable(rtnl: Rtnl): number {
  const taken = new Set<number | undefined>([RT_TABLE_DEFAULT, RT_TABLE_MAIN, RT_TABLE_LOCAL]);
  for (const { vrf } of rtnl.links.list({ kind: "vrf" })) taken.add(vrf?.table);
  for (const { table } of rtnl.rules.list()) taken.add(table);
  for (const { table } of rtnl.routes.list({ table: "all" })) taken.add(table);
  let table = 1;
  while (taken.has(table)) table++;
  return table;
}
