/** Replies of DHCP servers, for tests. */
import { Ip } from "../lib/ip.ts";
import { BOOTREPLY, type Message, messageType, optionCode, unspecified } from "./message.ts";

/** Four bytes of a number. */
export function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

/** The bytes of addresses, one after the other. */
export function ips(...texts: string[]): Uint8Array {
  return Uint8Array.from(texts.flatMap((text) => [...Ip.parse(text).bytes]));
}

const server = "10.0.0.1";

/** What a server says to a client's message; options of undefined are left out. */
export function reply(
  to: Message,
  type: keyof typeof messageType,
  address: string,
  options: Record<number, Uint8Array | undefined> = {},
): Message {
  const all: Record<number, Uint8Array | undefined> = {
    [optionCode.messageType]: Uint8Array.of(messageType[type]),
    [optionCode.serverIdentifier]: ips(server),
    [optionCode.subnetMask]: ips("255.255.255.0"),
    [optionCode.router]: ips(server),
    [optionCode.leaseTime]: u32(1000),
    ...options,
  };
  const entries = Object.entries(all).flatMap(([code, value]) =>
    value === undefined ? [] : [[Number(code), value] as const],
  );
  const addresses = {
    ciaddr: unspecified,
    yiaddr: Ip.parse(address),
    siaddr: unspecified,
    giaddr: unspecified,
  };
  return { ...to, op: BOOTREPLY, secs: 0, ...addresses, options: new Map(entries) };
}
