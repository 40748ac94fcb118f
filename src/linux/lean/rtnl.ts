import { Ip } from "../../lib/ip.ts";
import { parseMac } from "../../lib/mac.ts";
import { Prefix } from "../../lib/prefix.ts";
import { errno } from "../errno.ts";
import { isErrno, isNotFound, KernelError } from "../errors.ts";
import {
  IFF_ALLMULTI,
  IFF_PROMISC,
  IFF_UP,
  IFLA_ADDRESS,
  IFLA_AF_SPEC,
  IFLA_GROUP,
  IFLA_IFALIAS,
  IFLA_IFNAME,
  IFLA_INFO_KIND,
  IFLA_LINKINFO,
  IFLA_MASTER,
  IFLA_MTU,
  IFLA_TXQLEN,
  type LeanLink,
  readLink,
} from "./link.ts";
import { LeanSocket, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL } from "./socket.ts";

const NETLINK_ROUTE = 0;
const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
const RTM_NEWADDR = 20;
const RTM_GETADDR = 22;
const RTM_NEWROUTE = 24;
const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;
const RTM_GETNETCONF = 82;

const AF_INET = 2;
const AF_INET6 = 10;
const IFLA_NET_NS_FD = 28;
const IFLA_EXT_MASK = 29;
const IFLA_INFO_DATA = 2;
const VETH_INFO_PEER = 1;
const RTEXT_FILTER_SKIP_STATS = 8;
const IFLA_INET_CONF = 1;
/** linux/ip.h */
const IPV4_DEVCONF_ARP_NOTIFY = 22;
const NETCONFA_IFINDEX = 1;
const NETCONFA_FORWARDING = 2;
const NETCONFA_IFINDEX_ALL = 0xffffffff;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_BROADCAST = 4;
const IFA_F_NODAD = 0x02;
const IFA_F_DADFAILED = 0x08;
const IFA_F_TENTATIVE = 0x40;
const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PRIORITY = 6;
const RTA_PREFSRC = 7;
const RTA_METRICS = 8;
const RTA_TABLE = 15;
const RTAX_MTU = 2;
const RTAX_ADVMSS = 8;
const RTN_UNICAST = 1;
const RTN_LOCAL = 2;
const RTPROT_BOOT = 3;
const RT_TABLE_MAIN = 254;
const RT_SCOPE_NOWHERE = 255;
/** sizeof struct nlmsghdr, netconfmsg (padded), ifaddrmsg and rtmsg. */
const HEADER = 16;
const NETCONFMSG = 4;
const IFADDRMSG = 8;
const RTMSG = 12;

/** A pair whose one end is born in another namespace. */
export interface LeanVeth {
  name: string;
  master: number | undefined;
  mtu: number | undefined;
  /** Of this end. */
  group: number;
  peer: { name: string; netnsFd: number; mac: string | undefined };
}

/** A route of a container. */
export interface LeanRoute {
  dst: Prefix;
  gateway: Ip | undefined;
  oif: number;
  scope: number;
  priority: number | undefined;
  table: number | undefined;
  mtu: number | undefined;
  advmss: number | undefined;
  /** The source of what leaves by it, unless it has one. */
  src?: Ip | undefined;
}

export type { LeanLink } from "./link.ts";

/** What is to be otherwise on a link. */
export interface LeanChange {
  mac?: string | undefined;
  mtu?: number | undefined;
  txQueueLength?: number | undefined;
  promiscuous?: boolean | undefined;
  allMulticast?: boolean | undefined;
}

/** The part of rtnetlink that a plugin needs for nearly every container. See socket.ts for why it is apart. */
export class LeanRtnl {
  readonly #socket: LeanSocket;

  constructor(netnsFd?: number) {
    this.#socket = new LeanSocket(NETLINK_ROUTE, netnsFd);
  }

  #ifinfomsg(index: number, flags: number, change: number): void {
    const socket = this.#socket;
    socket.u32(0);
    socket.u32(index);
    socket.u32(flags);
    socket.u32(change);
  }

  /** Ends the message, sends it and waits for the acknowledgement. */
  #execute(seq: number, operation: string, subject: string): void {
    this.#socket.finish();
    this.#socket.exchange(seq, operation, subject);
  }

  /** A link by index or name, or undefined where there is none. */
  find(ref: number | string): LeanLink | undefined {
    const socket = this.#socket;
    const seq = socket.begin(RTM_GETLINK, 0);
    this.#ifinfomsg(typeof ref === "number" ? ref : 0, 0, 0);
    if (typeof ref === "string") socket.attributeText(IFLA_IFNAME, ref);
    socket.attributeU32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    socket.finish();
    try {
      return readLink(socket, socket.exchange(seq, "read link", String(ref)));
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /** As {@link find}, but throws ENODEV. */
  get(ref: number | string): LeanLink {
    const link = this.find(ref);
    if (link !== undefined) return link;
    throw new KernelError("read link", String(ref), errno.ENODEV);
  }

  /** Makes a pair: this end up, the other end down. Throws EEXIST where either name is taken. */
  addVeth({ name, master, mtu, group, peer }: LeanVeth): void {
    const socket = this.#socket;
    const seq = socket.begin(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
    this.#ifinfomsg(0, IFF_UP, IFF_UP);
    socket.attributeText(IFLA_IFNAME, name);
    if (mtu !== undefined) socket.attributeU32(IFLA_MTU, mtu);
    if (master !== undefined) socket.attributeU32(IFLA_MASTER, master);
    socket.attributeU32(IFLA_GROUP, group);
    const info = socket.nest(IFLA_LINKINFO);
    socket.attributeText(IFLA_INFO_KIND, "veth");
    const data = socket.nest(IFLA_INFO_DATA);
    const other = socket.nest(VETH_INFO_PEER);
    this.#ifinfomsg(0, 0, 0);
    socket.attributeText(IFLA_IFNAME, peer.name);
    if (mtu !== undefined) socket.attributeU32(IFLA_MTU, mtu);
    if (peer.mac !== undefined) socket.attribute(IFLA_ADDRESS, parseMac(peer.mac));
    socket.attributeU32(IFLA_NET_NS_FD, peer.netnsFd);
    socket.unnest(other);
    socket.unnest(data);
    socket.unnest(info);
    this.#execute(seq, "add link", `${name} of kind veth with its other end ${peer.name}`);
  }

  /** Sets a link up or down. */
  setUp(ref: number | string, up: boolean): void {
    const socket = this.#socket;
    const seq = socket.begin(RTM_NEWLINK, NLM_F_ACK);
    this.#ifinfomsg(typeof ref === "number" ? ref : 0, up ? IFF_UP : 0, IFF_UP);
    if (typeof ref === "string") socket.attributeText(IFLA_IFNAME, ref);
    this.#execute(seq, up ? "set up link" : "set down link", String(ref));
  }

  /**
   * Sets the sysctl arp_notify of a link: it tells the neighbours of its IPv4 addresses when it comes up, or gets a
   * hardware address. By netlink it costs a fraction of what the file under /proc does, and no more on a host with a
   * thousand namespaces.
   */
  setArpNotify(index: number): void {
    const socket = this.#socket;
    const seq = socket.begin(RTM_NEWLINK, NLM_F_ACK);
    this.#ifinfomsg(index, 0, 0);
    const spec = socket.nest(IFLA_AF_SPEC);
    const inet = socket.nest(AF_INET);
    const conf = socket.nest(IFLA_INET_CONF);
    socket.attributeU32(IPV4_DEVCONF_ARP_NOTIFY, 1);
    socket.unnest(conf);
    socket.unnest(inet);
    socket.unnest(spec);
    this.#execute(seq, "set arp_notify of link", String(index));
  }

  /** True where packets of a family are forwarded in the namespace; undefined where the kernel does not tell. */
  isForwarding(family: 4 | 6): boolean | undefined {
    const socket = this.#socket;
    const seq = socket.begin(RTM_GETNETCONF, 0);
    socket.u32(family === 4 ? AF_INET : AF_INET6);
    socket.attributeU32(NETCONFA_IFINDEX, NETCONFA_IFINDEX_ALL);
    socket.finish();
    let end: number;
    try {
      end = socket.exchange(seq, "read network configuration", `of IPv${family}`);
    } catch (error) {
      if (error instanceof KernelError) return undefined;
      throw error;
    }
    const at = socket.find(NETCONFA_FORWARDING, HEADER + NETCONFMSG, end);
    return at === undefined ? undefined : socket.u32At(at) === 1;
  }

  /** Gives a link the hardware address that it has, which makes the kernel tell the neighbours and keep it. */
  confirmMac({ index, macBytes, name }: LeanLink): void {
    const seq = this.#socket.begin(RTM_NEWLINK, NLM_F_ACK);
    this.#ifinfomsg(index, 0, 0);
    this.#socket.attribute(IFLA_ADDRESS, macBytes);
    this.#execute(seq, "set hardware address of link", name);
  }

  /**
   * Changes a link; the first thing that the kernel refuses is thrown and what comes behind is not done, in the order
   * hardware address, MTU, modes, length of the queue.
   */
  change({ index, name }: LeanLink, wanted: LeanChange): void {
    const { mac, mtu, txQueueLength, promiscuous, allMulticast } = wanted;
    const on = (promiscuous === true ? IFF_PROMISC : 0) | (allMulticast === true ? IFF_ALLMULTI : 0);
    const mask =
      (promiscuous === undefined ? 0 : IFF_PROMISC) | (allMulticast === undefined ? 0 : IFF_ALLMULTI);
    const socket = this.#socket;
    const seq = socket.begin(RTM_NEWLINK, NLM_F_ACK);
    this.#ifinfomsg(index, on, mask);
    if (mac !== undefined) socket.attribute(IFLA_ADDRESS, parseMac(mac));
    if (mtu !== undefined) socket.attributeU32(IFLA_MTU, mtu);
    if (txQueueLength !== undefined) socket.attributeU32(IFLA_TXQLEN, txQueueLength);
    this.#execute(seq, "change link", name);
  }

  /** Deletes a link; the other end of a pair goes with it. False where there is none. */
  deleteLink(ref: number | string): boolean {
    const seq = this.#socket.begin(RTM_DELLINK, NLM_F_ACK);
    this.#ifinfomsg(typeof ref === "number" ? ref : 0, 0, 0);
    if (typeof ref === "string") this.#socket.attributeText(IFLA_IFNAME, ref);
    try {
      this.#execute(seq, "delete link", String(ref));
      return true;
    } catch (error) {
      if (isNotFound(error)) return false;
      throw error;
    }
  }

  /**
   * Deletes a link without holding up this thread. It is gone after a few milliseconds; that the kernel has let go of all
   * that it had, for which it waits another 15, is when this resolves. Throws ENODEV.
   */
  async deleteLinkLater(index: number): Promise<void> {
    const seq = this.#socket.begin(RTM_DELLINK, NLM_F_ACK);
    this.#ifinfomsg(index, 0, 0);
    this.#socket.finish();
    await this.#socket.exchangeLater(seq, "delete link", String(index));
  }

  /** Says on a link whose it is, and puts it into the default group. */
  setAlias(index: number, alias: string): void {
    const seq = this.#socket.begin(RTM_NEWLINK, NLM_F_ACK);
    this.#ifinfomsg(index, 0, 0);
    this.#socket.attributeU32(IFLA_GROUP, 0);
    this.#socket.attribute(IFLA_IFALIAS, new TextEncoder().encode(alias));
    this.#execute(seq, "set alias of link", String(index));
  }

  /** Puts a link into a group. Throws ENODEV. */
  setGroup(index: number, group: number): void {
    const seq = this.#socket.begin(RTM_NEWLINK, NLM_F_ACK);
    this.#ifinfomsg(index, 0, 0);
    this.#socket.attributeU32(IFLA_GROUP, group);
    this.#execute(seq, "set group of link", String(index));
  }

  /** Deletes all links of a group, with the other ends of pairs, in about the time that one takes. */
  deleteGroup(group: number): void {
    this.#execute(this.#deletionOfGroup(group), "delete links of group", String(group));
  }

  /** {@link deleteGroup} in the manner of {@link deleteLinkLater}. */
  async deleteGroupLater(group: number): Promise<void> {
    const seq = this.#deletionOfGroup(group);
    this.#socket.finish();
    await this.#socket.exchangeLater(seq, "delete links of group", String(group));
  }

  #deletionOfGroup(group: number): number {
    const seq = this.#socket.begin(RTM_DELLINK, NLM_F_ACK);
    this.#ifinfomsg(0, 0, 0);
    this.#socket.attributeU32(IFLA_GROUP, group);
    return seq;
  }

  /** The addresses of a link. */
  addresses(index: number): Prefix[] {
    const found: Prefix[] = [];
    this.#eachAddress(index, (address) => found.push(address));
    return found;
  }

  /**
   * "ready" where IPv6 addresses of a link can be used, "duplicate" where another host has one of them, and "tentative"
   * until that is found out.
   */
  addressState(index: number): "ready" | "tentative" | "duplicate" {
    let all = 0;
    this.#eachAddress(index, (_, flags) => {
      all |= flags;
    });
    if ((all & IFA_F_DADFAILED) !== 0) return "duplicate";
    return (all & IFA_F_TENTATIVE) !== 0 ? "tentative" : "ready";
  }

  #eachAddress(index: number, each: (address: Prefix, flags: number) => void): void {
    const socket = this.#socket;
    socket.begin(RTM_GETADDR, NLM_F_DUMP);
    socket.u32(0);
    socket.u32(index);
    socket.finish();
    socket.dump("list addresses", `of link ${index}`, (start, end) => {
      const length = socket.bytes[start + 1] as number;
      const first = start + IFADDRMSG;
      const at = socket.find(IFA_LOCAL, first, end) ?? socket.find(IFA_ADDRESS, first, end);
      // A kernel without strict checks lists the addresses of all links.
      if (at === undefined || socket.u32At(start + 4) !== index) return;
      const ip = Ip.fromBytes(socket.bytes.subarray(at, at + socket.sizeAt(at)));
      each(new Prefix(ip, length), socket.bytes[start + 2] as number);
    });
  }

  /** Adds an address, with its broadcast address. `nodad`: IPv6 does not look for duplicates. Throws EEXIST. */
  addAddress(index: number, address: Prefix, options: { nodad?: boolean } = {}): void {
    const socket = this.#socket;
    const { ip, length, family } = address;
    const seq = socket.begin(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
    socket.u8(family === 4 ? AF_INET : AF_INET6);
    socket.u8(length);
    socket.u8(family === 6 && options.nodad === true ? IFA_F_NODAD : 0);
    socket.u8(0);
    socket.u32(index);
    socket.attribute(IFA_LOCAL, ip.bytes);
    socket.attribute(IFA_ADDRESS, ip.bytes);
    if (family === 4 && length <= 30) socket.attribute(IFA_BROADCAST, Ip.fromBigInt(address.last, 4).bytes);
    this.#execute(seq, "add address", `${address} to link ${index}`);
  }

  /**
   * Adds a route ahead of one to the same prefix, of the same priority; with IPv6 and gateways the two share the traffic.
   * Throws EEXIST for the very same route, ENETUNREACH.
   */
  prependRoute(route: LeanRoute): void {
    this.#newRoute(route, 0);
  }

  /** Adds a route. Throws EEXIST where there is one to the same prefix, of the same priority. */
  addRoute(route: LeanRoute): void {
    this.#newRoute(route, NLM_F_EXCL);
  }

  #newRoute(route: LeanRoute, flag: number): void {
    const socket = this.#socket;
    const { dst, gateway, oif, scope, priority, table = RT_TABLE_MAIN, mtu, advmss, src } = route;
    const seq = socket.begin(RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | flag);
    this.#rtmsg(dst, table, RTPROT_BOOT, scope, RTN_UNICAST);
    if (dst.length > 0) socket.attribute(RTA_DST, dst.ip.bytes);
    if (gateway !== undefined) socket.attribute(RTA_GATEWAY, gateway.bytes);
    if (src !== undefined) socket.attribute(RTA_PREFSRC, src.bytes);
    socket.attributeU32(RTA_OIF, oif);
    if (priority !== undefined) socket.attributeU32(RTA_PRIORITY, priority);
    if (table > 255) socket.attributeU32(RTA_TABLE, table);
    if (mtu !== undefined || advmss !== undefined) {
      const metrics = socket.nest(RTA_METRICS);
      if (mtu !== undefined) socket.attributeU32(RTAX_MTU, mtu);
      if (advmss !== undefined) socket.attributeU32(RTAX_ADVMSS, advmss);
      socket.unnest(metrics);
    }
    const via = gateway === undefined ? "" : ` via ${gateway}`;
    this.#execute(seq, "add route", `${dst}${via} on link ${oif}`);
  }

  #rtmsg(dst: Prefix, table: number, protocol: number, scope: number, type: number): void {
    const socket = this.#socket;
    socket.u8(dst.family === 4 ? AF_INET : AF_INET6);
    socket.u8(dst.length);
    socket.u16(0);
    socket.u8(table > 255 ? 0 : table);
    socket.u8(protocol);
    socket.u8(scope);
    socket.u8(type);
    socket.u32(0);
  }

  /** Deletes a route of the main table to a prefix by a link, whoever made it. False where there is none. */
  deleteRoute(dst: Prefix, oif: number): boolean {
    const socket = this.#socket;
    const seq = socket.begin(RTM_DELROUTE, NLM_F_ACK);
    this.#rtmsg(dst, RT_TABLE_MAIN, 0, RT_SCOPE_NOWHERE, 0);
    if (dst.length > 0) socket.attribute(RTA_DST, dst.ip.bytes);
    socket.attributeU32(RTA_OIF, oif);
    try {
      this.#execute(seq, "delete route", `${dst} on link ${oif}`);
      return true;
    } catch (error) {
      if (isErrno(error, "ESRCH")) return false;
      throw error;
    }
  }

  /** The index of the link by which a packet to the address would leave; undefined where no route leads there. */
  outgoingLink(dst: Ip): number | undefined {
    const end = this.#lookUp(dst);
    const at = end === undefined ? undefined : this.#socket.find(RTA_OIF, HEADER + RTMSG, end);
    return at === undefined ? undefined : this.#socket.u32At(at);
  }

  /** True where packets to the address are delivered here. */
  isLocal(ip: Ip): boolean {
    return this.#lookUp(ip) !== undefined && this.#socket.bytes[HEADER + 7] === RTN_LOCAL;
  }

  /** Where the answer ends; undefined where the kernel knows no way. */
  #lookUp(dst: Ip): number | undefined {
    const socket = this.#socket;
    const seq = socket.begin(RTM_GETROUTE, 0);
    socket.u8(dst.family === 4 ? AF_INET : AF_INET6);
    socket.u8(dst.bits);
    socket.u16(0);
    socket.u32(0);
    socket.u32(0);
    socket.attribute(RTA_DST, dst.bytes);
    socket.finish();
    try {
      return socket.exchange(seq, "look up route", String(dst));
    } catch (error) {
      if (error instanceof KernelError) return undefined;
      throw error;
    }
  }

  close(): void {
    this.#socket.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
