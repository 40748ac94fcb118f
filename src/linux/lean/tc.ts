import { isNotFound } from "../errors.ts";
import { IFLA_IFNAME, IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_MTU, IFLA_TXQLEN } from "./link.ts";
import { LeanSocket, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL } from "./socket.ts";

const NETLINK_ROUTE = 0;
const RTM_NEWLINK = 16;
const RTM_NEWQDISC = 36;
const RTM_DELQDISC = 37;
const RTM_NEWTFILTER = 44;

const TCA_KIND = 1;
const TCA_OPTIONS = 2;
const TCA_TBF_PARMS = 1;
const TCA_TBF_RATE64 = 4;
const TCA_U32_CLASSID = 1;
const TCA_U32_SEL = 5;
const TCA_U32_ACT = 7;
const TCA_ACT_KIND = 1;
const TCA_ACT_OPTIONS = 2;
const TCA_MIRRED_PARMS = 2;
const TCA_EGRESS_REDIR = 1;
const TC_ACT_STOLEN = 4;
const TC_H_ROOT = 0xffffffff;
const TC_H_INGRESS = 0xfffffff1;
/** The handles "1:", "1:1" and "ffff:". */
const rootHandle = 0x10000;
const firstClass = 0x10001;
const ingressHandle = 0xffff0000;
const ETH_P_ALL = 0x0003;
/** sizeof struct tc_tbf_qopt, tc_mirred, and tc_u32_sel with one tc_u32_key. */
const TBF_QOPT = 36;
const MIRRED = 28;
const U32_SEL = 32;

/** An intermediate functional block device: a link whose qdisc shapes what arrives at another one. */
export interface LeanIfb {
  name: string;
  mtu: number;
  /** Packets. */
  txQueueLength: number;
}

/** A token bucket filter. */
export interface LeanTbf {
  /** Bytes a second. */
  rate: number;
  /** How long the bucket lasts at that rate, in the kernel's ticks of 64 ns. */
  ticks: number;
  /** Bytes that may wait. */
  limit: number;
}

/** The part of traffic control that a plugin needs for nearly every container. See socket.ts for why it is apart. */
export class LeanTc {
  readonly #socket = new LeanSocket(NETLINK_ROUTE);

  /** The header of a message about a link that is told by its name. */
  #ifinfomsg(name: string): void {
    const socket = this.#socket;
    for (let i = 0; i < 4; i++) socket.u32(0);
    socket.attributeText(IFLA_IFNAME, name);
  }

  #tcmsg(index: number, handle: number, parent: number, info = 0): void {
    const socket = this.#socket;
    socket.u32(0);
    socket.u32(index);
    socket.u32(handle);
    socket.u32(parent);
    socket.u32(info);
  }

  #execute(seq: number, operation: string, subject: string): void {
    this.#socket.finish();
    this.#socket.exchange(seq, operation, subject);
  }

  /**
   * Makes an ifb device, down: setting the qdisc of a link that is up has to wait for whoever sends. Throws EEXIST,
   * EOPNOTSUPP.
   */
  addIfb({ name, mtu, txQueueLength }: LeanIfb): void {
    const socket = this.#socket;
    const seq = socket.begin(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
    this.#ifinfomsg(name);
    socket.attributeU32(IFLA_MTU, mtu);
    socket.attributeU32(IFLA_TXQLEN, txQueueLength);
    const info = socket.nest(IFLA_LINKINFO);
    socket.attributeText(IFLA_INFO_KIND, "ifb");
    socket.unnest(info);
    this.#execute(seq, "add link", `${name} of kind ifb`);
  }

  /** Makes a token bucket filter the root qdisc "1:" of a link. Throws EEXIST where it has one that somebody set. */
  addTbf(index: number, { rate, ticks, limit }: LeanTbf): void {
    const socket = this.#socket;
    const seq = socket.begin(RTM_NEWQDISC, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
    this.#tcmsg(index, rootHandle, TC_H_ROOT);
    socket.attributeText(TCA_KIND, "tbf");
    const options = socket.nest(TCA_OPTIONS);
    const parms = new DataView(new ArrayBuffer(TBF_QOPT));
    parms.setUint32(8, Math.min(rate, 0xffffffff), true);
    parms.setUint32(24, limit, true);
    parms.setUint32(28, ticks, true);
    socket.attribute(TCA_TBF_PARMS, new Uint8Array(parms.buffer));
    if (rate > 0xffffffff) {
      const wide = new DataView(new ArrayBuffer(8));
      wide.setBigUint64(0, BigInt(rate), true);
      socket.attribute(TCA_TBF_RATE64, new Uint8Array(wide.buffer));
    }
    socket.unnest(options);
    this.#execute(seq, "add qdisc", `tbf to link ${index}`);
  }

  /** Lets filters see what arrives at a link. Throws EEXIST. */
  addIngress(index: number): void {
    const seq = this.#socket.begin(RTM_NEWQDISC, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
    this.#tcmsg(index, ingressHandle, TC_H_INGRESS);
    this.#socket.attributeText(TCA_KIND, "ingress");
    this.#execute(seq, "add qdisc", `ingress to link ${index}`);
  }

  /** Sends all that arrives at a link, which has an ingress qdisc, through another link's qdisc. */
  redirectIngress(index: number, target: number): void {
    const socket = this.#socket;
    const seq = socket.begin(RTM_NEWTFILTER, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
    // Priority 1, and the EtherType in network byte order.
    this.#tcmsg(index, 0, ingressHandle, (1 << 16) | (ETH_P_ALL << 8));
    socket.attributeText(TCA_KIND, "u32");
    const options = socket.nest(TCA_OPTIONS);
    socket.attributeU32(TCA_U32_CLASSID, firstClass);
    // One key without a mask, which every packet matches; TC_U32_TERMINAL.
    const selector = new Uint8Array(U32_SEL);
    selector[0] = 1;
    selector[2] = 1;
    socket.attribute(TCA_U32_SEL, selector);
    const actions = socket.nest(TCA_U32_ACT);
    const action = socket.nest(1);
    socket.attributeText(TCA_ACT_KIND, "mirred");
    const actionOptions = socket.nest(TCA_ACT_OPTIONS);
    const parms = new DataView(new ArrayBuffer(MIRRED));
    parms.setUint32(8, TC_ACT_STOLEN, true);
    parms.setUint32(20, TCA_EGRESS_REDIR, true);
    parms.setUint32(24, target, true);
    socket.attribute(TCA_MIRRED_PARMS, new Uint8Array(parms.buffer));
    socket.unnest(actionOptions);
    socket.unnest(action);
    socket.unnest(actions);
    socket.unnest(options);
    this.#execute(seq, "add filter", `to link ${index}`);
  }

  /** Deletes the root qdisc "1:" of a link with all in it; none is fine. */
  deleteRoot(index: number): void {
    this.#deleteQdisc(index, rootHandle, TC_H_ROOT);
  }

  /** Deletes the ingress qdisc of a link with its filters; none is fine. */
  deleteIngress(index: number): void {
    this.#deleteQdisc(index, ingressHandle, TC_H_INGRESS);
  }

  #deleteQdisc(index: number, handle: number, parent: number): void {
    const seq = this.#socket.begin(RTM_DELQDISC, NLM_F_ACK);
    this.#tcmsg(index, handle, parent);
    try {
      this.#execute(seq, "delete qdisc", `of link ${index}`);
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  close(): void {
    this.#socket.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
