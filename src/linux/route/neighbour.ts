import type { Ip } from "../../lib/ip.ts";
import {
  ip,
  MalformedMessage,
  schema,
  u8,
  u16,
  u16be,
  u32,
  type Value,
  type Writer,
} from "../netlink/codec.ts";
import { Bits, fixed, mac, Names, struct } from "../netlink/types.ts";
import { AF_INET, AF_INET6, toIp } from "./address.ts";
import type { LinkRef } from "./link.ts";
import type { Body, Resolver } from "./resolver.ts";
import { type RouteProtocol, routeProtocol } from "./route.ts";

export const RTM_NEWNEIGH = 28;
export const RTM_DELNEIGH = 29;
export const RTM_GETNEIGH = 30;
export const AF_BRIDGE = 7;

const stateNumbers = {
  none: 0,
  incomplete: 0x01,
  reachable: 0x02,
  stale: 0x04,
  delay: 0x08,
  probe: 0x10,
  failed: 0x20,
  noarp: 0x40,
  permanent: 0x80,
};
/** ndm_state (NUD_*). */
export type NeighbourState = keyof typeof stateNumbers | number;
const states = new Names("neighbour state", stateNumbers);

const flagBits = {
  use: 0x01,
  self: 0x02,
  master: 0x04,
  proxy: 0x08,
  extern_learn: 0x10,
  offloaded: 0x20,
  sticky: 0x40,
  router: 0x80,
};
/** ndm_flags (NTF_*). */
export type NeighbourFlag = keyof typeof flagBits;
const flags = new Bits("neighbour flag", flagBits);

const ndmsg = struct("ndmsg", {
  family: fixed.u8,
  pad1: fixed.u8,
  pad2: fixed.u16,
  index: fixed.s32,
  state: fixed.u16,
  flags: fixed.u8,
  type: fixed.u8,
});

const attributes = schema({
  dst: [1 /* NDA_DST */, ip],
  mac: [2 /* NDA_LLADDR */, mac],
  vlan: [5 /* NDA_VLAN */, u16],
  port: [6 /* NDA_PORT */, u16be],
  vni: [7 /* NDA_VNI */, u32],
  via: [8 /* NDA_IFINDEX */, u32],
  master: [9 /* NDA_MASTER */, u32],
  protocol: [12 /* NDA_PROTOCOL */, routeProtocol.as(u8)],
});

/** An entry of the ARP or neighbour discovery table. */
export interface Neighbour {
  /** Index of the link. */
  link: number;
  ip: Ip;
  mac?: string;
  state: NeighbourState;
  flags: NeighbourFlag[];
  protocol?: RouteProtocol;
}

/** A neighbour to be added, replaced or deleted. */
export interface NewNeighbour {
  link: LinkRef;
  ip: Ip | string;
  mac?: string;
  /** "permanent" where not given. */
  state?: NeighbourState;
  /** "proxy" answers for the address; then there is no `mac`. */
  flags?: readonly NeighbourFlag[];
  protocol?: RouteProtocol;
}

/** An entry of a bridge's or VXLAN's forwarding database. */
export interface FdbEntry {
  /** Index of the bridge's port, or of the VXLAN link. */
  link: number;
  mac: string;
  state: NeighbourState;
  /** "self": of the link itself; "master": of the bridge to which it belongs. */
  flags: NeighbourFlag[];
  vlan?: number;
  /** Index of the bridge. */
  master?: number;
  /** VXLAN: the remote end. */
  dst?: Ip;
  port?: number;
  vni?: number;
  /** VXLAN: index of the link towards the remote end. */
  via?: number;
}

/** A forwarding entry to be added, appended, replaced or deleted. */
export interface NewFdbEntry {
  link: LinkRef;
  mac: string;
  /** "permanent" where not given; "noarp" for static, "reachable" for entries that may age. */
  state?: NeighbourState;
  /** ["self"] where not given, as with `bridge fdb`; ["master"] for the bridge of a port. */
  flags?: readonly NeighbourFlag[];
  vlan?: number;
  dst?: Ip | string;
  port?: number;
  vni?: number;
  via?: LinkRef;
}

/** The body of RTM_NEWNEIGH or RTM_DELNEIGH for an IP neighbour. */
export function neighbourBody(neighbour: NewNeighbour, resolver: Resolver): Body {
  const dst = toIp(neighbour.ip, "ip");
  const header = {
    family: dst.family === 4 ? AF_INET : AF_INET6,
    index: resolver.index(neighbour.link),
    state: states.number(neighbour.state ?? "permanent"),
    flags: flags.mask(neighbour.flags ?? []),
  };
  const value: Value<typeof attributes> = { dst };
  if (neighbour.mac !== undefined) value.mac = neighbour.mac;
  if (neighbour.protocol !== undefined) value.protocol = neighbour.protocol;
  return (writer) => {
    ndmsg.put(writer, header);
    attributes.write(writer, value);
  };
}

/** The body of RTM_NEWNEIGH or RTM_DELNEIGH for a forwarding entry. */
export function fdbEntryBody(entry: NewFdbEntry, resolver: Resolver): Body {
  const { link, state, flags: names, dst, via, ...rest } = entry;
  const header = {
    family: AF_BRIDGE,
    index: resolver.index(link),
    state: states.number(state ?? "permanent"),
    flags: flags.mask(names ?? ["self"]),
  };
  const value: Value<typeof attributes> = rest;
  if (dst !== undefined) value.dst = toIp(dst, "dst");
  if (via !== undefined) value.via = resolver.index(via);
  return (writer) => {
    ndmsg.put(writer, header);
    attributes.write(writer, value);
  };
}

/** The body of a dump request; the kernel filters by link or by master. */
export function writeNeighbourDump(
  writer: Writer,
  family: number,
  filter: { index?: number; master?: number; proxy?: boolean },
): void {
  // A forwarding database names its port in the header, an address table in an attribute (strict checking).
  const bridge = family === AF_BRIDGE;
  ndmsg.put(writer, {
    family,
    index: bridge ? filter.index : 0,
    flags: filter.proxy ? flagBits.proxy : 0,
  });
  attributes.write(writer, {
    ...(!bridge && filter.index !== undefined && { via: filter.index }),
    ...(filter.master !== undefined && { master: filter.master }),
  });
}

/** The address family of an RTM_NEWNEIGH or RTM_DELNEIGH message: AF_BRIDGE means a forwarding entry. */
export function neighbourFamily(payload: Uint8Array): number {
  return ndmsg.read(payload).family;
}

/** The IP neighbour in an RTM_NEWNEIGH or RTM_DELNEIGH message. Throws {@link MalformedMessage}. */
export function readNeighbour(payload: Uint8Array): Neighbour {
  const header = ndmsg.read(payload);
  const found = attributes.readFrom(payload, ndmsg.size);
  if (found.dst === undefined) throw new MalformedMessage("a neighbour message without an address");
  const neighbour: Neighbour = {
    link: header.index,
    ip: found.dst,
    state: states.name(header.state),
    flags: flags.names(header.flags),
  };
  if (found.mac !== undefined) neighbour.mac = found.mac;
  if (found.protocol !== undefined && found.protocol !== 0) neighbour.protocol = found.protocol;
  return neighbour;
}

/** The forwarding entry in an RTM_NEWNEIGH or RTM_DELNEIGH message. Throws {@link MalformedMessage}. */
export function readFdbEntry(payload: Uint8Array): FdbEntry {
  const header = ndmsg.read(payload);
  const { mac: address, protocol: _, ...found } = attributes.readFrom(payload, ndmsg.size);
  if (address === undefined) throw new MalformedMessage("a forwarding entry without a MAC address");
  return {
    ...found,
    link: header.index,
    mac: address,
    // VXLAN entries of iproute2 are both permanent and noarp.
    state: (header.state & stateNumbers.permanent) !== 0 ? "permanent" : states.name(header.state),
    flags: flags.names(header.flags),
  };
}
