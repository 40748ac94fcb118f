import type { Result, ResultRoute } from "../../cni/result.ts";
import type { Prefix } from "../../lib/prefix.ts";
import { isExists } from "../../linux/errors.ts";
import { scope as scopes } from "../../linux/route/address.ts";
import type { Link } from "../../linux/route/link.ts";
import { type NewRoute, type Route, RT_TABLE_LOCAL } from "../../linux/route/route.ts";
import type { Rtnl } from "../../linux/route/rtnl.ts";
import type { Rule } from "../../linux/route/rule.ts";

/** What the host had set up on a device, which the container is to have. */
export interface HostNetwork {
  addresses: Prefix[];
  /** Those on the link first: others may need them. */
  routes: Route[];
  /** For packets from these addresses to the tables of these routes. */
  rules: Rule[];
}

/**
 * Reads addresses, routes and rules of a device. What the kernel makes by itself, or by router advertisements, the
 * container's will make again; IPv6 addresses that end are left out, IPv4 ones taken for permanent.
 */
export function readHostNetwork(host: Rtnl, device: Link): HostNetwork {
  const addresses = host.addresses
    .list({ link: device.index })
    .filter(({ scope, address, flags }) => {
      return scope === "global" && (address.family === 4 || flags.includes("permanent"));
    })
    .map(({ address }) => address);
  const routes = host.routes
    .list({ table: "all", oif: device.index })
    .filter(({ table, protocol, dst, nextHops }) => {
      const isOwn = table !== RT_TABLE_LOCAL && protocol !== "kernel" && protocol !== "ra";
      return isOwn && nextHops === undefined && !(dst.family === 6 && dst.length > 0 && dst.ip.isLinkLocal());
    })
    .sort((a, b) => scopes.number(b.scope) - scopes.number(a.scope));
  const tables = new Set(routes.map(({ table }) => table));
  const rules = host.rules.list().filter(({ src, table }) => {
    const isFromThere = src !== undefined && addresses.some((address) => src.contains(address.ip));
    return isFromThere && table !== undefined && table !== RT_TABLE_LOCAL && tables.has(table);
  });
  return { addresses, routes, rules };
}

/** Adds the routes and rules in the container, whose interface has the addresses already. */
export function applyHostNetwork(container: Rtnl, link: number, { routes, rules }: HostNetwork): void {
  for (const route of routes) unlessThere(() => container.routes.add(routeOn(link, route)));
  for (const rule of rules) {
    const { iif: _, oif: __, ...rest } = rule;
    unlessThere(() => container.rules.add(rest));
  }
}

function unlessThere(action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!isExists(error)) throw error;
  }
}

function routeOn(link: number, route: Route): NewRoute {
  const { flags, nextHops: _, nextHopId: __, iif: ___, ...rest } = route;
  return { ...rest, oif: link, onlink: flags.includes("onlink") };
}

/** Adds the addresses to a result, behind those that it has. */
export function addHostAddresses(result: Result, { addresses }: HostNetwork): void {
  for (const address of addresses) {
    if (result.ips.some((ip) => ip.address.equals(address))) continue;
    result.ips.push({ interface: 0, address });
  }
}

/** Adds the routes to a result, behind those that it has. */
export function addHostRoutes(result: Result, { routes }: HostNetwork): void {
  for (const { dst, gateway, priority, table, scope } of routes) {
    const number = scopes.number(scope);
    const route: ResultRoute = { dst, table };
    if (gateway !== undefined) route.gw = gateway;
    if (priority !== undefined) route.priority = priority;
    if (number !== 0) route.scope = number;
    result.routes.push(route);
  }
}
