import {
  attributes,
  type Fields,
  list,
  MalformedMessage,
  type Schema,
  schema,
  type Type,
  text,
  u8,
  u16be,
  u32be,
  type Value,
} from "../netlink/codec.ts";
import { bytes, data, enumeration, flags, n64 } from "./attributes.ts";

/** Where a payload expression begins to count. */
const payloadBase = enumeration({ link: 0, network: 1, transport: 2, inner: 3, tunnel: 4 });

/** enum nft_meta_keys. */
export const metaKeys = {
  len: 0,
  protocol: 1,
  priority: 2,
  mark: 3,
  iif: 4,
  oif: 5,
  iifname: 6,
  oifname: 7,
  iiftype: 8,
  oiftype: 9,
  skuid: 10,
  skgid: 11,
  nftrace: 12,
  rtclassid: 13,
  secmark: 14,
  nfproto: 15,
  l4proto: 16,
  ibrname: 17,
  obrname: 18,
  pkttype: 19,
  cpu: 20,
  iifgroup: 21,
  oifgroup: 22,
  cgroup: 23,
  random: 24,
  secpath: 25,
  iifkind: 26,
  oifkind: 27,
  ibrpvid: 28,
  ibrvproto: 29,
  time: 30,
  day: 31,
  hour: 32,
  sdif: 33,
  sdifname: 34,
  broute: 35,
  ibrhwaddr: 37,
} as const;

/** enum nft_ct_keys. */
export const ctKeys = {
  state: 0,
  direction: 1,
  status: 2,
  mark: 3,
  secmark: 4,
  expiration: 5,
  helper: 6,
  l3proto: 7,
  saddr: 8,
  daddr: 9,
  protocol: 10,
  "proto-src": 11,
  "proto-dst": 12,
  labels: 13,
  packets: 14,
  bytes: 15,
  avgpkt: 16,
  zone: 17,
  eventmask: 18,
  "saddr-ip": 19,
  "daddr-ip": 20,
  "saddr-ip6": 21,
  "daddr-ip6": 22,
  id: 23,
} as const;

const natFamily = enumeration({ ip: 2, ip6: 10 });
const inverted = flags({ inv: 1 });

/** NF_NAT_RANGE_*. The kernel adds the first two by itself, from what else is given. */
const natFlags = flags({
  ips: 1,
  ports: 2,
  random: 4,
  persistent: 8,
  "fully-random": 16,
  "port-offset": 32,
  netmap: 64,
});

type AnySchema = Schema<Fields>;

const NFTA_EXPR_NAME = 1;
const NFTA_EXPR_DATA = 2;

/**
 * The attributes of each expression, by its kernel name (net/netfilter/nft_*.c). Registers go by the kernel's numbers:
 * 0 the verdict, 1 to 4 of 16 bytes each, 8 to 23 the same space in pieces of 4 bytes (8 to 11 are register 1).
 */
const simple = {
  immediate: schema({ register: [1, u32be], data: [2, data] }),
  cmp: schema({
    source: [1, u32be],
    op: [2, enumeration({ eq: 0, neq: 1, lt: 2, lte: 3, gt: 4, gte: 5 })],
    data: [3, bytes],
  }),
  range: schema({
    source: [1, u32be],
    op: [2, enumeration({ eq: 0, neq: 1 })],
    from: [3, bytes],
    to: [4, bytes],
  }),
  bitwise: schema({
    source: [1, u32be],
    register: [2, u32be],
    length: [3, u32be],
    mask: [4, bytes],
    xor: [5, bytes],
    op: [6, enumeration({ "mask-xor": 0, lshift: 1, rshift: 2, and: 3, or: 4, xor: 5 })],
    data: [7, bytes],
    source2: [8, u32be],
  }),
  byteorder: schema({
    source: [1, u32be],
    register: [2, u32be],
    op: [3, enumeration({ ntoh: 0, hton: 1 })],
    length: [4, u32be],
    size: [5, u32be],
  }),
  payload: schema({
    register: [1, u32be],
    base: [2, payloadBase],
    offset: [3, u32be],
    length: [4, u32be],
    source: [5, u32be],
    checksum: [6, enumeration({ none: 0, inet: 1, sctp: 2 })],
    checksumOffset: [7, u32be],
    checksumFlags: [8, flags({ pseudoheader: 1 })],
  }),
  exthdr: schema({
    register: [1, u32be],
    type: [2, u8],
    offset: [3, u32be],
    length: [4, u32be],
    flags: [5, flags({ present: 1 })],
    op: [6, enumeration({ ipv6: 0, tcpopt: 1, ipv4: 2, sctp: 3, dccp: 4 })],
    source: [7, u32be],
  }),
  meta: schema({ register: [1, u32be], key: [2, enumeration(metaKeys)], source: [3, u32be] }),
  rt: schema({
    register: [1, u32be],
    key: [2, enumeration({ classid: 0, nexthop4: 1, nexthop6: 2, tcpmss: 3, xfrm: 4 })],
  }),
  socket: schema({
    key: [1, enumeration({ transparent: 0, mark: 1, wildcard: 2, cgroupv2: 3 })],
    register: [2, u32be],
    level: [3, u32be],
  }),
  ct: schema({
    register: [1, u32be],
    key: [2, enumeration(ctKeys)],
    direction: [3, enumeration({ original: 0, reply: 1 }, u8)],
    source: [4, u32be],
  }),
  fib: schema({
    register: [1, u32be],
    result: [2, enumeration({ oif: 1, oifname: 2, type: 3 })],
    flags: [3, flags({ saddr: 1, daddr: 2, mark: 4, iif: 8, oif: 16, present: 32 })],
  }),
  lookup: schema({
    set: [1, text],
    source: [2, u32be],
    register: [3, u32be],
    setId: [4, u32be],
    flags: [5, inverted],
  }),
  numgen: schema({
    register: [1, u32be],
    modulus: [2, u32be],
    type: [3, enumeration({ inc: 0, random: 1 })],
    offset: [4, u32be],
  }),
  hash: schema({
    source: [1, u32be],
    register: [2, u32be],
    length: [3, u32be],
    modulus: [4, u32be],
    seed: [5, u32be],
    offset: [6, u32be],
    type: [7, enumeration({ jhash: 0, symhash: 1 })],
  }),
  nat: schema({
    type: [1, enumeration({ snat: 0, dnat: 1 })],
    family: [2, natFamily],
    addressMin: [3, u32be],
    addressMax: [4, u32be],
    portMin: [5, u32be],
    portMax: [6, u32be],
    flags: [7, natFlags],
  }),
  masq: schema({ flags: [1, natFlags], portMin: [2, u32be], portMax: [3, u32be] }),
  redir: schema({ portMin: [1, u32be], portMax: [2, u32be], flags: [3, natFlags] }),
  tproxy: schema({
    family: [1, enumeration({ unspec: 0, ip: 2, ip6: 10 })],
    address: [2, u32be],
    port: [3, u32be],
  }),
  reject: schema({
    type: [1, enumeration({ "icmp-unreach": 0, "tcp-reset": 1, "icmpx-unreach": 2 })],
    code: [2, u8],
  }),
  counter: schema({ bytes: [1, n64], packets: [2, n64] }),
  limit: schema({
    rate: [1, n64],
    /** Seconds in which `rate` is allowed. */
    unit: [2, n64],
    burst: [3, u32be],
    type: [4, enumeration({ packets: 0, bytes: 1 })],
    flags: [5, inverted],
  }),
  connlimit: schema({ count: [1, u32be], flags: [2, inverted] }),
  quota: schema({ bytes: [1, n64], flags: [2, flags({ inv: 1, depleted: 2 })], consumed: [4, n64] }),
  log: schema({
    group: [1, u16be],
    prefix: [2, text],
    snaplen: [3, u32be],
    threshold: [4, u16be],
    level: [
      5,
      enumeration({ emerg: 0, alert: 1, crit: 2, err: 3, warn: 4, notice: 5, info: 6, debug: 7, audit: 8 }),
    ],
    flags: [6, flags({ "tcp-sequence": 1, "tcp-options": 2, "ip-options": 4, skuid: 8, ether: 32 })],
  }),
  objref: schema({
    type: [1, enumeration({ counter: 1, quota: 2, "ct-helper": 3, limit: 4, connlimit: 5 })],
    object: [2, text],
    source: [3, u32be],
    set: [4, text],
    setId: [5, u32be],
  }),
  queue: schema({
    number: [1, u16be],
    total: [2, u16be],
    flags: [3, flags({ bypass: 1, fanout: 2 }, u16be)],
    source: [4, u32be],
  }),
  dup: schema({ address: [1, u32be], device: [2, u32be] }),
  fwd: schema({ device: [1, u32be], address: [2, u32be], family: [3, natFamily] }),
  last: schema({ set: [1, u32be], msecs: [2, n64] }),
  notrack: schema({}),
} as const;

type Simple = {
  [K in keyof typeof simple]: { readonly name: K } & Readonly<Value<(typeof simple)[K]>>;
}[keyof typeof simple];

/** Adds what is in registers to a set, updates or deletes it. */
export interface DynsetExpression {
  readonly name: "dynset";
  readonly set?: string;
  readonly setId?: number;
  readonly op?: "add" | "update" | "delete";
  /** The register of the key. */
  readonly key?: number;
  /** The register of a map's data. */
  readonly data?: number;
  /** Of the element, in milliseconds. */
  readonly timeout?: number;
  readonly flags?: readonly ("inv" | "expr")[];
  /** State that the element begins with: one, */
  readonly expression?: Expression;
  /** or several. */
  readonly expressions?: readonly Expression[];
}

/** An expression of another program, kept as it came: what Weft dumps it can also write back. */
export interface OpaqueExpression {
  readonly name: "opaque";
  /** The kernel's name for it. */
  readonly kernelName: string;
  readonly attributes: Uint8Array;
}

/** One instruction of a rule, as the kernel has it. */
export type Expression = Simple | DynsetExpression | OpaqueExpression;

/** The names of the expressions that Weft reads and writes. */
export type ExpressionName = Exclude<Expression["name"], "opaque">;

/** What the kernel fills in where nothing was said; left out when reading. */
const defaults: Readonly<Partial<Record<ExpressionName, Readonly<Record<string, unknown>>>>> = {
  bitwise: { op: "mask-xor" },
  lookup: { flags: "" },
  dynset: { flags: "", timeout: 0 },
  numgen: { offset: 0 },
  limit: { flags: "" },
  connlimit: { flags: "" },
  quota: { flags: "" },
  exthdr: { flags: "", op: "ipv6" },
  log: { flags: "", snaplen: 0, threshold: 0 },
  payload: { checksumOffset: 0, checksumFlags: "" },
};

/** NFTA_EXPR_NAME and NFTA_EXPR_DATA. */
export const expression: Type<Expression> = {
  nested: true,
  write: (writer, value) => {
    const name = writer.begin(NFTA_EXPR_NAME);
    text.write(writer, value.name === "opaque" ? value.kernelName : value.name);
    writer.end(name);
    const at = writer.beginNested(NFTA_EXPR_DATA);
    if (value.name === "opaque") writer.raw(value.attributes);
    else (expressionAttributes[value.name] as Type<object>).write(writer, value);
    writer.end(at);
  },
  read: (payload) => {
    let name = "";
    let body: Uint8Array = new Uint8Array(0);
    for (const [number, value] of attributes(payload)) {
      if (number === NFTA_EXPR_NAME) name = text.read(value);
      else if (number === NFTA_EXPR_DATA) body = value;
    }
    if (!Object.hasOwn(expressionAttributes, name)) return opaque(name, body);
    try {
      return readKnown(name as ExpressionName, body);
    } catch (error) {
      // A newer kernel's key or flag: keep the rest of the rule readable.
      if (error instanceof MalformedMessage) return opaque(name, body);
      throw error;
    }
  },
};

function opaque(kernelName: string, body: Uint8Array): OpaqueExpression {
  return { name: "opaque", kernelName, attributes: body.slice() };
}

function readKnown(name: ExpressionName, body: Uint8Array): Expression {
  const fields: Record<string, unknown> = expressionAttributes[name].read(body);
  for (const [field, value] of Object.entries(defaults[name] ?? {})) {
    if (fields[field] === value || (value === "" && isEmpty(fields[field]))) delete fields[field];
  }
  // The code of a reset is a number without meaning, which the kernel does not show.
  if (fields.type === "tcp-reset") delete fields.code;
  if (name === "nat" || name === "masq" || name === "redir") simplifyNat(fields);
  return { name, ...fields } as Expression;
}

const isEmpty = (value: unknown) => Array.isArray(value) && value.length === 0;

// The kernel shows both ends of a range where one was given, and the flags that follow from them.
function simplifyNat(fields: Record<string, unknown>): void {
  if (fields.addressMax === fields.addressMin) delete fields.addressMax;
  if (fields.portMax === fields.portMin) delete fields.portMax;
  const given = (fields.flags as string[] | undefined)?.filter((name) => name !== "ips" && name !== "ports");
  if (given === undefined || given.length === 0) delete fields.flags;
  else fields.flags = given;
}

/** Expressions in a list (NFTA_LIST_ELEM each). */
export const expressionList: Type<Expression[]> = list(1, expression);

/** NFTA_DYNSET_*: apart from the others, as it holds expressions in turn. */
const dynset = schema({
  set: [1, text],
  setId: [2, u32be],
  op: [3, enumeration({ add: 0, update: 1, delete: 2 })],
  key: [4, u32be],
  data: [5, u32be],
  timeout: [6, n64],
  expression: [7, expression],
  flags: [9, flags({ inv: 1, expr: 2 })],
  expressions: [10, expressionList],
});

const expressionAttributes: Readonly<Record<ExpressionName, AnySchema>> = { ...simple, dynset };
