import { expect, test } from "bun:test";
import { Ip } from "../../lib/ip.ts";
import { type Datum, dataTypes, type TypeName, type TypeSpec } from "./datatypes.ts";
import {
  decodeRange,
  decodeValue,
  encodeRange,
  encodeValue,
  layoutOf,
  typeId,
  typeSpecOf,
} from "./values.ts";

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

// Bytes as nft 1.0.6 writes them on a little-endian machine.
const values: [spec: TypeSpec, value: Datum | Datum[], bytes: string, back?: unknown][] = [
  ["ipv4_addr", "10.96.0.1", "0a600001"],
  ["ipv4_addr", Ip.parse("10.96.0.1"), "0a600001", "10.96.0.1"],
  ["ipv6_addr", "fd00::1", "fd000000000000000000000000000001"],
  ["ipv6_addr", "::ffff:10.0.0.1", "00000000000000000000ffff0a000001"],
  ["inet_proto", "tcp", "06"],
  ["inet_proto", 17, "11", "udp"],
  ["inet_proto", 254, "fe"],
  ["inet_service", 80, "0050"],
  ["inet_service", "8080", "1f90", 8080],
  ["mark", 0x80000, "00000800"],
  ["mark", "0xffffffff", "ffffffff", 0xffffffff],
  ["ifname", "weft0", "77656674300000000000000000000000"],
  ["ether_addr", "0a:58:0a:f4:01:07", "0a580af40107"],
  ["ether_type", "ip6", "86dd"],
  ["ct_state", "established,related", "06000000"],
  ["ct_state", 128, "80000000"],
  ["icmpv6_type", "nd-router-advert", "86"],
  ["fib_addrtype", "local", "02000000"],
  [["ipv4_addr", "inet_proto", "inet_service"], ["10.0.0.1", "tcp", 80], "0a0000010600000000500000"],
  [["inet_proto", "ipv6_addr"], ["udp", "::1"], "1100000000000000000000000000000000000001"],
];

test.each(values)("%j %j is %s in bytes and back", (spec, value, bytes, back = value as unknown) => {
  const layout = layoutOf(spec);
  expect(hex(encodeValue(layout, value))).toBe(bytes);
  expect(decodeValue(layout, encodeValue(layout, value)) as unknown).toEqual(back);
});

const wrong: [spec: TypeSpec, value: Datum | Datum[], message: string][] = [
  ["ipv4_addr", "10.0.0.256", '"10.0.0.256" is not an IPv4 address'],
  ["ipv4_addr", "10.0.0", '"10.0.0" is not an IPv4 address'],
  ["ipv4_addr", "010.0.0.1", '"010.0.0.1" is not an IPv4 address'],
  ["ipv4_addr", "1.2.3.4.5", '"1.2.3.4.5" is not an IPv4 address'],
  ["ipv4_addr", "fd00::1", '"fd00::1" is not an IPv4 address'],
  ["ipv6_addr", Ip.parse("10.0.0.1"), '"10.0.0.1" is not an IPv6 address'],
  ["inet_service", 65536, "65536 is not a number from 0 to 65535"],
  ["inet_service", -1, "-1 is not a number from 0 to 65535"],
  ["inet_service", 1.5, "1.5 is not a number from 0 to 65535"],
  ["inet_service", "http", '"http" is not a number from 0 to 65535'],
  ["inet_service", "", '"" is not a number from 0 to 65535'],
  ["inet_proto", "tpc", '"tpc" is not a number from 0 to 255 or one of icmp,'],
  ["inet_proto", "toString", '"toString" is not a number'],
  ["mark", 2 ** 32, "4294967296 is not a number from 0 to 4294967295"],
  ["ifname", "a-name-of-16-byte", "is not an interface name of 1 to 15 bytes"],
  ["ifname", "", "is not an interface name of 1 to 15 bytes"],
  ["ether_addr", "0a:58", "is not a MAC address"],
  ["ct_state", "established,relatd", '"relatd" is none of invalid, established,'],
  ["ipv4_addr", ["10.0.0.1"], "is not a single value (ipv4_addr)"],
  [["ipv4_addr", "inet_service"], "10.0.0.1", "is not a list of 2 values (ipv4_addr . inet_service)"],
  [["ipv4_addr", "inet_service"], ["10.0.0.1"], "is not a list of 2 values (ipv4_addr . inet_service)"],
];

test.each(wrong)("%j %j is refused", (spec, value, message) => {
  expect(() => encodeValue(layoutOf(spec), value)).toThrow(message);
});

test("types are refused that nft cannot describe", () => {
  expect(() => layoutOf("ipv5_addr" as TypeName)).toThrow('"ipv5_addr" is not a known data type');
  expect(() => layoutOf(["ipv4_addr"])).toThrow("is not a concatenation of 2 to 5 types");
  expect(() => layoutOf(new Array<TypeName>(6).fill("mark"))).toThrow(
    "is not a concatenation of 2 to 5 types",
  );
});

const ranges: [spec: TypeSpec, value: Datum | Datum[], from: string, to: string, back?: unknown][] = [
  ["ipv4_addr", "10.0.0.0/8", "0a000000", "0affffff"],
  ["ipv4_addr", "0.0.0.0/0", "00000000", "ffffffff"],
  ["ipv4_addr", "10.0.0.1/32", "0a000001", "0a000001", "10.0.0.1"],
  ["ipv4_addr", "10.0.0.1-10.0.0.9", "0a000001", "0a000009"],
  ["ipv4_addr", "10.0.0.0-10.0.0.255", "0a000000", "0a0000ff", "10.0.0.0/24"],
  ["ipv6_addr", "fd00::/127", "fd000000000000000000000000000000", "fd000000000000000000000000000001"],
  ["inet_service", "30000-32767", "7530", "7fff"],
  ["inet_service", 80, "0050", "0050"],
  ["inet_proto", "6-17", "06", "11"],
  ["inet_proto", "ipv6-icmp", "3a", "3a"],
  ["ifname", "dead-beef", "646561642d6265656600000000000000", "646561642d6265656600000000000000"],
  ["ifname", "br-lan", "62722d6c616e00000000000000000000", "62722d6c616e00000000000000000000"],
  [["ipv4_addr", "inet_service"], ["10.0.0.0/24", "5-9"], "0a00000000050000", "0a0000ff00090000"],
];

test.each(ranges)("%p %p reaches from %s to %s", (spec, value, from, to, back = value as unknown) => {
  const layout = layoutOf(spec);
  const [first, last] = encodeRange(layout, value);
  expect([hex(first), hex(last)]).toEqual([from, to]);
  expect(decodeRange(layout, first, last) as unknown).toEqual(back);
});

test.each([
  ["ipv4_addr", "10.0.0.1/8", "has host bits set: 10.0.0.0/8"],
  ["ipv4_addr", "10.0.0.9-10.0.0.1", "is a range that ends before it begins"],
  ["ipv4_addr", "10.0.0.1-", "is not an IPv4 address"],
  ["ipv4_addr", "fd00::/64", "is not an IPv4 address"],
  ["inet_service", "9-5", "is a range that ends before it begins"],
  ["mark", "256-1", "is a range that ends before it begins"],
] as const)("the range %p %p is refused", (spec, value, message) => {
  expect(() => encodeRange(layoutOf(spec), value)).toThrow(message);
});

test("numbers of types are nft's, six bits for each field", () => {
  expect(typeId(["ipv4_addr", "inet_proto", "inet_service"])).toBe(0x730d);
  expect(typeId(["ipv4_addr", "inet_proto", "inet_service", "integer"])).toBe(0x1cc344);
  for (const name of Object.keys(dataTypes) as TypeName[]) {
    expect(typeSpecOf(typeId(name), layoutOf(name).length)).toBe(name);
    const pair = [name, "ipv6_addr"] as const;
    expect(typeSpecOf(typeId(pair), layoutOf(pair).length)).toEqual(pair);
  }
  expect(typeSpecOf(7, 5)).toBeUndefined();
  expect(typeSpecOf(63, 4)).toBeUndefined();
  expect(typeSpecOf(0, 4)).toBeUndefined();
});
