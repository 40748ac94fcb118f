import { InvalidInput } from "../../lib/errors.ts";
import { type Key, type RuleBuilder, registerAt, type Selector, selectorsOf, slotsOf } from "./builder.ts";
import { dataTypes, protocols, type TypeName } from "./datatypes.ts";
import type { Expression } from "./expressions.ts";
import { encodeValue, layoutOf } from "./values.ts";

type Named<N extends Expression["name"]> = Extract<Expression, { name: N }>;
type PayloadBase = NonNullable<Named<"payload">["base"]>;
type MetaKey = NonNullable<Named<"meta">["key"]>;
type CtKey = NonNullable<Named<"ct">["key"]>;

function payload(
  type: TypeName,
  base: PayloadBase,
  offset: number,
  prepare?: (rule: RuleBuilder) => void,
): Selector {
  const { size: whole } = dataTypes[type];
  return {
    type,
    partial: true,
    ...(prepare && { prepare }),
    load: (rule, register, size = whole) =>
      rule.push({ name: "payload", register, base, offset, length: size }),
  };
}

const network = (version: 4 | 6) => (rule: RuleBuilder) => rule.needNetwork(version);
const transport = (protocol: number) => (rule: RuleBuilder) => rule.needTransport(protocol);

const learnProtocol = (rule: RuleBuilder, value: Uint8Array) => rule.knowTransport(value[0] as number);

/** Fields of the IPv4 header. */
export const ip = {
  saddr: payload("ipv4_addr", "network", 12, network(4)),
  daddr: payload("ipv4_addr", "network", 16, network(4)),
  protocol: { ...payload("inet_proto", "network", 9, network(4)), learn: learnProtocol },
};

/** Fields of the IPv6 header. */
export const ip6 = {
  saddr: payload("ipv6_addr", "network", 8, network(6)),
  daddr: payload("ipv6_addr", "network", 24, network(6)),
  nexthdr: payload("inet_proto", "network", 6, network(6)),
};

/** `ip` or `ip6`, as far as they have the same fields. */
export function ipOf(version: 4 | 6): { readonly saddr: Selector; readonly daddr: Selector } {
  return version === 4 ? ip : ip6;
}

function ports(protocol: number) {
  return {
    sport: payload("inet_service", "transport", 0, transport(protocol)),
    dport: payload("inet_service", "transport", 2, transport(protocol)),
  };
}

/** Ports, whatever the transport protocol. */
export const th = {
  sport: payload("inet_service", "transport", 0),
  dport: payload("inet_service", "transport", 2),
};

export const tcp = {
  ...ports(protocols.tcp),
  flags: payload("tcp_flag", "transport", 13, transport(protocols.tcp)),
};
export const udp = ports(protocols.udp);
export const sctp = ports(protocols.sctp);

export const icmp = {
  type: payload("icmp_type", "transport", 0, (rule) => {
    rule.needNetwork(4);
    rule.needTransport(1);
  }),
};

export const icmpv6 = {
  type: payload("icmpv6_type", "transport", 0, (rule) => {
    rule.needNetwork(6);
    rule.needTransport(58);
  }),
};

/** Fields of the Ethernet header, for chains of packets that came in by an Ethernet link. */
export const ether = {
  daddr: payload("ether_addr", "link", 0),
  saddr: payload("ether_addr", "link", 6),
  type: payload("ether_type", "link", 12),
};

function metaOf(type: TypeName, key: MetaKey): Selector {
  return { type, load: (rule, register) => rule.push({ name: "meta", key, register }) };
}

function settableMeta(type: TypeName, key: MetaKey): Selector {
  return { ...metaOf(type, key), store: (rule, source) => rule.push({ name: "meta", key, source }) };
}

/** What the kernel keeps beside a packet. */
export const meta = {
  l4proto: { ...metaOf("inet_proto", "l4proto"), learn: learnProtocol },
  nfproto: {
    ...metaOf("nf_proto", "nfproto"),
    learn: (rule: RuleBuilder, value: Uint8Array) => {
      if (value[0] === 2 || value[0] === 10) rule.knowNetwork(value[0] === 2 ? 4 : 6);
    },
  },
  protocol: metaOf("ether_type", "protocol"),
  mark: settableMeta("mark", "mark"),
  priority: settableMeta("integer", "priority"),
  pkttype: settableMeta("pkt_type", "pkttype"),
  nftrace: settableMeta("boolean", "nftrace"),
  iif: metaOf("iface_index", "iif"),
  oif: metaOf("iface_index", "oif"),
  iifname: metaOf("ifname", "iifname"),
  oifname: metaOf("ifname", "oifname"),
  iiftype: metaOf("iface_type", "iiftype"),
  oiftype: metaOf("iface_type", "oiftype"),
  iifgroup: metaOf("devgroup", "iifgroup"),
  oifgroup: metaOf("devgroup", "oifgroup"),
  skuid: metaOf("uid", "skuid"),
  skgid: metaOf("gid", "skgid"),
  length: metaOf("integer", "len"),
  cgroup: metaOf("integer", "cgroup"),
  cpu: metaOf("integer", "cpu"),
  random: metaOf("integer", "random"),
} satisfies Record<string, Selector>;

type Direction = "original" | "reply";

function ctOf(type: TypeName, key: CtKey, direction?: Direction, prepare?: Selector["prepare"]): Selector {
  const where = direction === undefined ? {} : { direction };
  return {
    type,
    ...(prepare && { prepare }),
    load: (rule, register) => rule.push({ name: "ct", key, register, ...where }),
  };
}

function settableCt(type: TypeName, key: CtKey): Selector {
  return { ...ctOf(type, key), store: (rule, source) => rule.push({ name: "ct", key, source }) };
}

function tuple(direction: Direction) {
  return {
    ip: {
      saddr: ctOf("ipv4_addr", "saddr-ip", direction),
      daddr: ctOf("ipv4_addr", "daddr-ip", direction),
    },
    ip6: {
      saddr: ctOf("ipv6_addr", "saddr-ip6", direction),
      daddr: ctOf("ipv6_addr", "daddr-ip6", direction),
    },
    protocol: ctOf("inet_proto", "protocol", direction),
    sport: ctOf("inet_service", "proto-src", direction),
    dport: ctOf("inet_service", "proto-dst", direction),
  };
}

/** What connection tracking knows of a packet's connection. */
export const ct = {
  state: ctOf("ct_state", "state"),
  status: ctOf("ct_status", "status"),
  direction: ctOf("ct_dir", "direction"),
  mark: settableCt("mark", "mark"),
  original: tuple("original"),
  reply: tuple("reply"),
};

type FibFlag = "saddr" | "daddr" | "mark" | "iif" | "oif";

/** What the routing tables say of the packet's addresses: the kind of address, or the interface to it. */
export function fib(flags: readonly FibFlag[], result: "type" | "oif" | "oifname"): Selector {
  const type = { type: "fib_addrtype", oif: "iface_index", oifname: "ifname" } as const;
  return {
    type: type[result],
    load: (rule, register) => rule.push({ name: "fib", register, result, flags }),
  };
}

/** A number from `offset` on, below `offset + modulus`: one after the other, or at random. */
export function numgen(kind: "inc" | "random", modulus: number, offset = 0): Selector {
  return {
    type: "integer",
    load: (rule, register) =>
      rule.push({ name: "numgen", register, modulus, type: kind, ...(offset !== 0 && { offset }) }),
  };
}

/** A number below `modulus` that is the same for packets with the same key. */
export function jhash(key: Key, modulus: number, seed?: number): Selector {
  const length = selectorsOf(key).reduce((sum, { type }) => sum + 4 * slotsOf(type), 0);
  return {
    type: "integer",
    prepare: (rule) => {
      for (const selector of selectorsOf(key)) selector.prepare?.(rule);
    },
    load: (rule, register) => {
      // The key stands where the number comes to stand: it is read before.
      const slot = register < 8 ? (register - 1) * 4 : register - 8;
      rule.loadKey(key, slot);
      rule.push({
        name: "hash",
        type: "jhash",
        source: registerAt(slot),
        register,
        length,
        modulus,
        ...(seed !== undefined && { seed }),
      });
    },
  };
}

/** A number below `modulus` that is the same for both directions of a connection. */
export function symhash(modulus: number): Selector {
  return {
    type: "integer",
    load: (rule, register) => rule.push({ name: "hash", type: "symhash", register, modulus }),
  };
}

/** Whether the packet belongs to a socket that accepts foreign destinations, and that socket's mark. */
export const socket = {
  transparent: {
    type: "boolean",
    load: (rule, register) => rule.push({ name: "socket", key: "transparent", register }),
  },
  mark: { type: "mark", load: (rule, register) => rule.push({ name: "socket", key: "mark", register }) },
} satisfies Record<string, Selector>;

/** A selector of which only some bits count. */
export function masked(selector: Selector, mask: number): Selector {
  const { type } = selector;
  const layout = layoutOf(type);
  if (layout.length > 4) throw new InvalidInput("selector", type, "is too long for a mask");
  const bits = encodeValue(layout, mask);
  return {
    type,
    ...(selector.prepare && { prepare: (rule: RuleBuilder) => selector.prepare?.(rule) }),
    load: (rule, register) => {
      selector.load(rule, register);
      rule.push({
        name: "bitwise",
        source: register,
        register,
        length: layout.length,
        mask: bits,
        xor: new Uint8Array(layout.length),
      });
    },
  };
}
