import type { Ip } from "../../lib/ip.ts";
import { Prefix } from "../../lib/prefix.ts";
import {
  ip,
  MalformedMessage,
  schema,
  type Type,
  u8,
  u32,
  type Value,
  type Writer,
} from "../netlink/codec.ts";
import { fixed, struct } from "../netlink/types.ts";
import { AF_INET, AF_INET6, type Scope, scope, toIp, toPrefix } from "./address.ts";
import type { Body, Resolver } from "./resolver.ts";
import {
  hopFlagBits,
  hopFlags,
  type LookupOptions,
  metrics,
  type NewRoute,
  type NextHop,
  preference,
  type Route,
  type RouteFilter,
  RT_TABLE_MAIN,
  routeProtocol,
  routeTypes,
} from "./route.ts";

export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
export const RTM_GETROUTE = 26;

const rtmsg = struct("rtmsg", {
  family: fixed.u8,
  dstLength: fixed.u8,
  srcLength: fixed.u8,
  tos: fixed.u8,
  table: fixed.u8,
  protocol: fixed.u8,
  scope: fixed.u8,
  type: fixed.u8,
  flags: fixed.u32,
});

/** struct rtvia: a next hop of another family than the destination. */
const via: Type<Ip> = {
  write: (writer, value) => {
    writer.u16(value.family === 4 ? AF_INET : AF_INET6);
    writer.raw(value.bytes);
  },
  read: (bytes) => ip.read(bytes.subarray(2)),
};

const cacheInfo = struct("rta_cacheinfo", {
  clientReferences: fixed.u32,
  lastUse: fixed.u32,
  expires: fixed.s32,
  error: fixed.u32,
  used: fixed.u32,
});

const hopAttributes = schema({
  gateway: [5 /* RTA_GATEWAY */, ip],
  via: [18 /* RTA_VIA */, via],
});

interface RawHop extends Value<typeof hopAttributes> {
  index: number;
  flags: number;
  weight: number;
}

const rtnexthop = struct("rtnexthop", {
  length: fixed.u16,
  flags: fixed.u8,
  hops: fixed.u8,
  index: fixed.s32,
});

/** RTA_MULTIPATH: struct rtnexthop one after the other, each with attributes. */
const multipath: Type<RawHop[]> = {
  write: (writer, hops) => {
    for (const { index, flags, weight, ...rest } of hops) {
      const start = writer.length;
      rtnexthop.put(writer, { index, flags, hops: weight - 1 });
      hopAttributes.write(writer, rest);
      writer.patchU16(start, writer.length - start);
    }
  },
  read: (bytes) => {
    const hops: RawHop[] = [];
    for (let at = 0; at + rtnexthop.size <= bytes.length; ) {
      const head = rtnexthop.read(bytes.subarray(at));
      if (head.length < rtnexthop.size || at + head.length > bytes.length) {
        throw new MalformedMessage(
          `a next hop says ${head.length} bytes where ${bytes.length - at} are left`,
        );
      }
      const rest = hopAttributes.readFrom(bytes.subarray(at, at + head.length), rtnexthop.size);
      hops.push({ index: head.index, flags: head.flags, weight: head.hops + 1, ...rest });
      at += (head.length + 3) & ~3;
    }
    return hops;
  },
};

const attributes = schema({
  dst: [1 /* RTA_DST */, ip],
  from: [2 /* RTA_SRC */, ip],
  iif: [3 /* RTA_IIF */, u32],
  oif: [4 /* RTA_OIF */, u32],
  gateway: [5 /* RTA_GATEWAY */, ip],
  priority: [6 /* RTA_PRIORITY */, u32],
  src: [7 /* RTA_PREFSRC */, ip],
  metrics: [8 /* RTA_METRICS */, metrics],
  multipath: [9 /* RTA_MULTIPATH */, multipath],
  cacheInfo: [12 /* RTA_CACHEINFO */, cacheInfo],
  table: [15 /* RTA_TABLE */, u32],
  mark: [16 /* RTA_MARK */, u32],
  via: [18 /* RTA_VIA */, via],
  preference: [20 /* RTA_PREF */, preference.as(u8)],
  expires: [23 /* RTA_EXPIRES */, u32],
  uid: [25 /* RTA_UID */, u32],
  nextHopId: [30 /* RTA_NH_ID */, u32],
});

function gatewayOf(gateway: Ip | string | undefined, family: number): { gateway?: Ip; via?: Ip } {
  if (gateway === undefined) return {};
  const address = toIp(gateway, "gateway");
  return address.family === family ? { gateway: address } : { via: address };
}

function defaultScope(route: NewRoute, type: number, family: number): Scope {
  if (family === 6) return "global";
  if (type === 2) return "host";
  const direct = route.gateway === undefined && route.nextHops === undefined && route.nextHopId === undefined;
  return (type === 1 && direct) || type === 3 || type === 4 || type === 5 ? "link" : "global";
}

/** The body of RTM_NEWROUTE or RTM_DELROUTE. A deletion leaves open what the caller did not name. */
export function routeBody(route: NewRoute, resolver: Resolver, deletion = false): Body {
  const dst = toPrefix(route.dst, "dst");
  const from = route.from === undefined ? undefined : toPrefix(route.from, "from");
  const table = route.table ?? RT_TABLE_MAIN;
  const type = routeTypes.number(route.type ?? (deletion ? 0 : "unicast"));
  const anyScope: Scope = deletion ? "nowhere" : defaultScope(route, type, dst.family);
  const header = {
    family: dst.family === 4 ? AF_INET : AF_INET6,
    dstLength: dst.length,
    srcLength: from?.length,
    tos: route.tos,
    table: table > 255 ? 0 : table,
    protocol: routeProtocol.number(route.protocol ?? (deletion ? 0 : "boot")),
    scope: scope.number(route.scope ?? anyScope),
    type,
    flags: route.onlink ? hopFlagBits.onlink : 0,
  };
  const value: Value<typeof attributes> = gatewayOf(route.gateway, dst.family);
  if (dst.length > 0) value.dst = dst.ip;
  if (from !== undefined) value.from = from.ip;
  if (route.oif !== undefined) value.oif = resolver.index(route.oif);
  if (route.priority !== undefined) value.priority = route.priority;
  if (route.src !== undefined) value.src = toIp(route.src, "src");
  if (route.metrics !== undefined) value.metrics = route.metrics;
  if (table > 255) value.table = table;
  if (route.preference !== undefined) value.preference = route.preference;
  if (route.expires !== undefined) value.expires = route.expires;
  if (route.nextHopId !== undefined) value.nextHopId = route.nextHopId;
  if (route.nextHops !== undefined) {
    value.multipath = route.nextHops.map((hop) => ({
      ...gatewayOf(hop.gateway, dst.family),
      index: hop.oif === undefined ? 0 : resolver.index(hop.oif),
      flags: hop.onlink ? hopFlagBits.onlink : 0,
      weight: hop.weight ?? 1,
    }));
  }
  return (writer) => {
    rtmsg.put(writer, header);
    attributes.write(writer, value);
  };
}

/** The body of a dump request of one family. */
export function writeRouteDump(writer: Writer, family: 4 | 6, filter: RouteFilter, oif?: number): void {
  const table = filter.table === "all" ? 0 : (filter.table ?? RT_TABLE_MAIN);
  rtmsg.put(writer, {
    family: family === 4 ? AF_INET : AF_INET6,
    protocol: filter.protocol === undefined ? 0 : routeProtocol.number(filter.protocol),
    type: filter.type === undefined ? 0 : routeTypes.number(filter.type),
  });
  attributes.write(writer, { ...(table !== 0 && { table }), ...(oif !== undefined && { oif }) });
}

const RTM_F_LOOKUP_TABLE = 0x1000;
const RTM_F_FIB_MATCH = 0x2000;

/** The body of RTM_GETROUTE that asks which way a packet would go. */
export function lookupBody(dst: Ip, options: LookupOptions, resolver: Resolver): Body {
  const { src, iif, oif, mark, tos, uid } = options;
  const from = src === undefined ? undefined : toIp(src, "src");
  const header = {
    family: dst.family === 4 ? AF_INET : AF_INET6,
    dstLength: dst.bits,
    srcLength: from?.bits,
    tos,
    // IPv6 tells the table anyway, and refuses the flag.
    flags: (dst.family === 4 ? RTM_F_LOOKUP_TABLE : 0) | (options.fibMatch ? RTM_F_FIB_MATCH : 0),
  };
  const value: Value<typeof attributes> = { dst };
  if (from !== undefined) value.from = from;
  if (iif !== undefined) value.iif = resolver.index(iif);
  if (oif !== undefined) value.oif = resolver.index(oif);
  if (mark !== undefined) value.mark = mark;
  if (uid !== undefined) value.uid = uid;
  return (writer) => {
    rtmsg.put(writer, header);
    attributes.write(writer, value);
  };
}

function prefixOf(address: Ip | undefined, length: number, family: 4 | 6): Prefix {
  if (address === undefined && length === 0) return Prefix.default(family);
  if (address === undefined || address.family !== family || length > address.bits) {
    throw new MalformedMessage(`a route to ${address ?? "nothing"} with a prefix length of ${length}`);
  }
  return new Prefix(address, length);
}

/** The route in an RTM_NEWROUTE or RTM_DELROUTE message. Throws {@link MalformedMessage}. */
export function readRoute(payload: Uint8Array): Route {
  const header = rtmsg.read(payload);
  if (header.family !== AF_INET && header.family !== AF_INET6) {
    throw new MalformedMessage(`a route of address family ${header.family}`);
  }
  const family = header.family === AF_INET ? 4 : 6;
  const found = attributes.readFrom(payload, rtmsg.size);
  const route: Route = {
    type: routeTypes.name(header.type),
    dst: prefixOf(found.dst, header.dstLength, family),
    table: found.table ?? header.table,
    protocol: routeProtocol.name(header.protocol),
    scope: scope.name(header.scope),
    flags: hopFlags.names(header.flags),
  };
  const gateway = found.gateway ?? found.via;
  if (gateway !== undefined) route.gateway = gateway;
  if (found.oif !== undefined) route.oif = found.oif;
  if (found.iif !== undefined) route.iif = found.iif;
  if (found.src !== undefined) route.src = found.src;
  if (found.priority !== undefined) route.priority = found.priority;
  if (header.srcLength > 0) route.from = prefixOf(found.from, header.srcLength, family);
  if (header.tos !== 0) route.tos = header.tos;
  if (found.metrics !== undefined) route.metrics = found.metrics;
  if (found.nextHopId !== undefined) route.nextHopId = found.nextHopId;
  if (found.preference !== undefined) route.preference = found.preference;
  const expires = found.cacheInfo?.expires ?? 0;
  if (expires > 0) route.expires = Math.ceil(expires / USER_HZ);
  if (found.multipath !== undefined) route.nextHops = found.multipath.map(nextHopOf);
  return route;
}

/** Clock ticks a second, as the kernel counts them towards programs. */
const USER_HZ = 100;

function nextHopOf(raw: RawHop): NextHop {
  const hop: NextHop = { weight: raw.weight, flags: hopFlags.names(raw.flags) };
  const gateway = raw.gateway ?? raw.via;
  if (gateway !== undefined) hop.gateway = gateway;
  if (raw.index !== 0) hop.oif = raw.index;
  return hop;
}
