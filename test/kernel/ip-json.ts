/** Ours in the words of `ip -json`, as far as both say it. */
import type { Prefix } from "../../src/lib/prefix.ts";
import type { Address } from "../../src/linux/route/address.ts";
import type { Link } from "../../src/linux/route/link.ts";
import type { FdbEntry, Neighbour } from "../../src/linux/route/neighbour.ts";
import type { NextHop, Route } from "../../src/linux/route/route.ts";
import type { Rule } from "../../src/linux/route/rule.ts";

export type Json = Record<string, unknown>;
/** The name of a link by its index. */
export type NameOf = (index: number) => string;

/** Without what is undefined. */
const given = (object: Json): Json =>
  Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined));
/** Host prefixes without their length, and "default" for everything. */
function prefixText({ ip, length }: Prefix): string {
  if (length === 0) return "default";
  return length === ip.bits ? String(ip) : `${ip}/${length}`;
}
const tableNames: Record<number, string | undefined> = { 254: undefined, 255: "local" };
const forever = 4294967295;
const seconds = (value: number) => (value === Number.POSITIVE_INFINITY ? forever : value);

const linkFlags = (link: Link) =>
  given({
    UP: link.up || undefined,
    LOWER_UP: link.lowerUp || undefined,
    LOOPBACK: link.loopback || undefined,
    POINTOPOINT: link.pointToPoint || undefined,
    PROMISC: link.promiscuous || undefined,
    ALLMULTI: link.allMulticast || undefined,
    MULTICAST: link.multicast || undefined,
    NOARP: !link.arp || undefined,
  });

export function linkJson(link: Link, nameOf: NameOf): Json {
  return given({
    ifindex: link.index,
    ifname: link.name,
    flags: Object.keys(linkFlags(link)).sort(),
    mtu: link.mtu,
    min_mtu: link.minMtu,
    max_mtu: link.maxMtu,
    qdisc: link.qdisc,
    master: link.master === undefined ? undefined : nameOf(link.master),
    link: link.parent === undefined ? undefined : nameOf(link.parent),
    operstate: String(link.operState).toUpperCase(),
    group: link.group === 0 ? "default" : String(link.group),
    txqlen: link.txQueueLength,
    address: link.mac,
    broadcast: link.broadcast,
    promiscuity: link.promiscuity,
    kind: link.kind,
    inet6_addr_gen_mode: link.addrGenMode,
    num_tx_queues: link.numTxQueues,
    num_rx_queues: link.numRxQueues,
    gso_max_size: link.gsoMaxSize,
    gso_max_segs: link.gsoMaxSegs,
    gro_max_size: link.groMaxSize,
    ifalias: link.alias,
    altnames: link.altNames.length === 0 ? undefined : link.altNames,
  });
}

/** What `ip -d -json link` says, cut to what {@link linkJson} says. */
export function cutLink(link: Json): Json {
  const flags = new Set([
    "UP",
    "LOWER_UP",
    "LOOPBACK",
    "POINTOPOINT",
    "PROMISC",
    "ALLMULTI",
    "MULTICAST",
    "NOARP",
  ]);
  const known =
    "ifindex ifname mtu min_mtu max_mtu qdisc master link operstate group txqlen address broadcast promiscuity " +
    "inet6_addr_gen_mode num_tx_queues num_rx_queues gso_max_size gso_max_segs gro_max_size ifalias altnames";
  const cut = Object.fromEntries(known.split(" ").map((key) => [key, link[key]]));
  return given({
    ...cut,
    kind: (link.linkinfo as Json | undefined)?.info_kind,
    flags: (link.flags as string[]).filter((flag) => flags.has(flag)).sort(),
  });
}

export function addressJson(address: Address): Json {
  const has = (flag: Address["flags"][number]) => address.flags.includes(flag) || undefined;
  const own = String(address.address.ip);
  return given({
    family: address.address.family === 4 ? "inet" : "inet6",
    local: own,
    address: address.peer === undefined ? undefined : String(address.peer),
    prefixlen: address.address.length,
    broadcast: address.broadcast === undefined ? undefined : String(address.broadcast),
    scope: String(address.scope),
    secondary: address.address.family === 4 ? has("secondary") : undefined,
    nodad: has("nodad"),
    noprefixroute: has("noprefixroute"),
    tentative: has("tentative"),
    dynamic: has("permanent") === undefined ? true : undefined,
    label: address.label,
    valid_life_time: seconds(address.validLifetime),
    preferred_life_time: seconds(address.preferredLifetime),
  });
}

function hopJson(hop: Pick<NextHop, "gateway" | "oif" | "flags">, family: 4 | 6, nameOf: NameOf): Json {
  const { gateway } = hop;
  const other = gateway !== undefined && gateway.family !== family;
  return given({
    gateway: gateway === undefined || other ? undefined : String(gateway),
    via: other ? { family: gateway.family === 4 ? "inet" : "inet6", host: String(gateway) } : undefined,
    dev: hop.oif === undefined ? undefined : nameOf(hop.oif),
    flags: hop.flags,
  });
}

export function routeJson(route: Route, nameOf: NameOf): Json {
  const { family } = route.dst;
  const hops = route.nextHops?.map((hop: NextHop) => ({
    ...hopJson(hop, family, nameOf),
    weight: hop.weight,
  }));
  return given({
    ...hopJson(route, family, nameOf),
    type: route.type === "unicast" ? undefined : route.type,
    dst: prefixText(route.dst),
    table: route.table in tableNames ? tableNames[route.table] : String(route.table),
    protocol:
      route.protocol === "boot" ? undefined : route.protocol === "weft" ? "119" : String(route.protocol),
    scope: route.scope === "global" ? undefined : route.scope,
    prefsrc: route.src === undefined ? undefined : String(route.src),
    metric: route.priority,
    pref: route.preference,
    metrics: route.metrics === undefined ? undefined : [route.metrics],
    nexthops: hops,
  });
}

export function ruleJson(rule: Rule): Json {
  const tables: Record<number, string> = { 253: "default", 254: "main", 255: "local" };
  return given({
    priority: rule.priority,
    not: rule.invert ? null : undefined,
    src: rule.src === undefined ? "all" : String(rule.src.ip),
    srclen: rule.src?.length,
    dst: rule.dst === undefined ? undefined : String(rule.dst.ip),
    dstlen: rule.dst?.length,
    fwmark: rule.mark === undefined ? undefined : `0x${rule.mark.toString(16)}`,
    fwmask: rule.mask === undefined || rule.mask === forever ? undefined : `0x${rule.mask.toString(16)}`,
    iif: rule.iif,
    oif: rule.oif,
    ipproto: rule.ipProtocol === 6 ? "tcp" : rule.ipProtocol,
    dport_start: rule.destinationPorts?.start,
    dport_end: rule.destinationPorts?.end,
    table: rule.table === undefined ? undefined : (tables[rule.table] ?? String(rule.table)),
    suppress_prefixlen: rule.suppressPrefixLength,
    action: rule.action === "table" ? undefined : String(rule.action),
  });
}

export function neighbourJson(neighbour: Neighbour, nameOf: NameOf): Json {
  return given({
    dst: String(neighbour.ip),
    dev: nameOf(neighbour.link),
    lladdr: neighbour.mac,
    router: neighbour.flags.includes("router") ? null : undefined,
    state: [String(neighbour.state).toUpperCase()],
  });
}

export function fdbJson(entry: FdbEntry, nameOf: NameOf): Json {
  const states: Record<string, string> = { permanent: "permanent", noarp: "static", reachable: "" };
  return given({
    mac: entry.mac,
    ifname: nameOf(entry.link),
    dst: entry.dst === undefined ? undefined : String(entry.dst),
    flags: entry.flags,
    master: entry.master === undefined ? undefined : nameOf(entry.master),
    state: states[entry.state] ?? entry.state,
  });
}
