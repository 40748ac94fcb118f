import { close } from "node:fs";
import { parseMac } from "../lib/mac.ts";
import * as ffi from "../linux/ffi.ts";
import { inNetns, type NetnsRef } from "../linux/netns.ts";
import { Rtnl } from "../linux/route/rtnl.ts";
import type { ServerAddress } from "./lease.ts";
import type { Received, Sending } from "./machine.ts";
import { decodeMessage, encodeMessage, MalformedDhcp } from "./message.ts";
import { clientFilter, decodeFrames, ETH_P_IP, encodeFrame } from "./packet.ts";

const AF_PACKET = 17;
const SOCK_RAW = 3;
const SOCK_NONBLOCK = 0o4000;
/** sizeof struct sockaddr_ll. */
const SOCKADDR_LL = 20;

/** A link on which DHCP messages go to and fro. */
export interface Wire {
  /** The link's hardware address. */
  readonly mac: Uint8Array;
  send(sending: Sending): void;
  close(): void;
}

/** Hears of what comes. `ended` is told where the link went down or away. */
export interface WireListener {
  received(received: Received): void;
  ended(error: Error): void;
}

/** The link of a container, as far as DHCP is concerned. */
export interface DhcpLink {
  index: number;
  mac: string;
  up: boolean;
  /** Has a carrier. */
  running: boolean;
  /** Slaves of an ipvlan share their hardware address: only a broadcast reaches the right one. */
  sharesMac: boolean;
}

/** Looks at a link in a namespace; undefined where there is none, or none with a hardware address. */
export function findLink(netns: NetnsRef, ref: string | number): DhcpLink | undefined {
  using rtnl = new Rtnl({ netns });
  const link = rtnl.links.find(ref);
  if (link?.mac === undefined) return undefined;
  const { index, mac, up, running, kind } = link;
  return { index, mac, up, running, sharesMac: kind === "ipvlan" };
}

/** Opens a wire on the link of a namespace. Its sockets work below IP: the link needs no address. */
export function openWire(netns: NetnsRef, link: DhcpLink, listener: WireListener): Wire {
  const fd = inNetns(netns, () => ffi.socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0));
  try {
    // The filter is there before the first frame: without a protocol the socket gets none until it is bound.
    ffi.attachFilter(fd, clientFilter);
    const address = new Uint8Array(SOCKADDR_LL);
    const view = new DataView(address.buffer);
    view.setUint16(0, AF_PACKET, true);
    view.setUint16(2, ETH_P_IP);
    view.setInt32(4, link.index, true);
    ffi.bind(fd, address, `to link ${link.index}`);
  } catch (error) {
    ffi.close(fd);
    throw error;
  }
  return new PacketWire(fd, parseMac(link.mac), listener);
}

interface Reader {
  read(): Promise<{ done: boolean; value?: Uint8Array | undefined }>;
  cancel(): Promise<void>;
}

class PacketWire implements Wire {
  readonly #fd: number;
  readonly mac: Uint8Array;
  readonly #listener: WireListener;
  readonly #reader: Reader;
  #closed = false;

  constructor(fd: number, mac: Uint8Array, listener: WireListener) {
    this.#fd = fd;
    this.mac = mac;
    this.#listener = listener;
    // Bun waits for sockets in its event loop; see NetlinkMonitor.
    this.#reader = Bun.file(fd).stream().getReader();
    void this.#read();
  }

  async #read(): Promise<void> {
    try {
      for (;;) {
        const { done, value } = await this.#reader.read();
        if (this.#closed) return;
        if (done || value === undefined) throw new Error("the packet socket ended");
        for (const { fromMac, payload } of decodeFrames(value)) this.#deliver(fromMac, payload);
      }
    } catch (error) {
      if (!this.#closed) this.#listener.ended(error as Error);
    }
  }

  #deliver(from: Uint8Array, payload: Uint8Array): void {
    try {
      const message = decodeMessage(payload);
      if (!this.#closed) this.#listener.received({ message, from });
    } catch (error) {
      // Anybody can send anything to the port.
      if (!(error instanceof MalformedDhcp)) throw error;
    }
  }

  send({ message, unicast }: Sending): void {
    const frame = encodeFrame(encodeMessage(message), {
      fromMac: this.mac,
      fromIp: message.ciaddr,
      ...(unicast === undefined ? {} : { to: serverOf(unicast) }),
    });
    ffi.send(this.#fd, frame, frame.length, 0);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    // The kernel waits for a grace period (10 to 20 ms), which must not hold up this thread.
    const closeLater = () => close(this.#fd, () => {});
    // A stream that had ended with an error has told it.
    this.#reader.cancel().then(closeLater, closeLater);
  }
}

function serverOf({ server, serverMac }: ServerAddress) {
  return { mac: serverMac, ip: server };
}

/** Sets a link of a namespace up or down. */
export function setLinkUp(netns: NetnsRef, index: number, up: boolean): void {
  using rtnl = new Rtnl({ netns });
  rtnl.links.set(index, { up });
}
