import type { Ip } from "../../lib/ip.ts";
import type { Prefix } from "../../lib/prefix.ts";
import { schema, u32, type Value } from "../netlink/codec.ts";
import { Bits, Names } from "../netlink/types.ts";
import type { Scope } from "./address.ts";
import type { LinkRef } from "./link.ts";

/** The routing table in which routes are put where no other is named. */
export const RT_TABLE_MAIN = 254;
export const RT_TABLE_LOCAL = 255;
/** Weft's own route protocol number: routes that carry it are Weft's, all others are not. */
export const RTPROT_WEFT = 119;

export const routeTypes = new Names("route type", {
  unicast: 1,
  local: 2,
  broadcast: 3,
  anycast: 4,
  multicast: 5,
  blackhole: 6,
  unreachable: 7,
  prohibit: 8,
  throw: 9,
});
/** rtm_type (RTN_*). */
export type RouteType =
  | "unicast"
  | "local"
  | "broadcast"
  | "anycast"
  | "multicast"
  | "blackhole"
  | "unreachable"
  | "prohibit"
  | "throw"
  | number;

const protocolNumbers = {
  redirect: 1,
  kernel: 2,
  boot: 3,
  static: 4,
  ra: 9,
  zebra: 11,
  bird: 12,
  dhcp: 16,
  keepalived: 18,
  babel: 42,
  weft: RTPROT_WEFT,
  bgp: 186,
  isis: 187,
  ospf: 188,
  rip: 189,
  eigrp: 192,
};
/** rtm_protocol (RTPROT_*): who made the route. */
export const routeProtocol = new Names("route protocol", protocolNumbers);
export type RouteProtocol = keyof typeof protocolNumbers | number;

export const preference = new Names("route preference", { medium: 0, high: 1, low: 3 });

export const hopFlagBits = {
  dead: 1,
  pervasive: 2,
  onlink: 4,
  offload: 8,
  linkdown: 16,
  unresolved: 32,
  trap: 64,
};
/** rtnh_flags (RTNH_F_*). */
export type NextHopFlag = keyof typeof hopFlagBits;
export const hopFlags = new Bits("next hop flag", hopFlagBits);

/** RTAX_*: what is known of the path. Times are in milliseconds. */
export const metrics = schema({
  /** Bit mask of the metrics that the kernel must not change (1 << RTAX_*). */
  lock: [1 /* RTAX_LOCK */, u32],
  mtu: [2 /* RTAX_MTU */, u32],
  window: [3 /* RTAX_WINDOW */, u32],
  rtt: [4 /* RTAX_RTT */, u32],
  rttVariance: [5 /* RTAX_RTTVAR */, u32],
  ssthresh: [6 /* RTAX_SSTHRESH */, u32],
  cwnd: [7 /* RTAX_CWND */, u32],
  advmss: [8 /* RTAX_ADVMSS */, u32],
  reordering: [9 /* RTAX_REORDERING */, u32],
  hopLimit: [10 /* RTAX_HOPLIMIT */, u32],
  initcwnd: [11 /* RTAX_INITCWND */, u32],
  features: [12 /* RTAX_FEATURES */, u32],
  rtoMin: [13 /* RTAX_RTO_MIN */, u32],
  initrwnd: [14 /* RTAX_INITRWND */, u32],
  quickAck: [15 /* RTAX_QUICKACK */, u32],
});
export type RouteMetrics = Value<typeof metrics>;

/** One of the ways of a multipath route. */
export interface NextHop {
  gateway?: Ip;
  /** Index of the link. */
  oif?: number;
  /** Its share, 1 to 256. */
  weight: number;
  flags: NextHopFlag[];
}

/** A route as the kernel lists it. */
export interface Route {
  type: RouteType;
  dst: Prefix;
  /** Of the same family as `dst`, or of the other (RTA_VIA). */
  gateway?: Ip;
  /** Index of the link by which packets leave. */
  oif?: number;
  table: number;
  protocol: RouteProtocol;
  scope: Scope;
  /** The source address that packets get by preference (RTA_PREFSRC). */
  src?: Ip;
  /** The lower wins. The kernel's own default is 0 for IPv4 and 1024 for IPv6. */
  priority?: number;
  /** Only for packets from there (RTA_SRC, IPv6). */
  from?: Prefix;
  tos?: number;
  flags: NextHopFlag[];
  metrics?: RouteMetrics;
  nextHops?: NextHop[];
  nextHopId?: number;
  preference?: "low" | "medium" | "high" | number;
  /** Seconds until it goes (IPv6). */
  expires?: number;
  /** The input link, in the answer to a lookup. */
  iif?: number;
}

/** A next hop to be used. */
export interface NewNextHop {
  gateway?: Ip | string;
  oif?: LinkRef;
  /** 1 to 256; 1 where not given. */
  weight?: number;
  onlink?: boolean;
}

/** A route to be added, replaced or deleted. */
export interface NewRoute {
  /** "10.244.1.0/24"; for the default route "0.0.0.0/0" or "::/0". */
  dst: Prefix | string;
  type?: RouteType;
  gateway?: Ip | string;
  oif?: LinkRef;
  /** RT_TABLE_MAIN where not given; may exceed 255. */
  table?: number;
  /** "boot" where not given, as with `ip route`. */
  protocol?: RouteProtocol;
  /** By default "link" for an IPv4 route without gateway, "host" for local ones, else "global". */
  scope?: Scope;
  src?: Ip | string;
  priority?: number;
  from?: Prefix | string;
  tos?: number;
  /** The gateway is on the link even though no prefix of the link covers it. */
  onlink?: boolean;
  metrics?: RouteMetrics;
  nextHops?: readonly NewNextHop[];
  nextHopId?: number;
  preference?: "low" | "medium" | "high" | number;
  /** Seconds (IPv6). */
  expires?: number;
}

/** What to list; the kernel does most of the filtering. */
export interface RouteFilter {
  family?: 4 | 6;
  /** RT_TABLE_MAIN where not given; "all" for every table. */
  table?: number | "all";
  protocol?: RouteProtocol;
  type?: RouteType;
  oif?: LinkRef;
  /** Only routes to exactly this prefix. */
  dst?: Prefix | string;
}

/** What a route lookup depends on, besides the destination. */
export interface LookupOptions {
  src?: Ip | string;
  /** As if the packet came in there. */
  iif?: LinkRef;
  oif?: LinkRef;
  mark?: number;
  tos?: number;
  uid?: number;
  /** Answer with the matching entry of the table instead of the resolved route (RTM_F_FIB_MATCH). */
  fibMatch?: boolean;
}
