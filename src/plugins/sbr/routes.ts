import type { ResultIp } from "../../cni/result.ts";
import type { Ip } from "../../lib/ip.ts";
import { Prefix } from "../../lib/prefix.ts";
import { type NewRoute, type Route, RT_TABLE_MAIN, RTPROT_WEFT } from "../../linux/route/route.ts";
import type { Rtnl } from "../../linux/route/rtnl.ts";
import type { Rule } from "../../linux/route/rule.ts";
import { mismatch } from "../shared/check-link.ts";
import type { Undo } from "../shared/undo.ts";

/** The first table that an address may get, as with the reference. */
const firstTable = 100;
/** RT_TABLE_DEFAULT, RT_TABLE_MAIN, RT_TABLE_LOCAL */
const kernelTables = [253, 254, 255];
const RTPROT_UNSPEC = 0;

/** An interface that is to be routed by its addresses. */
export interface Sources {
  rtnl: Rtnl;
  /** Index of the interface. */
  link: number;
  ips: readonly ResultIp[];
  gateways: readonly Ip[];
  addSourceHints: boolean;
}

/** One rule for each address, which leads to a given table. */
export function ruleOnly(rtnl: Rtnl, ips: readonly ResultIp[], table: number, undo: Undo[]): void {
  for (const { address } of ips) addRule(rtnl, address.ip, table, undo);
}

function addRule(rtnl: Rtnl, ip: Ip, table: number, undo: Undo[]): void {
  const rule = { src: Prefix.host(ip), table, protocol: RTPROT_WEFT };
  rtnl.rules.add(rule);
  undo.push(() => rtnl.rules.delete(rule));
}

/**
 * Gives each address a table with a default route and the routes of the interface that belong to it, and a rule that
 * leads there; then takes these routes out of the main table.
 */
export function routeBySource(sources: Sources & { undo: Undo[] }): void {
  const { rtnl, link, ips, addSourceHints, undo } = sources;
  const inMain = rtnl.routes.list({ oif: link }).filter(({ nextHops }) => nextHops === undefined);
  const used = tablesInUse(rtnl);
  for (const ip of ips) {
    const table = takeTable(used);
    undo.push(() => flush(rtnl, table, link));
    addRule(rtnl, ip.address.ip, table, undo);
    const gateway = gatewayOf(ip, sources.gateways);
    const dst = Prefix.default(ip.address.family);
    // The gateways are reached by what is still in the main table.
    if (gateway !== undefined) rtnl.routes.replace({ dst, gateway, oif: link, table });
    for (const route of inMain) {
      const isOverruled = route.dst.length === 0 && sources.gateways.some((each) => each === gateway);
      if (belongsTo(route, ip, ips) && !isOverruled) rtnl.routes.replace(copyOf(route, table));
    }
  }
  if (addSourceHints) for (const { address } of ips) addHint(rtnl, link, address, undo);
  const leaving = inMain.filter((route) => leaves(route, addSourceHints));
  // Those with a gateway first: taken back in the other order, they find the gateway again.
  leaving.sort((a, b) => Number(a.gateway === undefined) - Number(b.gateway === undefined));
  for (const route of leaving) removeRoute(rtnl, route, undo);
}

function tablesInUse(rtnl: Rtnl): Set<number> {
  const tables = [...rtnl.rules.list(), ...rtnl.routes.list({ table: "all" })].map(({ table }) => table ?? 0);
  return new Set([...tables, ...kernelTables]);
}

function takeTable(used: Set<number>): number {
  let table = firstTable;
  while (used.has(table)) table++;
  used.add(table);
  return table;
}

function gatewayOf({ address, gateway }: ResultIp, configured: readonly Ip[]): Ip | undefined {
  return configured.find(({ family }) => family === address.family) ?? gateway;
}

/**
 * True where a route is for packets from an address: by its source or its gateway, or where it is for all addresses of
 * its family, because it has neither, or a gateway that is in the prefix of none.
 */
function belongsTo(route: Route, { address }: ResultIp, all: readonly ResultIp[]): boolean {
  const { dst, src, gateway } = route;
  if (dst.family !== address.family) return false;
  const near = [src, gateway].filter((ip) => ip !== undefined);
  if (near.some((ip) => address.contains(ip))) return true;
  return !near.some((ip) => all.some((other) => other.address.contains(ip)));
}

/**
 * With hints the routes to what is on the link stay. That to link-local addresses always does: packets from such an
 * address have no table of their own.
 */
function leaves({ dst, gateway }: Route, addSourceHints: boolean): boolean {
  if (dst.ip.isLinkLocal() && dst.family === 6 && gateway === undefined) return false;
  return !addSourceHints || gateway !== undefined;
}

/** A route as it stands, in a table. */
function copyOf(route: Route, table: number): NewRoute {
  const { flags, nextHops: _, iif: __, gateway, oif, ...rest } = route;
  if (rest.nextHopId !== undefined) return { ...rest, table };
  const hop = { ...(gateway === undefined ? {} : { gateway }), ...(oif === undefined ? {} : { oif }) };
  return { ...rest, ...hop, table, onlink: flags.includes("onlink") };
}

function flush(rtnl: Rtnl, table: number, link: number): void {
  for (const route of rtnl.routes.list({ table, oif: link })) rtnl.routes.delete(copyOf(route, table));
}

function removeRoute(rtnl: Rtnl, route: Route, undo: Undo[]): void {
  const same = copyOf(route, RT_TABLE_MAIN);
  rtnl.routes.delete(same);
  undo.push(() => rtnl.routes.replace(same));
}

/** Who reaches out to the interface's own prefix without a source address of its own gets the interface's. */
function addHint(rtnl: Rtnl, link: number, address: Prefix, undo: Undo[]): void {
  const dst = address.masked();
  const before = rtnl.routes.list({ oif: link, dst }).find(({ gateway }) => gateway === undefined);
  // With the same metric it takes the place of the kernel's own.
  const priority = before?.priority === undefined ? {} : { priority: before.priority };
  const hint: NewRoute = { dst, oif: link, src: address.ip, table: RT_TABLE_MAIN, ...priority };
  rtnl.routes.replace(hint);
  undo.push(() => {
    if (before === undefined) rtnl.routes.delete(hint);
    else rtnl.routes.replace(copyOf(before, RT_TABLE_MAIN));
  });
}

/** Whose rules are to go. */
export interface RuleOwner {
  ips: readonly Ip[];
  /** The configured table. */
  table: number | undefined;
  /** Index of the interface, where there still is one. */
  link: number | undefined;
}

/** Removes the rules of an interface: Weft's and the reference's, of which only what they are tells. */
export function removeRules(rtnl: Rtnl, { ips, table, link }: RuleOwner): void {
  for (const rule of rtnl.rules.list()) {
    const { src } = rule;
    if (src === undefined || !isSourceRule(rule) || !ips.some((ip) => src.ip.equals(ip))) continue;
    const isOwn = table === undefined ? !leadsElsewhere(rtnl, rule, link) : rule.table === table;
    if (isOwn) rtnl.rules.delete(rule);
  }
}

/** A rule for one address and nothing else, by Weft or by whoever did not say his name. */
function isSourceRule(rule: Rule): boolean {
  const { family, priority: _, action, src, table: __, protocol, ...more } = rule;
  const isAddress = src !== undefined && src.length === src.ip.bits && src.family === family;
  const isNamed = protocol !== undefined && protocol !== "weft" && protocol !== RTPROT_UNSPEC;
  return isAddress && !isNamed && action === "table" && Object.keys(more).length === 0;
}

/** True where the rule's table is another interface's. */
function leadsElsewhere(rtnl: Rtnl, { family, table = 0 }: Rule, link: number | undefined): boolean {
  const routes = rtnl.routes.list({ family, table });
  return routes.length > 0 && !routes.some(({ oif }) => oif === link);
}

/** Throws a `CniError` where an address has lost its rule, or its table the default route. */
export function checkSources({ rtnl, link, ips, gateways, table }: Sources & { table?: number }): void {
  const rules = rtnl.rules.list().filter(isSourceRule);
  for (const ip of ips) {
    const { address } = ip;
    const mine = rules.filter(({ src }) => src?.ip.equals(address.ip));
    const found = mine.find((rule) =>
      table === undefined ? !leadsElsewhere(rtnl, rule, link) : rule.table === table,
    );
    if (found === undefined)
      throw mismatch(`no rule leads packets from ${address.ip} to a table of their own`);
    const gateway = gatewayOf(ip, gateways);
    if (table !== undefined || gateway === undefined) continue;
    const dst = Prefix.default(address.family);
    const routes = rtnl.routes.list({ dst, table: found.table ?? 0, oif: link });
    if (routes.some((route) => route.gateway?.equals(gateway))) continue;
    throw mismatch(`table ${found.table} of ${address.ip} has no default route via ${gateway}`);
  }
}
