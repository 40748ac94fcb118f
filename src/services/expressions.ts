import type { Family } from "../lib/ip.ts";
import type { Expression, Verdict } from "../linux/nftables/index.ts";

/**
 * Pieces of rules at the level of nf_tables' registers, each of a form that nft's language has too: where it has not, as for
 * a key that is itself looked up in a map, nft 1.0.6 aborts when it lists the table.
 */

/** The k-th 32-bit word of the registers, by the number that the kernel shows: 1 to 4 where aligned, else 8 and up. */
export function word(k: number): number {
  return k % 4 === 0 ? 1 + k / 4 : 8 + k;
}

/** Words of an address. */
export function addressWords(family: Family): number {
  return family === 4 ? 1 : 4;
}

const VERDICT_REGISTER = 0;
const RTN_LOCAL = 2;
const IPS_DST_NAT = 1 << 5;
const NFT_REJECT_ICMPX_PORT_UNREACH = 1;

/** A number in the host's byte order, as marks and counters are. */
function native(value: number): Uint8Array {
  return new Uint8Array(new Uint32Array([value]).buffer);
}

/** The packet is of this family; in `inet` tables nft needs it to show address fields by name. */
export function isFamily(family: Family): Expression[] {
  return [
    { name: "meta", key: "nfproto", register: word(0) },
    { name: "cmp", op: "eq", source: word(0), data: Uint8Array.of(family === 4 ? 2 : 10) },
  ];
}

export function isProtocol(protocol: number): Expression[] {
  return [
    { name: "meta", key: "l4proto", register: word(0) },
    { name: "cmp", op: "eq", source: word(0), data: Uint8Array.of(protocol) },
  ];
}

export function loadSource(family: Family, at: number): Expression {
  const [offset, length] = family === 4 ? [12, 4] : [8, 16];
  return { name: "payload", base: "network", offset, length, register: word(at) };
}

export function loadDestination(family: Family, at: number): Expression {
  const [offset, length] = family === 4 ? [16, 4] : [24, 16];
  return { name: "payload", base: "network", offset, length, register: word(at) };
}

export function loadProtocol(at: number): Expression {
  return { name: "meta", key: "l4proto", register: word(at) };
}

/** The destination port of TCP, UDP and SCTP alike. */
export function loadPort(at: number): Expression {
  return { name: "payload", base: "transport", offset: 2, length: 2, register: word(at) };
}

/** Goes on where the registers from `at` are (or, with `not`, are not) a key of the set. */
export function inSet(set: string, at: number, not = false): Expression {
  return { name: "lookup", set, source: word(at), ...(not ? { flags: ["inv"] } : {}) };
}

/** Looks a key up and puts the map's value at `to`; without a hit the rule ends. */
export function fromMap(set: string, at: number, to: number): Expression {
  return { name: "lookup", set, source: word(at), register: word(to) };
}

/** Goes where the verdict map says. */
export function byVerdictMap(set: string, at: number): Expression {
  return { name: "lookup", set, source: word(at), register: VERDICT_REGISTER };
}

/** The destination address before its translation. */
export function loadOriginalDestination(family: Family, at: number): Expression {
  const key = family === 4 ? "daddr-ip" : "daddr-ip6";
  return { name: "ct", key, direction: "original", register: word(at) };
}

/** The destination port before its translation. */
export function loadOriginalPort(at: number): Expression {
  return { name: "ct", key: "proto-dst", direction: "original", register: word(at) };
}

/** The destination is not in 127.0.0.0/8, or not ::1; uses the words from `at`. */
export function isNotLoopback(family: Family, at: number): Expression[] {
  const load = loadDestination(family, at);
  if (family === 6) {
    const loopback = new Uint8Array(16);
    loopback[15] = 1;
    return [load, { name: "cmp", op: "neq", source: word(at), data: loopback }];
  }
  return [
    load,
    {
      name: "bitwise",
      source: word(at),
      register: word(at),
      length: 4,
      mask: Uint8Array.of(255, 0, 0, 0),
      xor: new Uint8Array(4),
    },
    { name: "cmp", op: "neq", source: word(at), data: Uint8Array.of(127, 0, 0, 0) },
  ];
}

/** The address is (or is not) one of this host; uses the word at `at`. */
export function isLocal(which: "saddr" | "daddr", at: number, not = false): Expression[] {
  return [
    { name: "fib", result: "type", flags: [which], register: word(at) },
    { name: "cmp", op: not ? "neq" : "eq", source: word(at), data: native(RTN_LOCAL) },
  ];
}

/** A number from `offset` to `offset + modulus - 1`, each as likely. */
export function randomSlot(modulus: number, offset: number, at: number): Expression {
  return {
    name: "numgen",
    type: "random",
    modulus,
    ...(offset === 0 ? {} : { offset }),
    register: word(at),
  };
}

/** Sets bits of the packet's mark and leaves the others. */
export function setMark(bits: number): Expression[] {
  return [
    { name: "meta", key: "mark", register: word(0) },
    {
      name: "bitwise",
      source: word(0),
      register: word(0),
      length: 4,
      mask: native(~bits >>> 0),
      xor: native(bits),
    },
    { name: "meta", key: "mark", source: word(0) },
  ];
}

/** Clears bits of the packet's mark and leaves the others. */
export function clearMark(bits: number): Expression[] {
  return [
    { name: "meta", key: "mark", register: word(0) },
    {
      name: "bitwise",
      source: word(0),
      register: word(0),
      length: 4,
      mask: native(~bits >>> 0),
      xor: native(0),
    },
    { name: "meta", key: "mark", source: word(0) },
  ];
}

/** Any of the bits is set in the packet's mark. */
export function hasMark(bits: number): Expression[] {
  return [{ name: "meta", key: "mark", register: word(0) }, ...anyBit(bits)];
}

/** The connection's destination was translated. */
export function isTranslated(): Expression[] {
  return [{ name: "ct", key: "status", register: word(0) }, ...anyBit(IPS_DST_NAT)];
}

function anyBit(bits: number): Expression[] {
  return [
    { name: "bitwise", source: word(0), register: word(0), length: 4, mask: native(bits), xor: native(0) },
    { name: "cmp", op: "neq", source: word(0), data: native(0) },
  ];
}

/** Translates the destination to the address and port in the registers from `at`. */
export function translate(family: Family, at: number): Expression {
  return {
    name: "nat",
    type: "dnat",
    family: family === 4 ? "ip" : "ip6",
    addressMin: word(at),
    portMin: word(at + addressWords(family)),
  };
}

/** Remembers, or makes young again, a map's element: key from `key`, value from `value`, for so many seconds. */
export function remember(set: string, key: number, value: number, seconds: number): Expression {
  return {
    name: "dynset",
    set,
    op: "update",
    key: word(key),
    data: word(value),
    timeout: seconds * 1000,
  };
}

export function goTo(verdict: Verdict["verdict"], chain?: string): Expression {
  return {
    name: "immediate",
    register: VERDICT_REGISTER,
    data: chain === undefined ? { verdict } : { verdict, chain },
  };
}

/** Takes the address of the interface by which the packet leaves, and any free port. */
export const masquerade: Expression = { name: "masq", flags: ["fully-random"] };

export const resetTcp: Expression = { name: "reject", type: "tcp-reset" };
export const refusePort: Expression = {
  name: "reject",
  type: "icmpx-unreach",
  code: NFT_REJECT_ICMPX_PORT_UNREACH,
};
