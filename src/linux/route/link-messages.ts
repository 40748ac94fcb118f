import { InvalidInput } from "../../lib/errors.ts";
import { binary, list, schema, type Type, text, u8, u32, type Value, type Writer } from "../netlink/codec.ts";
import { bool, fixed, mac, Names, struct } from "../netlink/types.ts";
import { bridgePort } from "./bridge.ts";
import type { LinkKind } from "./kinds.ts";
import {
  type Link,
  type LinkRef,
  type LinkSettings,
  type LinkStatistics,
  type NewLink,
  nameLimit,
} from "./link.ts";
import type { Body, Resolver } from "./resolver.ts";

export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;
export const RTM_SETLINK = 19;
export const RTM_NEWLINKPROP = 108;
export const RTM_DELLINKPROP = 109;

const AF_INET6 = 10;
const IFF_UP = 0x1;
const IFF_LOOPBACK = 0x8;
const IFF_POINTOPOINT = 0x10;
const IFF_RUNNING = 0x40;
const IFF_NOARP = 0x80;
const IFF_PROMISC = 0x100;
const IFF_ALLMULTI = 0x200;
const IFF_MULTICAST = 0x1000;
const IFF_LOWER_UP = 0x10000;
const operState = new Names("operational state", {
  unknown: 0,
  notpresent: 1,
  down: 2,
  lowerlayerdown: 3,
  testing: 4,
  dormant: 5,
  up: 6,
});
const addrGenMode = new Names("address generation mode", {
  eui64: 0,
  none: 1,
  "stable-privacy": 2,
  random: 3,
});

/** struct ifinfomsg */
export const ifinfomsg = struct("ifinfomsg", {
  family: fixed.u8,
  pad: fixed.u8,
  type: fixed.u16,
  index: fixed.s32,
  flags: fixed.u32,
  change: fixed.u32,
});

const linkInfo = schema({
  kind: [1 /* IFLA_INFO_KIND */, text],
  data: [2 /* IFLA_INFO_DATA */, binary],
  slaveKind: [4 /* IFLA_INFO_SLAVE_KIND */, text],
  slaveData: [5 /* IFLA_INFO_SLAVE_DATA */, binary],
});

const afSpec = schema({
  inet6: [AF_INET6, schema({ addrGenMode: [8 /* IFLA_INET6_ADDR_GEN_MODE */, addrGenMode.as(u8)] })],
});

/** The head of struct rtnl_link_stats64, which grows at its end. */
const stats64: Type<LinkStatistics> = {
  write: () => {},
  read: (bytes) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const at = (i: number) => (8 * i + 8 <= bytes.length ? Number(view.getBigUint64(8 * i, true)) : 0);
    return {
      rxPackets: at(0),
      txPackets: at(1),
      rxBytes: at(2),
      txBytes: at(3),
      rxErrors: at(4),
      txErrors: at(5),
      rxDropped: at(6),
      txDropped: at(7),
    };
  },
};

const attributes = schema({
  mac: [1 /* IFLA_ADDRESS */, mac],
  broadcast: [2 /* IFLA_BROADCAST */, mac],
  name: [3 /* IFLA_IFNAME */, text],
  mtu: [4 /* IFLA_MTU */, u32],
  parent: [5 /* IFLA_LINK */, u32],
  qdisc: [6 /* IFLA_QDISC */, text],
  master: [10 /* IFLA_MASTER */, u32],
  txQueueLength: [13 /* IFLA_TXQLEN */, u32],
  operState: [16 /* IFLA_OPERSTATE */, operState.as(u8)],
  info: [18 /* IFLA_LINKINFO */, linkInfo],
  netnsPid: [19 /* IFLA_NET_NS_PID */, u32],
  alias: [20 /* IFLA_IFALIAS */, text],
  afSpec: [26 /* IFLA_AF_SPEC */, afSpec],
  group: [27 /* IFLA_GROUP */, u32],
  netnsFd: [28 /* IFLA_NET_NS_FD */, u32],
  promiscuity: [30 /* IFLA_PROMISCUITY */, u32],
  numTxQueues: [31 /* IFLA_NUM_TX_QUEUES */, u32],
  numRxQueues: [32 /* IFLA_NUM_RX_QUEUES */, u32],
  carrier: [33 /* IFLA_CARRIER */, bool],
  parentNetnsId: [37 /* IFLA_LINK_NETNSID */, u32],
  gsoMaxSegs: [40 /* IFLA_GSO_MAX_SEGS */, u32],
  gsoMaxSize: [41 /* IFLA_GSO_MAX_SIZE */, u32],
  minMtu: [50 /* IFLA_MIN_MTU */, u32],
  maxMtu: [51 /* IFLA_MAX_MTU */, u32],
  altNames: [52 /* IFLA_PROP_LIST */, list(53 /* IFLA_ALT_IFNAME */, text)],
  altName: [53 /* IFLA_ALT_IFNAME */, text],
  permanentMac: [54 /* IFLA_PERM_ADDRESS */, mac],
  busDevice: [56 /* IFLA_PARENT_DEV_NAME */, text],
  groMaxSize: [58 /* IFLA_GRO_MAX_SIZE */, u32],
});

const statistics = schema({ counters: [23 /* IFLA_STATS64 */, stats64] });

const flagBits = {
  up: IFF_UP,
  promiscuous: IFF_PROMISC,
  allMulticast: IFF_ALLMULTI,
  multicast: IFF_MULTICAST,
} as const;

/** The header of a request about a link: which one, and which flags it shall have. */
function writeHeader(writer: Writer, index: number, settings: LinkSettings): void {
  let flags = 0;
  let change = 0;
  for (const [name, bit] of Object.entries(flagBits) as [keyof typeof flagBits, number][]) {
    const value = settings[name];
    if (value === undefined) continue;
    change |= bit;
    if (value) flags |= bit;
  }
  if (settings.arp !== undefined) {
    change |= IFF_NOARP;
    if (!settings.arp) flags |= IFF_NOARP;
  }
  ifinfomsg.put(writer, { index, flags, change });
}

type LinkAttributes = Value<typeof attributes>;

function attributesOf(settings: LinkSettings & Partial<NewLink>, resolver: Resolver): LinkAttributes {
  const { kind: _, peer: __, master, parent, netns, addrGenMode: mode, ...rest } = settings;
  const value = rest as LinkAttributes;
  if (master !== undefined) value.master = master === null ? 0 : resolver.index(master);
  if (parent !== undefined) value.parent = resolver.index(parent);
  if (netns !== undefined && "pid" in netns) value.netnsPid = netns.pid;
  else if (netns !== undefined) value.netnsFd = "fd" in netns ? netns.fd : resolver.netnsFd(netns);
  if (mode !== undefined) value.afSpec = { inet6: { addrGenMode: mode } };
  return value;
}

/** Writes a nested attribute around what `write` appends. */
function nest(writer: Writer, type: number, write: () => void): void {
  const at = writer.beginNested(type);
  write();
  writer.end(at);
}

const IFLA_LINKINFO = 18;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const IFLA_INFO_SLAVE_KIND = 4;
const IFLA_INFO_SLAVE_DATA = 5;

/** IFLA_LINKINFO: what belongs to the link's kind, and to the port that it is of a bridge. */
function infoBody(
  kindName: string | undefined,
  link: LinkSettings & Partial<NewLink>,
  resolver: Resolver,
): Body {
  const kind = kindName === undefined ? undefined : kindBody(kindName, link, resolver);
  const { bridgePort: port } = link;
  return (writer) =>
    nest(writer, IFLA_LINKINFO, () => {
      kind?.(writer);
      if (port === undefined) return;
      writeText(writer, IFLA_INFO_SLAVE_KIND, "bridge");
      nest(writer, IFLA_INFO_SLAVE_DATA, () => bridgePort.write(writer, port));
    });
}

function kindBody(kindName: string, link: LinkSettings & Partial<NewLink>, resolver: Resolver): Body {
  const kind = resolver.kinds[kindName];
  const data = attributesOfKind(link, kindName);
  const { peer } = link;
  if (data !== undefined && kind?.data === undefined) {
    throw new InvalidInput(kindName, data, "is given for a kind without attributes");
  }
  if (peer !== undefined && kind?.peer === undefined) {
    throw new InvalidInput("peer", peer.name, `is given for a link of kind ${kindName}, which has none`);
  }
  const peerValue = peer === undefined ? undefined : attributesOf(peer, resolver);
  return (writer) => {
    writeText(writer, IFLA_INFO_KIND, kindName);
    if (peer === undefined && data === undefined) return;
    nest(writer, IFLA_INFO_DATA, () => {
      if (data !== undefined) kind?.data?.write(writer, data);
      if (peer === undefined || peerValue === undefined || kind?.peer === undefined) return;
      nest(writer, kind.peer, () => {
        writeHeader(writer, peer.index ?? 0, peer);
        attributes.write(writer, peerValue);
      });
    });
  };
}

function writeText(writer: Writer, type: number, value: string): void {
  const at = writer.begin(type);
  text.write(writer, value);
  writer.end(at);
}

/** The body of RTM_NEWLINK for a new link. */
export function newLinkBody(link: NewLink, resolver: Resolver): Body {
  refuseOtherKinds(link, link.kind, resolver);
  const value = attributesOf(link, resolver);
  const info = infoBody(link.kind, link, resolver);
  return (writer) => {
    writeHeader(writer, link.index ?? 0, link);
    attributes.write(writer, value);
    info(writer);
  };
}

/**
 * The body of RTM_NEWLINK that changes a link. With `index` 0 the kernel finds the link by the name in the settings;
 * otherwise that name is its new one.
 */
export function setLinkBody(index: number, settings: LinkSettings, resolver: Resolver): Body {
  const value = attributesOf(settings, resolver);
  const kind = Object.keys(resolver.kinds).find((name) => attributesOfKind(settings, name) !== undefined);
  if (kind !== undefined) refuseOtherKinds(settings, kind, resolver);
  const info =
    kind === undefined && settings.bridgePort === undefined ? undefined : infoBody(kind, settings, resolver);
  return (writer) => {
    writeHeader(writer, index, settings);
    attributes.write(writer, value);
    info?.(writer);
  };
}

function attributesOfKind(link: LinkSettings, kind: string): unknown {
  return (link as Readonly<Record<string, unknown>>)[kind];
}

function refuseOtherKinds(link: LinkSettings, kind: string, resolver: Resolver): void {
  for (const name of Object.keys(resolver.kinds)) {
    const data = name === kind ? undefined : attributesOfKind(link, name);
    if (data !== undefined) {
      throw new InvalidInput(name, data, `is given for a link of kind ${kind}`, {
        remedy: `Put the attributes under "${kind}"`,
      });
    }
  }
}

/** The body of RTM_GETLINK or RTM_DELLINK for one link. */
export function keyBody(ref: LinkRef): Body {
  return (writer) => {
    ifinfomsg.put(writer, { index: typeof ref === "number" ? ref : 0 });
    if (typeof ref === "string")
      attributes.write(writer, ref.length > nameLimit ? { altName: ref } : { name: ref });
  };
}

/** The body of a dump request for links; the kernel filters by master and kind. */
export function dumpBody(filter: { master?: number; kind?: string }): Body {
  const { master, kind } = filter;
  return (writer) => {
    ifinfomsg.put(writer, {});
    if (master !== undefined) attributes.write(writer, { master });
    if (kind !== undefined) attributes.write(writer, { info: { kind } });
  };
}

/** The body of RTM_NEWLINKPROP or RTM_DELLINKPROP. */
export function altNamesBody(index: number, altNames: string[]): Body {
  return (writer) => {
    ifinfomsg.put(writer, { index });
    attributes.write(writer, { altNames });
  };
}

/** The body of RTM_DELLINK for a whole group. */
export function groupBody(group: number): Body {
  return (writer) => {
    ifinfomsg.put(writer, {});
    attributes.write(writer, { group });
  };
}

/** The counters in an RTM_NEWLINK message. */
export function readStatistics(payload: Uint8Array): LinkStatistics | undefined {
  return statistics.readFrom(payload, ifinfomsg.size).counters;
}

/** The link in an RTM_NEWLINK or RTM_DELLINK message. Throws {@link MalformedMessage}. */
export function readLink(payload: Uint8Array, kinds: Readonly<Record<string, LinkKind>>): Link {
  const { type, index, flags } = ifinfomsg.read(payload);
  const { info, afSpec: af, carrier: _, altName: __, ...rest } = attributes.readFrom(payload, ifinfomsg.size);
  const link: Link = {
    ...rest,
    index,
    type,
    name: rest.name ?? "",
    altNames: rest.altNames ?? [],
    mtu: rest.mtu ?? 0,
    operState: rest.operState ?? "unknown",
    group: rest.group ?? 0,
    promiscuity: rest.promiscuity ?? 0,
    up: (flags & IFF_UP) !== 0,
    running: (flags & IFF_RUNNING) !== 0,
    lowerUp: (flags & IFF_LOWER_UP) !== 0,
    loopback: (flags & IFF_LOOPBACK) !== 0,
    pointToPoint: (flags & IFF_POINTOPOINT) !== 0,
    promiscuous: (flags & IFF_PROMISC) !== 0,
    allMulticast: (flags & IFF_ALLMULTI) !== 0,
    multicast: (flags & IFF_MULTICAST) !== 0,
    arp: (flags & IFF_NOARP) === 0,
  };
  // IFLA_LINK is 0 for "none" on tunnels without a carrier link.
  if (link.parent === 0) delete link.parent;
  const mode = af?.inet6?.addrGenMode;
  if (mode !== undefined) link.addrGenMode = mode;
  if (info?.kind !== undefined) {
    link.kind = info.kind;
    const data = kinds[info.kind]?.data;
    if (data !== undefined && info.data !== undefined) {
      (link as unknown as Record<string, unknown>)[info.kind] = data.read(info.data);
    }
  }
  if (info?.slaveKind === "bridge" && info.slaveData !== undefined)
    link.bridgePort = bridgePort.read(info.slaveData);
  return link;
}
