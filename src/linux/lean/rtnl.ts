import { Ip } from "../../lib/ip.ts";
import { formatMac, parseMac } from "../../lib/mac.ts";
import { Prefix } from "../../lib/prefix.ts";
import { errno } from "../errno.ts";
import { isNotFound, KernelError } from "../errors.ts";
import { LeanSocket, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL } from "./socket.ts";

const NETLINK_ROUTE = 0;
const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
const RTM_NEWADDR = 20;
const RTM_GETADDR = 22;
const RTM_NEWROUTE = 24;
const RTM_GETROUTE = 26;

const AF_INET = 2;
const AF_INET6 = 10;
const IFF_UP = 0x1;
const IFF_PROMISC = 0x100;
const IF_OPER_UP = 6;
const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_LINK = 5;
const IFLA_MASTER = 10;
const IFLA_OPERSTATE = 16;
const IFLA_LINKINFO = 18;
const IFLA_GROUP = 27;
const IFLA_NET_NS_FD = 28;
const IFLA_EXT_MASK = 29;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const VETH_INFO_PEER = 1;
const RTEXT_FILTER_SKIP_STATS = 8;
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
const RTA_METRICS = 8;
const RTA_TABLE = 15;
const RTAX_MTU = 2;
const RTAX_ADVMSS = 8;
const RTN_UNICAST = 1;
const RTN_LOCAL = 2;
const RTPROT_BOOT = 3;
const RT_TABLE_MAIN = 254;
/** sizeof struct nlmsghdr, ifinfomsg, ifaddrmsg and rtmsg. */
const HEADER = 16;
const IFINFOMSG = 16;
const IFADDRMSG = 8;
const RTMSG = 12;

const noBytes = new Uint8Array(0);

/** What plugins want to know of a link. */
export interface LeanLink {
  index: number;
  name: string;
  kind: string | undefined;
  /** "" where it has none. */
  mac: string;
  macBytes: Uint8Array;
  mtu: number;
  up: boolean;
  promiscuous: boolean;
  /** Operational: for a bridge port, forwarding. */
  operational: boolean;
  master: number | undefined;
  /** The other end of a veth. */
  parent: number | undefined;
}

/** A pair whose one end is born in another namespace. */
export interface LeanVeth {
  name: string;
  master: number | undefined;
  mtu: number | undefined;
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
      return this.#linkIn(socket.exchange(seq, "read link", String(ref)));
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

  /** The link in the answer, in one pass: a link has some forty attributes. */
  #linkIn(end: number): LeanLink {
    const socket = this.#socket;
    const { bytes } = socket;
    const flags = socket.u32At(HEADER + 8);
    const link: LeanLink = {
      index: socket.u32At(HEADER + 4),
      name: "",
      kind: undefined,
      mac: "",
      macBytes: noBytes,
      mtu: 0,
      up: (flags & IFF_UP) !== 0,
      promiscuous: (flags & IFF_PROMISC) !== 0,
      operational: false,
      master: undefined,
      parent: undefined,
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
        }
      }
    }
    return link;
  }

  /** Makes a pair: this end up, the other end down. Throws EEXIST where either name is taken. */
  addVeth({ name, master, mtu, peer }: LeanVeth): void {
    const socket = this.#socket;
    const seq = socket.begin(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
    this.#ifinfomsg(0, IFF_UP, IFF_UP);
    socket.attributeText(IFLA_IFNAME, name);
    if (mtu !== undefined) socket.attributeU32(IFLA_MTU, mtu);
    if (master !== undefined) socket.attributeU32(IFLA_MASTER, master);
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

  /** Gives a link the hardware address that it has, which makes the kernel tell the neighbours and keep it. */
  confirmMac({ index, macBytes, name }: LeanLink): void {
    const seq = this.#socket.begin(RTM_NEWLINK, NLM_F_ACK);
    this.#ifinfomsg(index, 0, 0);
    this.#socket.attribute(IFLA_ADDRESS, macBytes);
    this.#execute(seq, "set hardware address of link", name);
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

  /** Adds a route behind one to the same prefix. Throws EEXIST, ENETUNREACH. */
  appendRoute(route: LeanRoute): void {
    const socket = this.#socket;
    const { dst, gateway, oif, scope, priority, table = RT_TABLE_MAIN, mtu, advmss } = route;
    const seq = socket.begin(RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_APPEND);
    socket.u8(dst.family === 4 ? AF_INET : AF_INET6);
    socket.u8(dst.length);
    socket.u16(0);
    socket.u8(table > 255 ? 0 : table);
    socket.u8(RTPROT_BOOT);
    socket.u8(scope);
    socket.u8(RTN_UNICAST);
    socket.u32(0);
    if (dst.length > 0) socket.attribute(RTA_DST, dst.ip.bytes);
    if (gateway !== undefined) socket.attribute(RTA_GATEWAY, gateway.bytes);
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

  /** The index of the link by which a packet to the address would leave. Throws ENETUNREACH and the like. */
  outgoingLink(dst: Ip): number | undefined {
    const end = this.#lookUp(dst);
    const at = this.#socket.find(RTA_OIF, HEADER + RTMSG, end);
    return at === undefined ? undefined : this.#socket.u32At(at);
  }

  /** True where packets to the address are delivered here. */
  isLocal(ip: Ip): boolean {
    try {
      this.#lookUp(ip);
      return this.#socket.bytes[HEADER + 7] === RTN_LOCAL;
    } catch (error) {
      if (error instanceof KernelError) return false;
      throw error;
    }
  }

  #lookUp(dst: Ip): number {
    const socket = this.#socket;
    const seq = socket.begin(RTM_GETROUTE, 0);
    socket.u8(dst.family === 4 ? AF_INET : AF_INET6);
    socket.u8(dst.bits);
    socket.u16(0);
    socket.u32(0);
    socket.u32(0);
    socket.attribute(RTA_DST, dst.bytes);
    socket.finish();
    return socket.exchange(seq, "look up route", String(dst));
  }

  close(): void {
    this.#socket.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
