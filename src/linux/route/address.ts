import { Ip } from "../../lib/ip.ts";
import { Prefix } from "../../lib/prefix.ts";
import { ip, MalformedMessage, schema, text, u8, u32, type Value, type Writer } from "../netlink/codec.ts";
import { Bits, fixed, Names, struct } from "../netlink/types.ts";
import type { LinkRef } from "./link.ts";
import type { Body, Resolver } from "./resolver.ts";

export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
export const RTM_GETADDR = 22;

export const AF_INET = 2;
export const AF_INET6 = 10;

/** rtm_scope and ifa_scope: how far an address or a route's destination is. */
export const scope = new Names("scope", { global: 0, site: 200, link: 253, host: 254, nowhere: 255 });
export type Scope = "global" | "site" | "link" | "host" | "nowhere" | number;

const flagBits = {
  secondary: 0x01,
  nodad: 0x02,
  optimistic: 0x04,
  dadfailed: 0x08,
  homeaddress: 0x10,
  deprecated: 0x20,
  tentative: 0x40,
  permanent: 0x80,
  mngtmpaddr: 0x100,
  noprefixroute: 0x200,
  mcautojoin: 0x400,
  "stable-privacy": 0x800,
};

/** IFA_F_*, by the names that `ip address` uses. */
export type AddressFlag = keyof typeof flagBits;
const flags = new Bits("address flag", flagBits);

const ifaddrmsg = struct("ifaddrmsg", {
  family: fixed.u8,
  prefixLength: fixed.u8,
  flags: fixed.u8,
  scope: fixed.u8,
  index: fixed.u32,
});

const cacheInfoStruct = struct("ifa_cacheinfo", {
  preferred: fixed.u32,
  valid: fixed.u32,
  created: fixed.u32,
  updated: fixed.u32,
});

const attributes = schema({
  address: [1 /* IFA_ADDRESS */, ip],
  local: [2 /* IFA_LOCAL */, ip],
  label: [3 /* IFA_LABEL */, text],
  broadcast: [4 /* IFA_BROADCAST */, ip],
  cacheInfo: [6 /* IFA_CACHEINFO */, cacheInfoStruct],
  flags: [8 /* IFA_FLAGS */, u32],
  metric: [9 /* IFA_RT_PRIORITY */, u32],
  protocol: [11 /* IFA_PROTO */, u8],
});

/** An address of a link. */
export interface Address {
  /** The link's index. */
  link: number;
  /** The link's own address. Where there is a peer, the length is that of the peer's prefix. */
  address: Prefix;
  /** The other end of a point-to-point address. */
  peer?: Ip;
  broadcast?: Ip;
  scope: Scope;
  flags: AddressFlag[];
  label?: string;
  /** Seconds from now; Infinity where it does not end. */
  validLifetime: number;
  preferredLifetime: number;
  /** Of the prefix route. */
  metric?: number;
  /** Who made it (IFAPROT_*). */
  protocol?: number;
}

/** An address to be added, replaced or deleted. */
export interface NewAddress {
  link: LinkRef;
  /** "10.0.0.1/24", with host bits. */
  address: Prefix | string;
  peer?: Ip | string;
  broadcast?: Ip | string;
  /** By default "global", and "host" for loopback, "link" for IPv4 link-local addresses as `ip address` does. */
  scope?: Scope;
  flags?: readonly AddressFlag[];
  label?: string;
  /** Seconds; without end where not given. */
  validLifetime?: number;
  preferredLifetime?: number;
  metric?: number;
  protocol?: number;
}

const forever = 0xffffffff;
const seconds = (value: number | undefined) => (value === undefined || value >= forever ? forever : value);

export const toPrefix = (value: Prefix | string, field: string): Prefix =>
  typeof value === "string" ? Prefix.parse(value, field) : value;
export const toIp = (value: Ip | string, field: string): Ip =>
  typeof value === "string" ? Ip.parse(value, field) : value;

/** The body of RTM_NEWADDR or RTM_DELADDR. */
export function addressBody(address: NewAddress, resolver: Resolver): Body {
  const index = resolver.index(address.link);
  const prefix = toPrefix(address.address, "address");
  const local = prefix.ip;
  const peer = address.peer === undefined ? undefined : toIp(address.peer, "peer");
  const mask = flags.mask(address.flags ?? []);
  const header = {
    family: local.family === 4 ? AF_INET : AF_INET6,
    prefixLength: prefix.length,
    flags: mask & 0xff,
    scope: scope.number(address.scope ?? defaultScope(local)),
    index,
  };
  const { validLifetime: valid, preferredLifetime: preferred, broadcast } = address;
  const value: Value<typeof attributes> = { address: peer ?? local, local };
  if (address.label !== undefined) value.label = address.label;
  if (broadcast !== undefined) value.broadcast = toIp(broadcast, "broadcast");
  if (valid !== undefined || preferred !== undefined) {
    value.cacheInfo = {
      preferred: seconds(preferred ?? valid),
      valid: seconds(valid),
      created: 0,
      updated: 0,
    };
  }
  if (mask > 0xff) value.flags = mask;
  if (address.metric !== undefined) value.metric = address.metric;
  if (address.protocol !== undefined) value.protocol = address.protocol;
  return (writer) => {
    ifaddrmsg.put(writer, header);
    attributes.write(writer, value);
  };
}

function defaultScope(local: Ip): Scope {
  if (local.family === 4 && local.isLoopback()) return "host";
  return local.family === 4 && local.isLinkLocal() ? "link" : "global";
}

/** The body of a dump request; the kernel filters by family and link. */
export function writeAddressDump(writer: Writer, family: number, index: number): void {
  ifaddrmsg.put(writer, { family, index });
}

/** The address in an RTM_NEWADDR or RTM_DELADDR message. Throws {@link MalformedMessage}. */
export function readAddress(payload: Uint8Array): Address {
  const header = ifaddrmsg.read(payload);
  const found = attributes.readFrom(payload, ifaddrmsg.size);
  const local = found.local ?? found.address;
  if (local === undefined) throw new MalformedMessage("an address message without an address");
  if (header.prefixLength > local.bits) {
    throw new MalformedMessage(`${local} with a prefix length of ${header.prefixLength}`);
  }
  const address: Address = {
    link: header.index,
    address: new Prefix(local, header.prefixLength),
    scope: scope.name(header.scope),
    flags: flags.names(found.flags ?? header.flags),
    validLifetime: lifetime(found.cacheInfo?.valid),
    preferredLifetime: lifetime(found.cacheInfo?.preferred),
  };
  if (found.address !== undefined && !found.address.equals(local)) address.peer = found.address;
  if (found.broadcast !== undefined) address.broadcast = found.broadcast;
  if (found.label !== undefined) address.label = found.label;
  if (found.metric !== undefined) address.metric = found.metric;
  if (found.protocol !== undefined) address.protocol = found.protocol;
  return address;
}

const lifetime = (value: number | undefined) =>
  value === undefined || value === forever ? Number.POSITIVE_INFINITY : value;
