import { Ip } from "../../lib/ip.ts";
import { Prefix } from "../../lib/prefix.ts";
import type { LookupOptions, NextHop, Route } from "../route/route.ts";
import type { Rule } from "../route/rule.ts";
import type { FakeNamespace } from "./namespace.ts";
import { refuse } from "./refusal.ts";

/** Types that need neither gateway nor link. */
const deadEnds = new Set<Route["type"]>(["blackhole", "unreachable", "prohibit", "throw"]);
const IPV6_DEFAULT_PRIORITY = 1024;

/** The same place in a table: what a new route would stand beside or replace. */
const samePlace = (a: Route, b: Route) =>
  a.table === b.table &&
  a.dst.equals(b.dst) &&
  (a.tos ?? 0) === (b.tos ?? 0) &&
  (a.priority ?? 0) === (b.priority ?? 0) &&
  (a.from === undefined ? b.from === undefined : b.from !== undefined && a.from.equals(b.from));

const sameIp = (a: Ip | undefined, b: Ip | undefined) =>
  a === undefined ? b === undefined : b?.equals(a) === true;

export const sameRoute = (a: Route, b: Route) =>
  samePlace(a, b) &&
  a.type === b.type &&
  a.oif === b.oif &&
  a.protocol === b.protocol &&
  sameIp(a.gateway, b.gateway) &&
  sameIp(a.src, b.src);

/** In the order in which the kernel lists them. */
function order(a: Route, b: Route): number {
  const long = a.dst.family === 4 ? b.dst.length - a.dst.length : a.dst.length - b.dst.length;
  return a.dst.ip.compare(b.dst.ip) || long || (a.priority ?? 0) - (b.priority ?? 0);
}

/** The first place in the list whose route does not stand before one to this destination. */
function placeOf(routes: readonly Route[], dst: Prefix, priority: number): number {
  const wanted = { dst, priority } as Route;
  let [low, high] = [0, routes.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (order(routes[middle] as Route, wanted) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The routes to exactly this destination, in any table. */
function routesTo(namespace: FakeNamespace, dst: Prefix): Route[] {
  const { routes } = namespace;
  const found: Route[] = [];
  for (let i = placeOf(routes, dst, -1); routes[i]?.dst.equals(dst); i++) found.push(routes[i] as Route);
  return found;
}

/** Puts a route in without asking, unless it is there. */
export function insertRoute(namespace: FakeNamespace, route: Route): void {
  if (routesTo(namespace, route.dst).some((one) => sameRoute(one, route))) return;
  // Behind those of the same priority.
  const place = placeOf(namespace.routes, route.dst, (route.priority ?? 0) + 1);
  namespace.routes.splice(place, 0, route);
  namespace.emit({ object: "route", action: "new", route });
}

/** Takes out what matches. */
export function removeRoute(namespace: FakeNamespace, matches: (route: Route) => boolean): void {
  const gone = namespace.routes.filter(matches);
  if (gone.length === 0) return;
  namespace.routes = namespace.routes.filter((route) => !gone.includes(route));
  for (const route of gone) namespace.emit({ object: "route", action: "delete", route });
}

/** Takes out the routes of a link that match; of a multipath route, its next hops. */
export function forgetRoutes(
  namespace: FakeNamespace,
  oif: number,
  matches: (route: Route) => boolean,
): void {
  removeRoute(namespace, (route) => route.oif === oif && matches(route));
  for (const route of namespace.routes) {
    if (route.nextHops === undefined || !matches(route)) continue;
    for (const hop of route.nextHops)
      if (hop.oif === oif && !hop.flags.includes("dead")) hop.flags.unshift("dead");
  }
  removeRoute(namespace, (route) => route.nextHops?.every((hop) => hop.flags.includes("dead")) === true);
}

/** `given` is the route as it was read back from the request. */
export function addRoute(namespace: FakeNamespace, given: Route, mode: "add" | "replace" | "append"): void {
  const route = checked(namespace, given);
  const held = routesTo(namespace, route.dst).find((one) => samePlace(one, route));
  if (held === undefined) {
    insertRoute(namespace, route);
  } else if (mode === "add") {
    refuse("EEXIST");
  } else if (mode === "replace") {
    namespace.routes[namespace.routes.indexOf(held)] = route;
    namespace.emit({ object: "route", action: "new", route });
  } else if (route.dst.family === 6 && route.gateway !== undefined) {
    appendHop(namespace, held, route);
  } else {
    if (routesTo(namespace, route.dst).some((one) => sameRoute(one, route))) refuse("EEXIST");
    insertRoute(namespace, route);
  }
}

/** IPv6 keeps routes to one destination as next hops of one. */
function appendHop(namespace: FakeNamespace, held: Route, route: Route): void {
  const hopOf = ({ gateway, oif }: Route): NextHop => ({
    weight: 1,
    flags: [],
    ...(gateway !== undefined && { gateway }),
    ...(oif !== undefined && { oif }),
  });
  const hops = held.nextHops ?? [hopOf(held)];
  const { gateway: _, oif: __, ...rest } = held;
  const merged: Route = { ...rest, nextHops: [...hops, hopOf(route)] };
  namespace.routes[namespace.routes.indexOf(held)] = merged;
  namespace.emit({ object: "route", action: "new", route: merged });
}

/** The route as the kernel keeps it. Refuses what the kernel refuses. */
function checked(namespace: FakeNamespace, given: Route): Route {
  const route: Route = { ...given };
  const { family } = route.dst;
  if (!route.dst.isMasked()) refuse("EINVAL", "Invalid prefix for given prefix length");
  if (family === 6) {
    route.priority ||= IPV6_DEFAULT_PRIORITY;
    route.preference ??= "medium";
  } else if (route.priority === 0) {
    delete route.priority;
  }
  if (deadEnds.has(route.type)) {
    // IPv6 hangs them on the loopback link.
    if (family === 6) route.oif = 1;
    return route;
  }
  if (route.nextHops !== undefined) {
    route.nextHops = route.nextHops.map((hop) => ({ ...hop, oif: hopLink(namespace, hop, hop.flags) }));
  } else {
    route.oif = hopLink(namespace, route, route.flags);
  }
  const { src } = route;
  if (src !== undefined && !namespace.addresses.some((one) => one.address.ip.equals(src))) {
    refuse("EINVAL", "Invalid prefsrc address");
  }
  return route;
}

/** The link of a next hop, found by its gateway where it is not given. */
function hopLink(
  namespace: FakeNamespace,
  hop: { gateway?: Ip; oif?: number },
  flags: readonly string[],
): number {
  const { gateway, oif } = hop;
  if (oif !== undefined) {
    const link = namespace.find(oif) ?? refuse("ENODEV");
    if (!link.own.up) refuse("ENETDOWN", "Device for nexthop is not up");
    if (gateway === undefined || flags.includes("onlink")) return oif;
  }
  if (gateway === undefined) refuse("ENODEV");
  const towards = bestOf(namespace, gateway, (route) => oif === undefined || route.oif === oif);
  const direct = towards !== undefined && towards.gateway === undefined && towards.nextHops === undefined;
  if (!direct || towards.oif === undefined) {
    if (gateway.family === 6) refuse("EHOSTUNREACH", "No route to host");
    refuse("ENETUNREACH", "Nexthop has invalid gateway");
  }
  if (towards.type !== "unicast" && towards.type !== "local") refuse("EINVAL", "Nexthop has invalid gateway");
  return towards.oif;
}

/** The best route to an address over the tables that need no rule: local, then main. */
function bestOf(namespace: FakeNamespace, dst: Ip, matches: (route: Route) => boolean): Route | undefined {
  return (
    longest(namespace, dst, 255, (route) => route.type !== "multicast" && matches(route)) ??
    longest(namespace, dst, 254, matches)
  );
}

function longest(
  namespace: FakeNamespace,
  dst: Ip,
  table: number,
  matches: (route: Route) => boolean,
): Route | undefined {
  let best: Route | undefined;
  for (const route of namespace.routes) {
    if (route.table !== table || !route.dst.contains(dst) || !matches(route)) continue;
    const better =
      best === undefined ||
      route.dst.length > best.dst.length ||
      (route.dst.length === best.dst.length && (route.priority ?? 0) < (best.priority ?? 0));
    if (better) best = route;
  }
  return best;
}

/** `given` has 0 or "nowhere" for what the caller left open. */
export function deleteRoute(namespace: FakeNamespace, given: Route): void {
  const wanted = (route: Route) =>
    route.table === given.table &&
    route.dst.equals(given.dst) &&
    (given.type === 0 || route.type === given.type) &&
    (given.protocol === 0 || route.protocol === given.protocol) &&
    (given.scope === "nowhere" || route.scope === given.scope) &&
    (!given.priority || route.priority === given.priority) &&
    (given.src === undefined || sameIp(given.src, route.src)) &&
    hopMatches(route, given);
  const found = routesTo(namespace, given.dst).find(wanted);
  if (found === undefined) refuse("ESRCH");
  removeRoute(namespace, (route) => route === found);
}

function hopMatches(route: Route, given: Route): boolean {
  const hops = route.nextHops ?? [route];
  return (given.nextHops ?? [given]).every((wanted) =>
    hops.some(
      (hop) =>
        (wanted.oif === undefined || hop.oif === wanted.oif) &&
        (wanted.gateway === undefined || sameIp(wanted.gateway, hop.gateway)),
    ),
  );
}

const answers = {
  blackhole: "EINVAL",
  unreachable: "EHOSTUNREACH",
  prohibit: "EACCES",
} as const;

/** Which way a packet would go. */
export function lookup(namespace: FakeNamespace, dst: Ip, options: LookupOptions): Route {
  const src = typeof options.src === "string" ? Ip.parse(options.src) : options.src;
  const oif = options.oif === undefined ? undefined : namespace.get(options.oif).own.index;
  const iif = options.iif === undefined ? "lo" : namespace.get(options.iif).own.name;
  const rules = namespace.rules
    .filter(
      (rule) => rule.family === dst.family && ruleMatches(rule, { dst, src, iif, mark: options.mark ?? 0 }),
    )
    .toSorted((a, b) => a.priority - b.priority);
  for (const rule of rules) {
    if (rule.action !== "table") {
      if (Object.hasOwn(answers, rule.action)) refuse(answers[rule.action as keyof typeof answers]);
      continue;
    }
    const route = longest(namespace, dst, rule.table ?? 0, (one) => oif === undefined || one.oif === oif);
    if (route === undefined || route.type === "throw") continue;
    if (rule.suppressPrefixLength !== undefined && route.dst.length <= rule.suppressPrefixLength) continue;
    if (Object.hasOwn(answers, route.type)) refuse(answers[route.type as keyof typeof answers]);
    return options.fibMatch ? { ...route } : resolved(namespace, route, dst, src);
  }
  refuse("ENETUNREACH");
}

interface Packet {
  dst: Ip;
  src: Ip | undefined;
  iif: string;
  mark: number;
}

function ruleMatches(rule: Rule, { dst, src, iif, mark }: Packet): boolean {
  const matches =
    (rule.dst === undefined || rule.dst.contains(dst)) &&
    (rule.src === undefined || (src !== undefined && rule.src.contains(src))) &&
    (rule.iif === undefined || rule.iif === iif) &&
    (rule.mark === undefined || ((mark ^ rule.mark) & (rule.mask ?? 0xffffffff)) === 0);
  return matches !== (rule.invert === true);
}

function resolved(namespace: FakeNamespace, route: Route, dst: Ip, src: Ip | undefined): Route {
  const hop: { gateway?: Ip; oif?: number } = route.nextHops?.[0] ?? route;
  const { family } = dst;
  const chosen =
    src ?? route.src ?? sourceOf(namespace, hop.oif, hop.gateway?.family === family ? hop.gateway : dst);
  return {
    type: route.type,
    dst: Prefix.host(dst),
    table: route.table,
    protocol: family === 4 ? 0 : route.protocol,
    scope: "global",
    flags: [],
    ...(hop.gateway !== undefined && { gateway: hop.gateway }),
    ...(hop.oif !== undefined && { oif: hop.oif }),
    ...(chosen !== undefined && { src: chosen }),
  };
}

/** The address of the link that is nearest to where the packet goes. */
function sourceOf(namespace: FakeNamespace, oif: number | undefined, towards: Ip): Ip | undefined {
  const own = namespace.addresses.filter((one) => one.link === oif && one.address.family === towards.family);
  return (own.find((one) => one.address.contains(towards)) ?? own.find((one) => one.scope === "global"))
    ?.address.ip;
}
