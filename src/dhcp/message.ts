import { WeftError } from "../lib/errors.ts";
import { Ip } from "../lib/ip.ts";

/** The codes of options that Weft itself reads or writes (RFC 2132, 3397, 3442, 4361). */
export const optionCode = {
  pad: 0,
  subnetMask: 1,
  router: 3,
  domainNameServer: 6,
  hostName: 12,
  domainName: 15,
  staticRoute: 33,
  requestedAddress: 50,
  leaseTime: 51,
  overload: 52,
  messageType: 53,
  serverIdentifier: 54,
  parameterRequestList: 55,
  message: 56,
  maximumMessageSize: 57,
  renewalTime: 58,
  rebindingTime: 59,
  vendorClassIdentifier: 60,
  clientIdentifier: 61,
  userClass: 77,
  domainSearch: 119,
  classlessStaticRoute: 121,
  end: 255,
} as const;

/** Option 53 (RFC 2132 section 9.6). */
export const messageType = {
  discover: 1,
  offer: 2,
  request: 3,
  decline: 4,
  ack: 5,
  nak: 6,
  release: 7,
  inform: 8,
} as const;

/** The name of a message type, such as "DHCPOFFER", for logs. */
export function messageTypeName(type: number | undefined): string {
  const found = Object.entries(messageType).find(([, value]) => value === type);
  return found === undefined ? `message type ${type}` : `DHCP${found[0].toUpperCase()}`;
}

export const BOOTREQUEST = 1;
export const BOOTREPLY = 2;

/** The values of options by code. What a message had in several parts is joined (RFC 3396). */
export type Options = ReadonlyMap<number, Uint8Array>;

/** A DHCP message (RFC 2131 section 2) of a client on Ethernet. */
export interface Message {
  op: number;
  xid: number;
  /** Seconds since the client began. */
  secs: number;
  /** The server has to answer by broadcast, since the client cannot take a unicast. */
  broadcast: boolean;
  ciaddr: Ip;
  yiaddr: Ip;
  siaddr: Ip;
  giaddr: Ip;
  /** Six bytes. */
  chaddr: Uint8Array;
  options: Options;
}

/** Bytes that are no DHCP message, or an option whose value cannot be what it says. */
export class MalformedDhcp extends WeftError {
  constructor(problem: string) {
    super("malformed-dhcp", `malformed DHCP message: ${problem}`);
  }
}

export const unspecified: Ip = Ip.fromBytes(new Uint8Array(4));

const HTYPE_ETHERNET = 1;
const MAGIC_COOKIE = 0x63825363;
const BROADCAST = 0x8000;
const FIXED = 236;
const optionsAt = FIXED + 4;
const sname = { start: 44, end: 108 };
const file = { start: 108, end: 236 };
/** RFC 1542 section 2.1: relays may drop what is shorter. */
const shortest = 300;
const longestOption = 255;

/** The bytes of a message. An option longer than 255 bytes goes in several parts (RFC 3396). */
export function encodeMessage(message: Message): Uint8Array {
  const parts: number[] = [];
  for (const [code, value] of message.options) {
    // An option of no length is written once all the same.
    for (let at = 0; at === 0 || at < value.length; at += longestOption) {
      const part = value.subarray(at, at + longestOption);
      parts.push(code, part.length, ...part);
    }
  }
  parts.push(optionCode.end);
  const bytes = new Uint8Array(Math.max(shortest, optionsAt + parts.length));
  const view = new DataView(bytes.buffer);
  bytes.set([message.op, HTYPE_ETHERNET, message.chaddr.length, 0]);
  view.setUint32(4, message.xid);
  view.setUint16(8, Math.min(message.secs, 0xffff));
  view.setUint16(10, message.broadcast ? BROADCAST : 0);
  bytes.set(message.ciaddr.bytes, 12);
  bytes.set(message.yiaddr.bytes, 16);
  bytes.set(message.siaddr.bytes, 20);
  bytes.set(message.giaddr.bytes, 24);
  bytes.set(message.chaddr, 28);
  view.setUint32(FIXED, MAGIC_COOKIE);
  bytes.set(parts, optionsAt);
  return bytes;
}

/** Reads a message. Throws {@link MalformedDhcp}. */
export function decodeMessage(bytes: Uint8Array): Message {
  if (bytes.length < optionsAt) throw new MalformedDhcp(`${bytes.length} bytes are too few`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (view.getUint32(FIXED) !== MAGIC_COOKIE) throw new MalformedDhcp("without the magic cookie");
  const [op = 0, htype, hlen] = bytes;
  if (htype !== HTYPE_ETHERNET || hlen !== 6) {
    throw new MalformedDhcp(`hardware address of type ${htype} and length ${hlen}, not of Ethernet`);
  }
  const ip = (at: number) => Ip.fromBytes(bytes.slice(at, at + 4));
  return {
    op,
    xid: view.getUint32(4),
    secs: view.getUint16(8),
    broadcast: (view.getUint16(10) & BROADCAST) !== 0,
    ciaddr: ip(12),
    yiaddr: ip(16),
    siaddr: ip(20),
    giaddr: ip(24),
    chaddr: bytes.slice(28, 34),
    options: decodeOptions(bytes),
  };
}

/** The options field, then `file` and `sname` where option 52 says that they hold options too (RFC 3396 section 5). */
function decodeOptions(bytes: Uint8Array): Map<number, Uint8Array> {
  const parts = new Map<number, Uint8Array[]>();
  readOptions(bytes.subarray(optionsAt), parts);
  const overload = parts.get(optionCode.overload)?.[0]?.[0] ?? 0;
  if ((overload & 1) !== 0) readOptions(bytes.subarray(file.start, file.end), parts);
  if ((overload & 2) !== 0) readOptions(bytes.subarray(sname.start, sname.end), parts);
  const options = new Map<number, Uint8Array>();
  for (const [code, values] of parts) {
    const [first] = values;
    options.set(code, first !== undefined && values.length === 1 ? first.slice() : join(values));
  }
  return options;
}

function readOptions(bytes: Uint8Array, parts: Map<number, Uint8Array[]>): void {
  for (let at = 0; at < bytes.length; ) {
    const code = bytes[at++] as number;
    if (code === optionCode.pad) continue;
    if (code === optionCode.end) return;
    const length = bytes[at++];
    if (length === undefined || at + length > bytes.length) {
      throw new MalformedDhcp(`option ${code} says more bytes than are left`);
    }
    const values = parts.get(code) ?? [];
    parts.set(code, values);
    values.push(bytes.subarray(at, at + length));
    at += length;
  }
}

function join(values: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(values.reduce((length, value) => length + value.length, 0));
  let at = 0;
  for (const value of values) {
    joined.set(value, at);
    at += value.length;
  }
  return joined;
}
