import { InvalidInput } from "../../lib/errors.ts";
import { Ip } from "../../lib/ip.ts";
import { formatMac, parseMac } from "../../lib/mac.ts";
import { Prefix } from "../../lib/prefix.ts";
import { littleEndian, MalformedMessage } from "../netlink/codec.ts";

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
const hostOrder = 1;
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

const byId = new Map<number, DataType>(Object.values(dataTypes).map((type) => [type.id, type]));

/** One type, or several side by side (a concatenation). */
export type TypeSpec = TypeName | readonly TypeName[];

/** The fields of a type, each padded to four bytes in a concatenation, as registers are. */
export interface Layout {
  readonly concatenated: boolean;
  readonly fields: readonly { readonly type: DataType; readonly at: number }[];
  /** Bytes of a whole value. */
  readonly length: number;
}

const layouts = new Map<string, Layout>();

/** Where the fields of a value stand. Throws {@link InvalidInput} for a type without a name here. */
export function layoutOf(spec: TypeSpec): Layout {
  const cacheKey = typeof spec === "string" ? spec : spec.join(" . ");
  const known = layouts.get(cacheKey);
  if (known !== undefined && known.concatenated === (typeof spec !== "string")) return known;
  const concatenated = typeof spec !== "string";
  // nft keeps six bits of type for each field in one 32-bit number.
  if (concatenated && (spec.length < 2 || spec.length > 5)) {
    throw new InvalidInput("type", spec, "is not a concatenation of 2 to 5 types");
  }
  let length = 0;
  const fields = (concatenated ? spec : [spec]).map((name) => {
    if (!Object.hasOwn(dataTypes, name)) throw new InvalidInput("type", name, "is not a known data type");
    const type = dataTypes[name];
    const at = length;
    length += concatenated ? (type.size + 3) & ~3 : type.size;
    return { type, at };
  });
  const layout = { concatenated, fields, length };
  layouts.set(cacheKey, layout);
  return layout;
}

/** nft's number of a type: six bits for each field of a concatenation. */
export function typeId(spec: TypeSpec): number {
  return layoutOf(spec).fields.reduce((id, { type }) => (id * 64 + type.id) % 2 ** 32, 0);
}

/** The type that a number and a length of {@link typeId} stand for; undefined where Weft has no name for it. */
export function typeSpecOf(id: number, length: number): TypeSpec | undefined {
  const names: TypeName[] = [];
  for (let rest = id; rest > 0; rest = Math.floor(rest / 64)) {
    const type = byId.get(rest % 64);
    if (type === undefined) return undefined;
    names.unshift(type.name);
  }
  const [first] = names;
  if (first === undefined || names.length > 5) return undefined;
  const spec = names.length === 1 ? first : names;
  return layoutOf(spec).length === length ? spec : undefined;
}

/** Writes a whole value: a single one, or as many as the type has fields. */
export function writeValue(layout: Layout, value: Datum | readonly Datum[], bytes: Uint8Array, at = 0): void {
  const { fields } = layout;
  if (!isList(value)) {
    if (layout.concatenated) throw wrongCount(value, layout);
    (fields[0] as Layout["fields"][number]).type.write(bytes, at, value);
    return;
  }
  if (!layout.concatenated || value.length !== fields.length) throw wrongCount(value, layout);
  for (let i = 0; i < fields.length; i++) {
    const field = fields[i] as Layout["fields"][number];
    field.type.write(bytes, at + field.at, value[i] as Datum);
  }
}

function isList(value: Datum | readonly Datum[]): value is readonly Datum[] {
  return Array.isArray(value);
}

function wrongCount(value: unknown, layout: Layout): InvalidInput {
  const names = layout.fields.map(({ type }) => type.name);
  const problem = layout.concatenated ? `is not a list of ${names.length} values` : "is not a single value";
  return new InvalidInput("value", value, `${problem} (${names.join(" . ")})`);
}

/** The bytes of a whole value. */
export function encodeValue(layout: Layout, value: Datum | readonly Datum[]): Uint8Array {
  const bytes = new Uint8Array(layout.length);
  writeValue(layout, value, bytes);
  return bytes;
}

/** A value that was written with {@link writeValue}, in plain text and numbers. */
export function decodeValue(layout: Layout, bytes: Uint8Array): string | number | (string | number)[] {
  if (bytes.length < layout.length) {
    throw new MalformedMessage(`a value of ${bytes.length} bytes where ${layout.length} were expected`);
  }
  const values = layout.fields.map(({ type, at }) => type.read(bytes.subarray(at, at + type.size)));
  return layout.concatenated ? values : (values[0] as string | number);
}

/** The lowest and the highest value of a prefix or range, as bytes; equal for a single value. */
export function encodeRange(layout: Layout, value: Datum | readonly Datum[]): [Uint8Array, Uint8Array] {
  const from = new Uint8Array(layout.length);
  const to = new Uint8Array(layout.length);
  const values = isList(value) ? value : [value];
  if (isList(value) !== layout.concatenated || values.length !== layout.fields.length) {
    throw wrongCount(value, layout);
  }
  for (const [i, { type, at }] of layout.fields.entries()) {
    const value = values[i] as Datum;
    const [first, last] = bounds(type, value);
    type.write(from, at, first);
    type.write(to, at, last);
    if (compareBytes(type, from, to, at) > 0) {
      throw new InvalidInput("value", value, "is a range that ends before it begins");
    }
  }
  return [from, to];
}

/** Compares one field of two values as the number that it is. */
function compareBytes(type: DataType, a: Uint8Array, b: Uint8Array, at: number): number {
  const little = type.byteorder === hostOrder && littleEndian;
  for (let i = 0; i < type.size; i++) {
    const place = at + (little ? type.size - 1 - i : i);
    const difference = (a[place] as number) - (b[place] as number);
    if (difference !== 0) return difference;
  }
  return 0;
}

function bounds(type: DataType, value: Datum): [Datum, Datum] {
  if (typeof value !== "string") return [value, value];
  if (value.includes("/")) {
    const prefix = Prefix.parse(value, "value");
    if (!prefix.isMasked()) throw new InvalidInput("value", value, `has host bits set: ${prefix.masked()}`);
    return [Ip.fromBigInt(prefix.first, prefix.family), Ip.fromBigInt(prefix.last, prefix.family)];
  }
  // A dash is part of some names ("ipv6-icmp", "br-lan") and of dashed MAC addresses: only numbers and IPs have ranges.
  if (!value.includes("-") || type.size === 6 || !/^[0-9a-fA-F.:x]+-[0-9a-fA-F.:x]+$/.test(value)) {
    return [value, value];
  }
  const [first, last] = value.split("-") as [string, string];
  return [first, last];
}

/** The text of a range as {@link encodeRange} takes it; a single value where both ends are the same. */
export function decodeRange(
  layout: Layout,
  from: Uint8Array,
  to: Uint8Array,
): string | number | (string | number)[] {
  if (from.length < layout.length || to.length < layout.length) {
    throw new MalformedMessage(
      `a range of ${from.length} and ${to.length} bytes where ${layout.length} were expected`,
    );
  }
  const values = layout.fields.map(({ type, at }) => {
    const first = from.subarray(at, at + type.size);
    const last = to.subarray(at, at + type.size);
    if (first.every((byte, i) => byte === last[i])) return type.read(first);
    return prefixOf(type, first, last) ?? `${plain(type, first)}-${plain(type, last)}`;
  });
  return layout.concatenated ? values : (values[0] as string | number);
}

// Ends of ranges are numbers even where single values have names: "6-17", not "tcp-udp".
function plain(type: DataType, bytes: Uint8Array): string {
  const value = type.read(bytes);
  if (typeof value === "number" || type.size > 4 || type.name === "ipv4_addr") return String(value);
  const little = type.byteorder === hostOrder && littleEndian;
  const ordered = little ? bytes.toReversed() : bytes;
  return String(ordered.reduce((sum, byte) => sum * 256 + byte, 0));
}

function prefixOf(type: DataType, first: Uint8Array, last: Uint8Array): string | undefined {
  if (type.name !== "ipv4_addr" && type.name !== "ipv6_addr") return undefined;
  const low = Ip.fromBytes(first);
  const size = Ip.fromBytes(last).toBigInt() - low.toBigInt() + 1n;
  if (size <= 0n || (size & (size - 1n)) !== 0n || low.toBigInt() % size !== 0n) return undefined;
  return `${low}/${low.bits - (size.toString(2).length - 1)}`;
}
