import type { NetnsRef } from "../netns.ts";
import type { BridgePort } from "./bridge.ts";
import type { LinkKinds } from "./kinds.ts";

/** IFNAMSIZ without its zero byte; longer names are alternative names. */
export const nameLimit = 15;

/** A link by index or by name (alternative names too). */
export type LinkRef = number | string;

/** Counters since the link was made. */
export interface LinkStatistics {
  rxPackets: number;
  txPackets: number;
  rxBytes: number;
  txBytes: number;
  rxErrors: number;
  txErrors: number;
  rxDropped: number;
  txDropped: number;
}

/** A link as the kernel lists it. What belongs to its kind stands under the kind's name, such as `bridge`. */
export interface Link extends Partial<LinkKinds> {
  index: number;
  name: string;
  altNames: string[];
  /** Absent for hardware and the loopback link. */
  kind?: string;
  /** ARPHRD_*: 1 Ethernet, 772 loopback, 65534 none. */
  type: number;
  /** Administratively up (IFF_UP). */
  up: boolean;
  /** IFF_RUNNING: operational. */
  running: boolean;
  /** IFF_LOWER_UP: has a carrier. */
  lowerUp: boolean;
  loopback: boolean;
  pointToPoint: boolean;
  promiscuous: boolean;
  allMulticast: boolean;
  multicast: boolean;
  arp: boolean;
  mtu: number;
  minMtu?: number;
  maxMtu?: number;
  mac?: string;
  broadcast?: string;
  permanentMac?: string;
  /** The device on a bus whose link it is, such as `0000:3d:00.1` or `virtio2`; absent before Linux 5.14. */
  busDevice?: string;
  /** Index of the bridge, VRF or bond that it belongs to. */
  master?: number;
  /** IFLA_LINK: index of the link below (VLAN, MACVLAN) or of the other end (veth). */
  parent?: number;
  /** The parent is in another namespace, which has this id here (IFLA_LINK_NETNSID). */
  parentNetnsId?: number;
  operState: string | number;
  group: number;
  qdisc?: string;
  txQueueLength?: number;
  numTxQueues?: number;
  numRxQueues?: number;
  alias?: string;
  /** How many users want it promiscuous. */
  promiscuity: number;
  gsoMaxSize?: number;
  gsoMaxSegs?: number;
  groMaxSize?: number;
  addrGenMode?: AddrGenMode;
  /** Present where it belongs to a bridge. */
  bridgePort?: BridgePort;
  /** Present where asked for. */
  statistics?: LinkStatistics;
}

/** How IPv6 makes the link-local address (IFLA_INET6_ADDR_GEN_MODE). */
export type AddrGenMode = "eui64" | "none" | "stable-privacy" | "random" | number;

/** What can be given for a new link and changed of one that is there. */
export interface LinkSettings extends Partial<LinkKinds> {
  name?: string;
  up?: boolean;
  mtu?: number;
  mac?: string;
  broadcast?: string;
  /** The bridge or VRF to belong to; null takes it out. */
  master?: LinkRef | null;
  /** The namespace to live in. */
  netns?: NetnsRef;
  group?: number;
  txQueueLength?: number;
  alias?: string;
  promiscuous?: boolean;
  allMulticast?: boolean;
  multicast?: boolean;
  arp?: boolean;
  gsoMaxSize?: number;
  gsoMaxSegs?: number;
  groMaxSize?: number;
  addrGenMode?: AddrGenMode;
  bridgePort?: BridgePort;
}

/** A link to be made. */
export interface NewLink extends LinkSettings {
  kind: string;
  /** The kernel chooses where not given. */
  index?: number;
  /** IFLA_LINK: the link below a VLAN, MACVLAN or IPVLAN. */
  parent?: LinkRef;
  numTxQueues?: number;
  numRxQueues?: number;
  /** The other end of a pair (veth), which can be born in another namespace. */
  peer?: NewPeer;
}

/** The other end of a new pair. It cannot be up from birth: the kernel brings no end up before the pair is complete. */
export type NewPeer = Pick<
  LinkSettings,
  "name" | "mtu" | "mac" | "netns" | "group" | "txQueueLength" | "promiscuous" | "allMulticast" | "arp"
> & { index?: number; numTxQueues?: number; numRxQueues?: number };
