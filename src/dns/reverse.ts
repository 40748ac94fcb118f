import { Ip } from "../lib/ip.ts";
import type { Prefix } from "../lib/prefix.ts";
import { labelsOf, type WireName, wireLabel } from "./wire/name.ts";

const suffix4 = "\x07in-addr\x04arpa\0";
const suffix6 = "\x03ip6\x04arpa\0";

/** True where a name is in one of the two reverse trees, and so may be in a reverse zone. */
export function isReverse(name: WireName): boolean {
  return name.endsWith(suffix4) || name.endsWith(suffix6);
}

/**
 * The apexes of the reverse zones that together cover exactly the addresses of a prefix. Where its length is not at a
 * label's border (8 bits for IPv4, 4 for IPv6) these are several: 10.96.0.0/15 is 96.10 and 97.10.in-addr.arpa.
 */
export function reverseApexes(prefix: Prefix): WireName[] {
  const width = prefix.family === 4 ? 8 : 4;
  const labels = Math.ceil(prefix.length / width);
  const step = 1n << BigInt(prefix.ip.bits - labels * width);
  const apexes: WireName[] = [];
  for (let first = prefix.first; first <= prefix.last; first += step) {
    apexes.push(reverseLabels(Ip.fromBigInt(first, prefix.family), labels));
  }
  return apexes;
}

function reverseLabels(ip: Ip, count: number): WireName {
  let name = ip.family === 4 ? suffix4 : suffix6;
  for (let i = 0; i < count; i++) name = wireLabel(labelAt(ip, i)) + name;
  return name;
}

function labelAt(ip: Ip, index: number): string {
  if (ip.family === 4) return String(ip.bytes[index]);
  const byte = ip.bytes[index >> 1] as number;
  return (index % 2 === 0 ? byte >> 4 : byte & 15).toString(16);
}

/** The label by which an address stands in names of pods and endpoints: 10-244-1-7, fd00-10-244--7. */
export function dashed(ip: Ip): string {
  return ip.toString().replace(/[.:]/g, "-");
}

/** The address that a dashed label means, or undefined. */
export function undashed(label: string): Ip | undefined {
  return Ip.tryParse(label.replaceAll("-", ".")) ?? Ip.tryParse(label.replaceAll("-", ":"));
}

/**
 * The address that a name in a reverse tree stands for (RFC 1035 section 3.5, nibbles for IPv6 in RFC 3596), or the first
 * part of one, in hexadecimal digits: "4.3.2.1.in-addr.arpa" is "01020304", "2.1.in-addr.arpa" is "0102". Undefined for
 * a name that stands for none.
 */
export function reversedDigits(name: WireName): { digits: string; family: 4 | 6 } | undefined {
  const labels = labelsOf(name).reverse();
  const family = labels[1] === "in-addr" ? 4 : 6;
  const parts = labels.slice(2);
  if (parts.length > (family === 4 ? 4 : 32)) return undefined;
  if (family === 6) {
    return parts.every((part) => /^[0-9a-f]$/.test(part)) ? { digits: parts.join(""), family } : undefined;
  }
  if (!parts.every((part) => /^(0|[1-9][0-9]{0,2})$/.test(part) && Number(part) < 256)) return undefined;
  return { digits: parts.map((part) => Number(part).toString(16).padStart(2, "0")).join(""), family };
}

/** The bytes of an address as the RDATA of its A or AAAA record, one character each. */
export function addressRdata(ip: Ip): string {
  return String.fromCharCode(...ip.bytes);
}

/** The inverse of {@link addressRdata}. */
export function addressOf(rdata: string): Ip {
  return Ip.fromBytes(Buffer.from(rdata, "latin1"));
}

/** The bytes of an address (RDATA) in hexadecimal digits. */
export function digitsOf(rdata: string): string {
  return Buffer.from(rdata, "latin1").toString("hex");
}
