import { Prefix } from "../lib/prefix.ts";
import type { Expression } from "../linux/nftables/expressions.ts";

/** Where the addresses stand in the headers of IPv4 and IPv6. */
const saddr = { 4: { offset: 12, length: 4 }, 6: { offset: 8, length: 16 } } as const;
const daddr = { 4: { offset: 16, length: 4 }, 6: { offset: 24, length: 16 } } as const;
const nfproto = { 4: 2, 6: 10 } as const;

/** `return`. */
export const returns: Expression = { name: "immediate", register: 0, data: { verdict: "return" } };

/** `meta nfproto ipv4`. */
export function ofFamily(family: 4 | 6): Expression[] {
  return [
    { name: "meta", key: "nfproto", register: 1 },
    { name: "cmp", source: 1, op: "eq", data: Uint8Array.of(nfproto[family]) },
  ];
}

/** `ip saddr vmap @map`. */
export function saddrVerdict(family: 4 | 6, map: string): Expression[] {
  return [
    { name: "payload", base: "network", ...saddr[family], register: 1 },
    { name: "lookup", set: map, source: 1, register: 0 },
  ];
}

/** `ip daddr 10.0.0.0/8`. */
export function daddrIn(text: string): Expression[] {
  return addressIn(daddr, text);
}

/** `ip saddr 10.0.0.0/8`. */
export function saddrIn(text: string): Expression[] {
  return addressIn(saddr, text);
}

function addressIn(fields: typeof saddr | typeof daddr, text: string): Expression[] {
  const prefix = Prefix.parse(text);
  const { length } = fields[prefix.family];
  const mask = new Uint8Array(length);
  for (let i = 0; i < prefix.length; i++) mask[i >> 3] = (mask[i >> 3] as number) | (0x80 >> (i & 7));
  return [
    { name: "payload", base: "network", ...fields[prefix.family], register: 1 },
    { name: "bitwise", source: 1, register: 1, length, mask, xor: new Uint8Array(length) },
    { name: "cmp", source: 1, op: "eq", data: prefix.masked().ip.bytes },
  ];
}
