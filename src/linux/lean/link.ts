import { formatMac } from "../../lib/mac.ts";
import type { LeanSocket } from "./socket.ts";

export const IFF_UP = 0x1;
export const IFF_PROMISC = 0x100;
export const IFF_ALLMULTI = 0x200;
export const IFLA_ADDRESS = 1;
export const IFLA_IFNAME = 3;
export const IFLA_MTU = 4;
export const IFLA_MASTER = 10;
export const IFLA_TXQLEN = 13;
export const IFLA_LINKINFO = 18;
export const IFLA_IFALIAS = 20;
export const IFLA_GROUP = 27;
export const IFLA_INFO_KIND = 1;
const IFLA_LINK = 5;
const IFLA_OPERSTATE = 16;
const IF_OPER_UP = 6;
export const IFLA_AF_SPEC = 26;
const AF_INET6 = 10;
const IFLA_INET6_CONF = 2;
/** linux/ipv6.h: the place of the parameter in {@link IFLA_INET6_CONF}. */
const DEVCONF_ACCEPT_RA = 3;
/** sizeof struct nlmsghdr and ifinfomsg. */
const HEADER = 16;
const IFINFOMSG = 16;

const noBytes = new Uint8Array(0);

/** What plugins want to know of a link. */
export interface LeanLink {
  index: number;
  name: string;
  kind: string | undefined;
  /** A note that somebody attached; "" where there is none. */
  alias: string;
  group: number;
  /** "" where it has none. */
  mac: string;
  macBytes: Uint8Array;
  mtu: number;
  up: boolean;
  promiscuous: boolean;
  allMulticast: boolean;
  /** Packets that wait to be sent, at most. */
  txQueueLength: number;
  /** Operational: for a bridge port, forwarding. */
  operational: boolean;
  master: number | undefined;
  /** The other end of a veth. */
  parent: number | undefined;
  /** Its sysctl accept_ra is 0; also where the kernel has no IPv6 for it. */
  refusesRouterAdvertisements: boolean;
}

/** The link in the answer that ends at an offset, in one pass: a link has some forty attributes. */
export function readLink(socket: LeanSocket, end: number): LeanLink {
  const { bytes } = socket;
  const flags = socket.u32At(HEADER + 8);
  const link: LeanLink = {
    index: socket.u32At(HEADER + 4),
    name: "",
    kind: undefined,
    alias: "",
    group: 0,
    mac: "",
    macBytes: noBytes,
    mtu: 0,
    up: (flags & IFF_UP) !== 0,
    promiscuous: (flags & IFF_PROMISC) !== 0,
    allMulticast: (flags & IFF_ALLMULTI) !== 0,
    txQueueLength: 0,
    operational: false,
    master: undefined,
    parent: undefined,
    refusesRouterAdvertisements: true,
  };
  let next: number;
  for (let at = HEADER + IFINFOMSG; at + 4 <= end; at = next) {
    next = socket.nextAfter(at);
    const payload = at + 4;
    switch (socket.typeAt(at)) {
      case IFLA_IFNAME:
        link.name = socket.textAt(payload);
        break;
      case IFLA_ADDRESS:
        link.macBytes = bytes.slice(payload, payload + socket.sizeAt(payload));
        link.mac = formatMac(link.macBytes);
        break;
      case IFLA_MTU:
        link.mtu = socket.u32At(payload);
        break;
      case IFLA_TXQLEN:
        link.txQueueLength = socket.u32At(payload);
        break;
      case IFLA_IFALIAS:
        link.alias = socket.textAt(payload);
        break;
      case IFLA_GROUP:
        link.group = socket.u32At(payload);
        break;
      case IFLA_MASTER:
        link.master = socket.u32At(payload);
        break;
      case IFLA_LINK:
        link.parent = socket.u32At(payload);
        break;
      case IFLA_OPERSTATE:
        link.operational = bytes[payload] === IF_OPER_UP;
        break;
      case IFLA_LINKINFO: {
        const kind = socket.find(IFLA_INFO_KIND, payload, payload + socket.sizeAt(payload));
        if (kind !== undefined) link.kind = socket.textAt(kind);
        break;
      }
      case IFLA_AF_SPEC:
        link.refusesRouterAdvertisements = acceptRa(socket, payload) === 0;
    }
  }
  return link;
}

function acceptRa(socket: LeanSocket, spec: number): number {
  const inet6 = socket.find(AF_INET6, spec, spec + socket.sizeAt(spec));
  if (inet6 === undefined) return 0;
  const conf = socket.find(IFLA_INET6_CONF, inet6, inet6 + socket.sizeAt(inet6));
  return conf === undefined ? 0 : socket.u32At(conf + 4 * DEVCONF_ACCEPT_RA);
}
