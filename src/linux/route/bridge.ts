import { schema, u8, u16, u16be, u32, type Value } from "../netlink/codec.ts";
import { bool, mac, Names, n64 } from "../netlink/types.ts";

/** EtherTypes of VLAN tags. */
export const vlanProtocol = new Names("VLAN protocol", { "802.1Q": 0x8100, "802.1ad": 0x88a8 });

const multicastRouter = new Names("multicast router", { disabled: 0, learn: 1, enabled: 2, temporary: 3 });

/** IFLA_INFO_DATA of a bridge (IFLA_BR_*). Times are in hundredths of a second (USER_HZ). */
export const bridgeData = schema({
  forwardDelay: [1 /* IFLA_BR_FORWARD_DELAY */, u32],
  helloTime: [2 /* IFLA_BR_HELLO_TIME */, u32],
  maxAge: [3 /* IFLA_BR_MAX_AGE */, u32],
  ageingTime: [4 /* IFLA_BR_AGEING_TIME */, u32],
  stpState: [5 /* IFLA_BR_STP_STATE */, u32],
  priority: [6 /* IFLA_BR_PRIORITY */, u16],
  vlanFiltering: [7 /* IFLA_BR_VLAN_FILTERING */, bool],
  vlanProtocol: [8 /* IFLA_BR_VLAN_PROTOCOL */, vlanProtocol.as(u16be)],
  groupForwardMask: [9 /* IFLA_BR_GROUP_FWD_MASK */, u16],
  groupAddress: [20 /* IFLA_BR_GROUP_ADDR */, mac],
  multicastRouter: [22 /* IFLA_BR_MCAST_ROUTER */, multicastRouter.as(u8)],
  multicastSnooping: [23 /* IFLA_BR_MCAST_SNOOPING */, bool],
  multicastQueryUseIfaddr: [24 /* IFLA_BR_MCAST_QUERY_USE_IFADDR */, bool],
  multicastQuerier: [25 /* IFLA_BR_MCAST_QUERIER */, bool],
  multicastHashMax: [27 /* IFLA_BR_MCAST_HASH_MAX */, u32],
  multicastLastMemberCount: [28 /* IFLA_BR_MCAST_LAST_MEMBER_CNT */, u32],
  multicastStartupQueryCount: [29 /* IFLA_BR_MCAST_STARTUP_QUERY_CNT */, u32],
  multicastLastMemberInterval: [30 /* IFLA_BR_MCAST_LAST_MEMBER_INTVL */, n64],
  multicastMembershipInterval: [31 /* IFLA_BR_MCAST_MEMBERSHIP_INTVL */, n64],
  multicastQuerierInterval: [32 /* IFLA_BR_MCAST_QUERIER_INTVL */, n64],
  multicastQueryInterval: [33 /* IFLA_BR_MCAST_QUERY_INTVL */, n64],
  multicastQueryResponseInterval: [34 /* IFLA_BR_MCAST_QUERY_RESPONSE_INTVL */, n64],
  multicastStartupQueryInterval: [35 /* IFLA_BR_MCAST_STARTUP_QUERY_INTVL */, n64],
  nfCallIptables: [36 /* IFLA_BR_NF_CALL_IPTABLES */, bool],
  nfCallIp6tables: [37 /* IFLA_BR_NF_CALL_IP6TABLES */, bool],
  nfCallArptables: [38 /* IFLA_BR_NF_CALL_ARPTABLES */, bool],
  /** 0 means that ports get no VLAN by themselves. */
  vlanDefaultPvid: [39 /* IFLA_BR_VLAN_DEFAULT_PVID */, u16],
  vlanStats: [41 /* IFLA_BR_VLAN_STATS_ENABLED */, bool],
  multicastStats: [42 /* IFLA_BR_MCAST_STATS_ENABLED */, bool],
  multicastIgmpVersion: [43 /* IFLA_BR_MCAST_IGMP_VERSION */, u8],
  multicastMldVersion: [44 /* IFLA_BR_MCAST_MLD_VERSION */, u8],
  vlanStatsPerPort: [45 /* IFLA_BR_VLAN_STATS_PER_PORT */, bool],
});
export type BridgeData = Value<typeof bridgeData>;

const portState = new Names("bridge port state", {
  disabled: 0,
  listening: 1,
  learning: 2,
  forwarding: 3,
  blocking: 4,
});

/** What a bridge knows of one of its ports: IFLA_INFO_SLAVE_DATA of the port (IFLA_BRPORT_*). */
export const bridgePort = schema({
  state: [1 /* IFLA_BRPORT_STATE */, portState.as(u8)],
  priority: [2 /* IFLA_BRPORT_PRIORITY */, u16],
  cost: [3 /* IFLA_BRPORT_COST */, u32],
  /** A frame may leave by the port through which it came. */
  hairpin: [4 /* IFLA_BRPORT_MODE */, bool],
  guard: [5 /* IFLA_BRPORT_GUARD */, bool],
  rootBlock: [6 /* IFLA_BRPORT_PROTECT */, bool],
  fastLeave: [7 /* IFLA_BRPORT_FAST_LEAVE */, bool],
  learning: [8 /* IFLA_BRPORT_LEARNING */, bool],
  unicastFlood: [9 /* IFLA_BRPORT_UNICAST_FLOOD */, bool],
  proxyArp: [10 /* IFLA_BRPORT_PROXYARP */, bool],
  proxyArpWifi: [12 /* IFLA_BRPORT_PROXYARP_WIFI */, bool],
  multicastRouter: [25 /* IFLA_BRPORT_MULTICAST_ROUTER */, multicastRouter.as(u8)],
  multicastFlood: [27 /* IFLA_BRPORT_MCAST_FLOOD */, bool],
  multicastToUnicast: [28 /* IFLA_BRPORT_MCAST_TO_UCAST */, bool],
  vlanTunnel: [29 /* IFLA_BRPORT_VLAN_TUNNEL */, bool],
  broadcastFlood: [30 /* IFLA_BRPORT_BCAST_FLOOD */, bool],
  groupForwardMask: [31 /* IFLA_BRPORT_GROUP_FWD_MASK */, u16],
  neighbourSuppress: [32 /* IFLA_BRPORT_NEIGH_SUPPRESS */, bool],
  /** Isolated ports do not reach each other. */
  isolated: [33 /* IFLA_BRPORT_ISOLATED */, bool],
  /** Index of the port that takes over when this one has no carrier; 0 for none. */
  backupPort: [34 /* IFLA_BRPORT_BACKUP_PORT */, u32],
  locked: [39 /* IFLA_BRPORT_LOCKED */, bool],
});
export type BridgePort = Value<typeof bridgePort>;
