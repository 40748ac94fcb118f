import type { ResultRoute } from "../cni/result.ts";
import { Ip } from "../lib/ip.ts";
import { Prefix } from "../lib/prefix.ts";
import { MalformedDhcp, type Options, optionCode } from "./message.ts";

/* Typed values of options. Each reader is undefined where the option is absent, and throws MalformedDhcp where it is bad. */

/** An option of 32 bits: times in seconds. */
export function u32Option(options: Options, code: number): number | undefined {
  const bytes = options.get(code);
  if (bytes === undefined) return undefined;
  if (bytes.length !== 4) throw badLength(code, bytes.length);
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
}

/** An option of one byte. */
export function byteOption(options: Options, code: number): number | undefined {
  const bytes = options.get(code);
  if (bytes === undefined) return undefined;
  if (bytes.length !== 1) throw badLength(code, bytes.length);
  return bytes[0];
}

/** An option of addresses, one at least. */
export function ipsOption(options: Options, code: number): Ip[] | undefined {
  const bytes = options.get(code);
  if (bytes === undefined) return undefined;
  if (bytes.length === 0 || bytes.length % 4 !== 0) throw badLength(code, bytes.length);
  return Array.from({ length: bytes.length / 4 }, (_, i) => ipAt(bytes, i * 4));
}

/** A text, without the zero bytes that some servers put at its end. Undefined where nothing else is in it. */
export function textOption(options: Options, code: number): string | undefined {
  const bytes = options.get(code);
  if (bytes === undefined) return undefined;
  const text = new TextDecoder().decode(bytes).replace(/\0+$/, "");
  if (/\p{Cc}/u.test(text)) throw new MalformedDhcp(`option ${code} has control characters in its text`);
  return text === "" ? undefined : text;
}

/** Option 1 as a prefix length. */
export function maskOption(options: Options): number | undefined {
  const mask = u32Option(options, optionCode.subnetMask);
  if (mask === undefined) return undefined;
  const length = Math.clz32(~mask);
  if (mask !== maskOf(length)) throw new MalformedDhcp(`subnet mask ${mask.toString(16)} has gaps`);
  return length;
}

function maskOf(length: number): number {
  return length === 0 ? 0 : (0xffffffff << (32 - length)) >>> 0;
}

const RT_SCOPE_LINK = 253;

/** Option 121 (RFC 3442). A router of 0.0.0.0 means that the destination is on the link itself. */
export function classlessRoutes(options: Options): ResultRoute[] | undefined {
  const bytes = options.get(optionCode.classlessStaticRoute);
  if (bytes === undefined) return undefined;
  const routes: ResultRoute[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = bytes[at++] as number;
    const significant = Math.ceil(length / 8);
    if (length > 32 || at + significant + 4 > bytes.length) {
      throw new MalformedDhcp("option 121 is no list of routes");
    }
    const destination = new Uint8Array(4);
    destination.set(bytes.subarray(at, at + significant));
    const dst = new Prefix(Ip.fromBytes(destination), length).masked();
    const gw = ipAt(bytes, at + significant);
    routes.push(gw.isUnspecified() ? { dst, gw, scope: RT_SCOPE_LINK } : { dst, gw });
    at += significant + 4;
  }
  return routes;
}

/** Option 33 (RFC 2132 section 5.8): destinations whose class tells how long their prefix is. */
export function staticRoutes(options: Options): ResultRoute[] | undefined {
  const ips = ipsOption(options, optionCode.staticRoute);
  if (ips === undefined) return undefined;
  if (ips.length % 2 !== 0) throw badLength(optionCode.staticRoute, ips.length * 4);
  const routes: ResultRoute[] = [];
  for (let i = 0; i < ips.length; i += 2) {
    const [dst, gw] = [ips[i] as Ip, ips[i + 1] as Ip];
    // 0.0.0.0 is not legal here, and multicast has no class of networks.
    const length = classfulLength(dst);
    if (length !== undefined) routes.push({ dst: new Prefix(dst, length).masked(), gw });
  }
  return routes;
}

function classfulLength(ip: Ip): number | undefined {
  const first = ip.bytes[0] as number;
  if (first === 0 || first >= 224) return undefined;
  if (first < 128) return 8;
  return first < 192 ? 16 : 24;
}

const longestName = 255;

/** Option 119 (RFC 3397): names, compressed by pointers to earlier bytes of the option (RFC 1035 section 4.1.4). */
export function searchOption(options: Options): string[] | undefined {
  const bytes = options.get(optionCode.domainSearch);
  if (bytes === undefined) return undefined;
  const names: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    const { name, next } = readName(bytes, at);
    if (name !== "") names.push(name);
    at = next;
  }
  return names;
}

function readName(bytes: Uint8Array, start: number): { name: string; next: number } {
  const labels: string[] = [];
  let next: number | undefined;
  let length = 0;
  for (let at = start; ; ) {
    const head = bytes[at];
    if (head === undefined) throw new MalformedDhcp("option 119 has a name without end");
    if (head === 0) return { name: labels.join("."), next: next ?? at + 1 };
    if (head >= 0xc0) {
      const target = ((head & 0x3f) << 8) | (bytes[at + 1] ?? 0xff);
      // Only backwards, so that no name can go round in circles.
      if (target >= at) throw new MalformedDhcp("option 119 has a pointer that leads forward");
      next ??= at + 2;
      at = target;
      length += 1;
    } else {
      const label = new TextDecoder().decode(bytes.subarray(at + 1, at + 1 + head));
      if (head > 63 || at + 1 + head > bytes.length || !/^[A-Za-z0-9_-]+$/.test(label)) {
        throw new MalformedDhcp("option 119 has what is no label of a domain name");
      }
      labels.push(label);
      length += head + 1;
      at += head + 1;
    }
    if (length > longestName)
      throw new MalformedDhcp(`option 119 has a name longer than ${longestName} bytes`);
  }
}

function ipAt(bytes: Uint8Array, at: number): Ip {
  return Ip.fromBytes(bytes.slice(at, at + 4));
}

function badLength(code: number, length: number): MalformedDhcp {
  return new MalformedDhcp(`option ${code} has ${length} bytes`);
}
