/**
 * The kernel's networking for TypeScript on Bun: network namespaces, rtnetlink, nf_tables, connection tracking and
 * sysctls, spoken by netlink, without running `ip`, `nft` or `sysctl`. Plain data goes in and comes out.
 *
 *     import { createNetns, openKernel } from "weft/linux";
 *
 *     createNetns("pod");
 *     using host = openKernel().rtnl;
 *     host.links.add({ kind: "veth", name: "veth0", up: true, peer: { name: "eth0", netns: { name: "pod" } } });
 *
 * Calls are synchronous, since the kernel answers while it is asked; monitors are asynchronous iterators. What the kernel
 * refuses is a {@link KernelError}, to be told apart by {@link isNotFound}, {@link isExists} and their like. Runs on Bun,
 * on Linux, as root or within a user namespace that has CAP_NET_ADMIN.
 * @module
 */

// Values.
export { InvalidInput, WeftError } from "../lib/errors.ts";
export { type Family, Ip } from "../lib/ip.ts";
export { Prefix } from "../lib/prefix.ts";
// nf_tables and connection tracking.
export * as conntrack from "./conntrack/index.ts";
// Errors.
export { type ErrnoName, errno, errnoName } from "./errno.ts";
export * from "./errors.ts";
// Namespaces, and the kernel in one.
export { type Kernel, openKernel } from "./kernel.ts";
// Describing further kinds of links, and netlink families of one's own.
export * as codec from "./netlink/codec.ts";
export { NetlinkMonitor } from "./netlink/monitor.ts";
export { type Message, NetlinkSocket, type Request, type SocketOptions } from "./netlink/socket.ts";
export { Bits, bool, fixed, mac, Names, n64, struct } from "./netlink/types.ts";
export {
  bindNewNetns,
  createNetns,
  deleteNetns,
  inNetns,
  listNetns,
  type NetnsRef,
  netnsDir,
  netnsIdentity,
  netnsPath,
} from "./netns.ts";
export * as expr from "./nftables/expr.ts";
export * as nftables from "./nftables/index.ts";
// rtnetlink.
export type { Address, AddressFlag, NewAddress, Scope } from "./route/address.ts";
export type { BridgeData, BridgePort } from "./route/bridge.ts";
export type { Change, ChangeArguments, SetLink } from "./route/changes.ts";
export type { AddressFilter, FdbFilter, LinkFilter, NeighbourFilter } from "./route/driver.ts";
export { type LinkKind, type LinkKinds, linkKinds } from "./route/kinds.ts";
export type {
  AddrGenMode,
  Link,
  LinkRef,
  LinkSettings,
  LinkStatistics,
  NewLink,
  NewPeer,
} from "./route/link.ts";
export type { Monitor, MonitorTopic, RtnlEvent } from "./route/monitor.ts";
export type {
  FdbEntry,
  Neighbour,
  NeighbourFlag,
  NeighbourState,
  NewFdbEntry,
  NewNeighbour,
} from "./route/neighbour.ts";
export type { RtnlOptions } from "./route/netlink-driver.ts";
export {
  type LookupOptions,
  type NewNextHop,
  type NewRoute,
  type NextHop,
  type NextHopFlag,
  type Route,
  type RouteFilter,
  type RouteMetrics,
  type RouteProtocol,
  type RouteType,
  RT_TABLE_LOCAL,
  RT_TABLE_MAIN,
  RTPROT_WEFT,
} from "./route/route.ts";
export { Rtnl } from "./route/rtnl.ts";
export type { NewRule, Range, Rule, RuleAction } from "./route/rule.ts";
export type {
  Filter,
  FilterProtocol,
  NewFilter,
  NewQdisc,
  NewTcClass,
  Qdisc,
  TcClass,
  TcStatistics,
} from "./route/tc.ts";
export { type FilterAction, matchPrefix, type U32Match } from "./route/tc-filters.ts";
export type { Htb, HtbClass, Tbf } from "./route/tc-kinds.ts";
export type { BridgeVlan, NewBridgeVlan } from "./route/vlan.ts";
export { ProcSysctl, type Sysctl } from "./sysctl.ts";
export { openTun, type Tun, type TunOptions } from "./tun.ts";
