import { InvalidInput } from "../../lib/errors.ts";
import { Ip } from "../../lib/ip.ts";
import { formatMac, parseMac } from "../../lib/mac.ts";
import { littleEndian } from "../netlink/codec.ts";

/**
 * One value of a key or of a map's data: an address, protocol, interface name or MAC address as text, a port, mark or
 * other number as a number. Protocols also go by name ("tcp"). What is read back is text or number, never `Ip`.
 * In a set with intervals a value may be a prefix ("10.0.0.0/8") or a range ("10.0.0.1-10.0.0.9", "30000-32767").
 */
export type Datum = string | number | Ip;

/** A data type of nft: its number there (part of a set's description, so that `nft list` knows it), its size in bytes. */
export interface DataType {
  readonly name: TypeName;
  readonly id: number;
  readonly size: number;
  readonly byteorder: ByteOrder;
  /** Writes a value at an offset; the bytes there are zero before. */
  write(bytes: Uint8Array, at: number, value: Datum): void;
  read(bytes: Uint8Array): string | number;
}

/** enum byteorder of nft, as it stands in a set's user data. */
export type ByteOrder = 0 | 1 | 2;
const anyOrder = 0;
export const hostOrder = 1;
const networkOrder = 2;

/** Protocols by name, those that nft prints by name on a machine without /etc/protocols too. */
export const protocols = {
  icmp: 1,
  igmp: 2,
  tcp: 6,
  udp: 17,
  dccp: 33,
  gre: 47,
  esp: 50,
  ah: 51,
  "ipv6-icmp": 58,
  comp: 108,
  sctp: 132,
  udplite: 136,
} as const;

const nfProtocols = { ipv4: 2, arp: 3, netdev: 5, bridge: 7, ipv6: 10 };
const ctStates = { invalid: 1, established: 2, related: 4, new: 8, untracked: 64 };
const ctDirections = { original: 0, reply: 1 };
const ctStatus = { expected: 1, "seen-reply": 2, assured: 4, confirmed: 8, snat: 16, dnat: 32, dying: 512 };
const addressTypes = {
  unspec: 0,
  unicast: 1,
  local: 2,
  broadcast: 3,
  anycast: 4,
  multicast: 5,
  blackhole: 6,
  unreachable: 7,
  prohibit: 8,
};
const packetTypes = { host: 0, broadcast: 1, multicast: 2, other: 3 };
const etherTypes = { ip: 0x0800, arp: 0x0806, vlan: 0x8100, ip6: 0x86dd };
const icmpTypes = {
  "echo-reply": 0,
  "destination-unreachable": 3,
  redirect: 5,
  "echo-request": 8,
  "router-advertisement": 9,
  "router-solicitation": 10,
  "time-exceeded": 11,
  "parameter-problem": 12,
  "timestamp-request": 13,
  "timestamp-reply": 14,
};
const icmpv6Types = {
  "destination-unreachable": 1,
  "packet-too-big": 2,
  "time-exceeded": 3,
  "parameter-problem": 4,
  "echo-request": 128,
  "echo-reply": 129,
  "mld-listener-query": 130,
  "mld-listener-report": 131,
  "mld-listener-done": 132,
  "nd-router-solicit": 133,
  "nd-router-advert": 134,
  "nd-neighbor-solicit": 135,
  "nd-neighbor-advert": 136,
  "nd-redirect": 137,
};
const tcpFlags = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16, urg: 32, ecn: 64, cwr: 128 };

type Shape = Omit<DataType, "name">;

/** A number of 1, 2 or 4 bytes, which may also go by name. */
function number(
  id: number,
  size: 1 | 2 | 4,
  byteorder: ByteOrder,
  names: Readonly<Record<string, number>> = {},
): Shape {
  const little = byteorder === hostOrder && littleEndian;
  const most = 2 ** (8 * size) - 1;
  const byName = new Map(Object.entries(names));
  const byNumber = new Map(Object.entries(names).map(([name, value]) => [value, name]));
  return {
    id,
    size,
    byteorder,
    write: (bytes, at, value) => {
      const plain = typeof value === "number" ? value : (byName.get(value as string) ?? parseNumber(value));
      if (plain >>> 0 !== plain || plain > most) {
        throw new InvalidInput("value", value, `is not ${expected(most, names)}`);
      }
      if (size === 1) {
        bytes[at] = plain;
      } else if (size === 2 && !little) {
        bytes[at] = plain >>> 8;
        bytes[at + 1] = plain;
      } else {
        for (let i = 0; i < size; i++) bytes[at + i] = plain >>> (8 * (little ? i : size - 1 - i));
      }
    },
    read: (bytes) => {
      let value = 0;
      for (let i = 0; i < size; i++) value = value * 256 + (bytes[little ? size - 1 - i : i] as number);
      return byNumber.get(value) ?? value;
    },
  };
}

/** A number written in decimal or with 0x; NaN for other words. */
function parseNumber(value: Datum): number {
  if (typeof value !== "string" || value === "") return Number.NaN;
  let number = 0;
  for (let i = 0; i < value.length; i++) {
    const digit = value.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return /^0x[0-9a-fA-F]+$/.test(value) ? Number(value) : Number.NaN;
    number = number * 10 + digit;
  }
  return number;
}

function expected(most: number, names: Readonly<Record<string, number>>): string {
  const known = Object.keys(names);
  return `a number from 0 to ${most}${known.length > 0 ? ` or one of ${known.join(", ")}` : ""}`;
}

/** Bits that go by name: "established,related" in text. */
function bitmask(id: number, size: 1 | 4, byteorder: ByteOrder, names: Record<string, number>): Shape {
  const plain = number(id, size, byteorder);
  return {
    ...plain,
    write: (bytes, at, value) => {
      if (typeof value !== "string") return plain.write(bytes, at, value);
      let bits = 0;
      for (const word of value.split(",")) {
        const bit = Object.hasOwn(names, word) ? (names[word] as number) : parseNumber(word);
        if (Number.isNaN(bit)) {
          throw new InvalidInput("value", word, `is none of ${Object.keys(names).join(", ")}`);
        }
        bits = (bits | bit) >>> 0;
      }
      plain.write(bytes, at, bits);
    },
    read: (bytes) => {
      const value = plain.read(bytes) as number;
      const words = Object.entries(names).filter(([, bit]) => (value & bit) !== 0);
      const known = words.reduce((sum, [, bit]) => sum | bit, 0);
      return words.length > 0 && known === value ? words.map(([word]) => word).join(",") : value;
    },
  };
}

function address(id: number, size: 4 | 16): Shape {
  const family = size === 4 ? 4 : 6;
  return {
    id,
    size,
    byteorder: networkOrder,
    write: (bytes, at, value) => {
      if (typeof value === "string" && size === 4 && writeQuad(bytes, at, value)) return;
      const ip = value instanceof Ip ? value : Ip.tryParse(String(value));
      if (ip === undefined || ip.family !== family) {
        throw new InvalidInput("value", value, `is not an IPv${family} address`);
      }
      bytes.set(ip.bytes, at);
    },
    read: (bytes) => Ip.fromBytes(bytes.subarray(0, size)).toString(),
  };
}

// Ten thousand elements in one transaction are common, and parsing their text is most of the work: a dotted quad is
// read here without making an object. False leaves the word to Ip, which also says what is wrong with it.
function writeQuad(bytes: Uint8Array, at: number, text: string): boolean {
  let part = 0;
  let digits = 0;
  let octet = 0;
  for (let i = 0; i <= text.length; i++) {
    const code = i < text.length ? text.charCodeAt(i) : 46;
    if (code === 46) {
      if (digits === 0 || part > 3) return false;
      bytes[at + part++] = octet;
      octet = 0;
      digits = 0;
    } else {
      if (code < 48 || code > 57 || (digits > 0 && octet === 0)) return false;
      octet = octet * 10 + code - 48;
      if (octet > 255) return false;
      digits++;
    }
  }
  return part === 4;
}

const mac: Shape = {
  id: 9,
  size: 6,
  byteorder: networkOrder,
  write: (bytes, at, value) => bytes.set(parseMac(String(value), "value"), at),
  read: (bytes) => formatMac(bytes.subarray(0, 6)),
};

const ifname: Shape = {
  id: 41,
  size: 16,
  byteorder: hostOrder,
  write: (bytes, at, value) => {
    const name = new TextEncoder().encode(String(value));
    if (name.length === 0 || name.length > 15) {
      throw new InvalidInput("value", value, "is not an interface name of 1 to 15 bytes");
    }
    bytes.set(name, at);
  },
  read: (bytes) => {
    const end = bytes.indexOf(0);
    return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
  },
};

const shapes = {
  ipv4_addr: address(7, 4),
  ipv6_addr: address(8, 16),
  ether_addr: mac,
  ether_type: number(10, 2, networkOrder, etherTypes),
  inet_proto: number(12, 1, anyOrder, protocols),
  inet_service: number(13, 2, networkOrder),
  nf_proto: number(2, 1, anyOrder, nfProtocols),
  icmp_type: number(14, 1, networkOrder, icmpTypes),
  icmpv6_type: number(29, 1, networkOrder, icmpv6Types),
  icmp_code: number(32, 1, networkOrder),
  icmpv6_code: number(33, 1, networkOrder),
  tcp_flag: bitmask(15, 1, networkOrder, tcpFlags),
  dscp: number(36, 1, networkOrder),
  mark: number(19, 4, hostOrder),
  /** A number without further meaning, such as that of `numgen`. */
  integer: number(4, 4, hostOrder),
  iface_index: number(20, 4, hostOrder),
  iface_type: number(21, 2, hostOrder),
  ifname,
  uid: number(24, 4, hostOrder),
  gid: number(25, 4, hostOrder),
  ct_state: bitmask(26, 4, hostOrder, ctStates),
  ct_dir: number(27, 1, anyOrder, ctDirections),
  ct_status: bitmask(28, 4, hostOrder, ctStatus),
  pkt_type: number(31, 1, hostOrder, packetTypes),
  devgroup: number(35, 4, hostOrder),
  fib_addrtype: number(38, 4, hostOrder, addressTypes),
  boolean: number(39, 1, anyOrder),
  realm: number(22, 4, hostOrder),
} satisfies Record<string, Shape>;

/** A data type by nft's name, as in `type ipv4_addr . inet_service`. */
export type TypeName = keyof typeof shapes;

/** The types of keys and map data. */
export const dataTypes = Object.fromEntries(
  Object.entries(shapes).map(([name, shape]) => [name, { ...shape, name }]),
) as unknown as Readonly<Record<TypeName, DataType>>;

/** One type, or several side by side (a concatenation). */
export type TypeSpec = TypeName | readonly TypeName[];
