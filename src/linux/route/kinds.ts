import { Ip } from "../../lib/ip.ts";
import { ip as ipBytes, schema, type Type, u8, u16, u16be, u32, type Value } from "../netlink/codec.ts";
import { Bits, bool, fixed, Names, struct } from "../netlink/types.ts";
import { type BridgeData, bridgeData, vlanProtocol } from "./bridge.ts";

/** An address as text, of either family. */
const ip: Type<string> = {
  write: (writer, value) => ipBytes.write(writer, Ip.parse(value)),
  read: (bytes) => String(ipBytes.read(bytes)),
};

/** How links of one kind are described (IFLA_LINKINFO). */
export interface LinkKind {
  /** IFLA_INFO_DATA; absent for kinds that have no attributes of their own. */
  readonly data?: Type<unknown>;
  /** The attribute that holds the other end of a pair, for kinds that come in pairs. */
  readonly peer?: number;
}

const vlanFlags = new Bits("VLAN flag", {
  reorderHeader: 1,
  gvrp: 2,
  looseBinding: 4,
  mvrp: 8,
  bridgeBinding: 16,
});
type VlanFlag = "reorderHeader" | "gvrp" | "looseBinding" | "mvrp" | "bridgeBinding";

/** struct ifla_vlan_flags: the flags and which of them are meant. Those that are not given are switched off. */
const vlanFlagStruct = struct("ifla_vlan_flags", { flags: fixed.u32, mask: fixed.u32 });
const vlanFlagList: Type<VlanFlag[]> = {
  write: (writer, names) => vlanFlagStruct.put(writer, { flags: vlanFlags.mask(names), mask: 0x1f }),
  read: (bytes) => vlanFlags.names(vlanFlagStruct.read(bytes).flags),
};

/** The VLAN's parent is the link's `parent`. */
const vlanData = schema({
  id: [1 /* IFLA_VLAN_ID */, u16],
  flags: [2 /* IFLA_VLAN_FLAGS */, vlanFlagList],
  protocol: [5 /* IFLA_VLAN_PROTOCOL */, vlanProtocol.as(u16be)],
});

const vxlanPortRange = struct("ifla_vxlan_port_range", { low: fixed.u16be, high: fixed.u16be });

const vxlanData = schema({
  id: [1 /* IFLA_VXLAN_ID */, u32],
  /** Multicast group or remote address, IPv4. */
  group: [2 /* IFLA_VXLAN_GROUP */, ip],
  /** Index of the link that carries the tunnel. */
  link: [3 /* IFLA_VXLAN_LINK */, u32],
  local: [4 /* IFLA_VXLAN_LOCAL */, ip],
  ttl: [5 /* IFLA_VXLAN_TTL */, u8],
  tos: [6 /* IFLA_VXLAN_TOS */, u8],
  learning: [7 /* IFLA_VXLAN_LEARNING */, bool],
  /** Seconds. */
  ageing: [8 /* IFLA_VXLAN_AGEING */, u32],
  limit: [9 /* IFLA_VXLAN_LIMIT */, u32],
  portRange: [10 /* IFLA_VXLAN_PORT_RANGE */, vxlanPortRange],
  proxy: [11 /* IFLA_VXLAN_PROXY */, bool],
  rsc: [12 /* IFLA_VXLAN_RSC */, bool],
  l2miss: [13 /* IFLA_VXLAN_L2MISS */, bool],
  l3miss: [14 /* IFLA_VXLAN_L3MISS */, bool],
  /** Destination port; the kernel's default is 8472, IANA's is 4789. */
  port: [15 /* IFLA_VXLAN_PORT */, u16be],
  group6: [16 /* IFLA_VXLAN_GROUP6 */, ip],
  local6: [17 /* IFLA_VXLAN_LOCAL6 */, ip],
  udpChecksum: [18 /* IFLA_VXLAN_UDP_CSUM */, bool],
  udpZeroChecksum6Tx: [19 /* IFLA_VXLAN_UDP_ZERO_CSUM6_TX */, bool],
  udpZeroChecksum6Rx: [20 /* IFLA_VXLAN_UDP_ZERO_CSUM6_RX */, bool],
  /** Each packet brings its own tunnel key (external mode). */
  collectMetadata: [25 /* IFLA_VXLAN_COLLECT_METADATA */, bool],
  ttlInherit: [28 /* IFLA_VXLAN_TTL_INHERIT */, bool],
  df: [29 /* IFLA_VXLAN_DF */, new Names("vxlan df", { unset: 0, set: 1, inherit: 2 }).as(u8)],
  vniFilter: [30 /* IFLA_VXLAN_VNIFILTER */, bool],
});

const macvlanMode = new Names("macvlan mode", { private: 1, vepa: 2, bridge: 4, passthru: 8, source: 16 });

const macvlanData = schema({
  mode: [1 /* IFLA_MACVLAN_MODE */, macvlanMode.as(u32)],
  flags: [2 /* IFLA_MACVLAN_FLAGS */, u16],
  broadcastQueueLength: [7 /* IFLA_MACVLAN_BC_QUEUE_LEN */, u32],
});

const ipvlanData = schema({
  mode: [1 /* IFLA_IPVLAN_MODE */, new Names("ipvlan mode", { l2: 0, l3: 1, l3s: 2 }).as(u16)],
  /** 0 bridge, 1 private, 2 vepa. */
  flags: [2 /* IFLA_IPVLAN_FLAGS */, new Names("ipvlan flag", { bridge: 0, private: 1, vepa: 2 }).as(u16)],
});

const vrfData = schema({ table: [1 /* IFLA_VRF_TABLE */, u32] });

/** Only listed; tun and tap links are created by `createTun` in tun.ts. */
const tunData = schema({
  owner: [1 /* IFLA_TUN_OWNER */, u32],
  group: [2 /* IFLA_TUN_GROUP */, u32],
  type: [3 /* IFLA_TUN_TYPE */, new Names("tun type", { tun: 1, tap: 2 }).as(u8)],
  packetInformation: [4 /* IFLA_TUN_PI */, bool],
  vnetHeader: [5 /* IFLA_TUN_VNET_HDR */, bool],
  persist: [6 /* IFLA_TUN_PERSIST */, bool],
  multiQueue: [7 /* IFLA_TUN_MULTI_QUEUE */, bool],
  numQueues: [8 /* IFLA_TUN_NUM_QUEUES */, u32],
  numDisabledQueues: [9 /* IFLA_TUN_NUM_DISABLED_QUEUES */, u32],
});

/** ipip and sit (IFLA_IPTUN_*, linux/if_tunnel.h). */
const ipTunnelData = schema({
  link: [1 /* IFLA_IPTUN_LINK */, u32],
  local: [2 /* IFLA_IPTUN_LOCAL */, ip],
  remote: [3 /* IFLA_IPTUN_REMOTE */, ip],
  ttl: [4 /* IFLA_IPTUN_TTL */, u8],
  tos: [5 /* IFLA_IPTUN_TOS */, u8],
  pathMtuDiscovery: [10 /* IFLA_IPTUN_PMTUDISC */, bool],
});

/** gre and gretap (IFLA_GRE_*). */
const greData = schema({
  link: [1 /* IFLA_GRE_LINK */, u32],
  inFlags: [2 /* IFLA_GRE_IFLAGS */, u16be],
  outFlags: [3 /* IFLA_GRE_OFLAGS */, u16be],
  local: [6 /* IFLA_GRE_LOCAL */, ip],
  remote: [7 /* IFLA_GRE_REMOTE */, ip],
  ttl: [8 /* IFLA_GRE_TTL */, u8],
  tos: [9 /* IFLA_GRE_TOS */, u8],
  pathMtuDiscovery: [10 /* IFLA_GRE_PMTUDISC */, bool],
});

const geneveData = schema({
  id: [1 /* IFLA_GENEVE_ID */, u32],
  remote: [2 /* IFLA_GENEVE_REMOTE */, ip],
  ttl: [3 /* IFLA_GENEVE_TTL */, u8],
  tos: [4 /* IFLA_GENEVE_TOS */, u8],
  port: [5 /* IFLA_GENEVE_PORT */, u16be],
  remote6: [7 /* IFLA_GENEVE_REMOTE6 */, ip],
  udpChecksum: [8 /* IFLA_GENEVE_UDP_CSUM */, bool],
});

/**
 * The attributes of each kind, which stand in a link under the kind's name: `{ kind: "vlan", vlan: { id: 5 } }`.
 * To add a kind, declare its attributes here by module augmentation and give its {@link LinkKind} to `new Rtnl`:
 *
 *     declare module "weft/linux" { interface LinkKinds { netkit: { mode: number } } }
 *     new Rtnl({ kinds: { netkit: { data: codec.schema({ mode: [2, codec.u32] }), peer: 1 } } })
 */
export interface LinkKinds {
  bridge: BridgeData;
  vlan: Value<typeof vlanData>;
  vxlan: Value<typeof vxlanData>;
  macvlan: Value<typeof macvlanData>;
  macvtap: Value<typeof macvlanData>;
  ipvlan: Value<typeof ipvlanData>;
  vrf: Value<typeof vrfData>;
  tun: Value<typeof tunData>;
  ipip: Value<typeof ipTunnelData>;
  sit: Value<typeof ipTunnelData>;
  gre: Value<typeof greData>;
  gretap: Value<typeof greData>;
  geneve: Value<typeof geneveData>;
}

/** The kinds that are known without further ado. */
export const linkKinds: Readonly<Record<string, LinkKind>> = {
  veth: { peer: 1 /* VETH_INFO_PEER */ },
  bridge: { data: bridgeData },
  dummy: {},
  ifb: {},
  wireguard: {},
  vlan: { data: vlanData },
  vxlan: { data: vxlanData },
  macvlan: { data: macvlanData },
  macvtap: { data: macvlanData },
  ipvlan: { data: ipvlanData },
  vrf: { data: vrfData },
  tun: { data: tunData },
  ipip: { data: ipTunnelData },
  sit: { data: ipTunnelData },
  gre: { data: greData },
  gretap: { data: greData },
  geneve: { data: geneveData },
};
