import { InvalidInput } from "../../lib/errors.ts";
import { attributes as eachAttribute, schema, type Type, text, u32, type Writer } from "../netlink/codec.ts";
import { fixed, Names, n64, struct } from "../netlink/types.ts";
import type { LinkRef } from "./link.ts";
import type { Body, Resolver } from "./resolver.ts";
import { checkU32, type FilterKinds, filterKinds } from "./tc-filters.ts";
import { formatHandle, parseHandle } from "./tc-handle.ts";
import { type ClassKinds, classKinds, type QdiscKinds, qdiscKinds } from "./tc-kinds.ts";

export const RTM_NEWQDISC = 36;
export const RTM_DELQDISC = 37;
export const RTM_GETQDISC = 38;
export const RTM_NEWTCLASS = 40;
export const RTM_DELTCLASS = 41;
export const RTM_GETTCLASS = 42;
export const RTM_NEWTFILTER = 44;
export const RTM_DELTFILTER = 45;
export const RTM_GETTFILTER = 46;

const TCA_OPTIONS = 2;

const tcmsg = struct("tcmsg", {
  family: fixed.u8,
  pad1: fixed.u8,
  pad2: fixed.u16,
  index: fixed.s32,
  handle: fixed.u32,
  parent: fixed.u32,
  info: fixed.u32,
});

const queueStruct = struct("gnet_stats_queue", {
  queueLength: fixed.u32,
  backlog: fixed.u32,
  drops: fixed.u32,
  requeues: fixed.u32,
  overlimits: fixed.u32,
});
const basicStatistics: Type<{ bytes: number; packets: number }> = {
  write: () => {},
  read: (bytes) => ({ bytes: n64.read(bytes), packets: u32.read(bytes.subarray(8)) }),
};

const attributes = schema({
  kind: [1 /* TCA_KIND */, text],
  statistics: [
    7 /* TCA_STATS2 */,
    schema({
      basic: [1 /* TCA_STATS_BASIC */, basicStatistics],
      queue: [3 /* TCA_STATS_QUEUE */, queueStruct],
    }),
  ],
  chain: [11 /* TCA_CHAIN */, u32],
});

/** Counters of a qdisc or class. */
export interface TcStatistics {
  bytes: number;
  packets: number;
  drops: number;
  overlimits: number;
  requeues: number;
  /** Bytes and packets that wait. */
  backlog: number;
  queueLength: number;
}

/** A queueing discipline as the kernel lists it. Its options stand under its kind's name, such as `tbf`. */
export interface Qdisc extends Partial<QdiscKinds> {
  link: number;
  kind: string;
  /** "1:"; "0:" for the kernel's own. */
  handle: string;
  /** "root", "clsact", or the class to which it belongs. */
  parent: string;
  statistics: TcStatistics;
}

/** A qdisc to be added, replaced or deleted. */
export interface NewQdisc extends Partial<QdiscKinds> {
  link: LinkRef;
  /** May be left out of a deletion. */
  kind?: string;
  handle?: string;
  /** "root" where not given, "clsact" for the kinds ingress and clsact. */
  parent?: string;
}

/** A class as the kernel lists it. */
export interface TcClass extends Partial<ClassKinds> {
  link: number;
  kind: string;
  /** "1:10" */
  handle: string;
  parent: string;
  statistics: TcStatistics;
}

export interface NewTcClass extends Partial<ClassKinds> {
  link: LinkRef;
  /** The kind of the qdisc. */
  kind?: string;
  handle: string;
  /** The qdisc ("1:") or the class above; the qdisc where not given. */
  parent?: string;
}

const protocols = new Names("protocol", {
  all: 0x0003,
  ip: 0x0800,
  arp: 0x0806,
  ipv6: 0x86dd,
  "802.1Q": 0x8100,
});
/** An EtherType. */
export type FilterProtocol = "all" | "ip" | "arp" | "ipv6" | "802.1Q" | number;

/** A filter as the kernel lists it. */
export interface Filter extends Partial<FilterKinds> {
  link: number;
  kind: string;
  parent: string;
  priority: number;
  protocol: FilterProtocol;
  /** The filter's own number, whose form depends on the kind. */
  handle: number;
  chain: number;
}

export interface NewFilter extends Partial<FilterKinds> {
  link: LinkRef;
  kind?: string;
  /** The qdisc or class; "ingress" or "egress" of a clsact qdisc; "ffff:" of an ingress qdisc. */
  parent: string;
  /** 1 to 65535; the lower is asked first. The kernel chooses where not given. */
  priority?: number;
  /** "all" where not given. */
  protocol?: FilterProtocol;
  handle?: number;
  chain?: number;
}

type Kinds = Readonly<Record<string, Type<unknown>>>;

/** Kind and options, the kinds that come without options included. */
function kindBody(object: { kind?: string }, kinds: Kinds, chain?: number): Body {
  const { kind } = object;
  const given = object as Readonly<Record<string, unknown>>;
  for (const name of Object.keys(kinds)) {
    if (name !== kind && given[name] !== undefined) {
      throw new InvalidInput(name, given[name], `is given for the kind ${kind ?? "that is not named"}`);
    }
  }
  if (kind === undefined) return () => {};
  const type = kinds[kind];
  const options = given[kind];
  return (writer) => {
    attributes.write(writer, { kind, ...(chain !== undefined && { chain }) });
    if (type === undefined || options === undefined) return;
    const at = type.nested ? writer.beginNested(TCA_OPTIONS) : writer.begin(TCA_OPTIONS);
    type.write(writer, options);
    writer.end(at);
  };
}

function body(header: Parameters<typeof tcmsg.put>[1], rest: Body): Body {
  return (writer: Writer) => {
    tcmsg.put(writer, header);
    rest(writer);
  };
}

/** The body of RTM_NEWQDISC or RTM_DELQDISC. */
export function qdiscBody(qdisc: NewQdisc, resolver: Resolver): Body {
  const ingress = qdisc.kind === "ingress" || qdisc.kind === "clsact";
  const handle = qdisc.handle ?? (ingress ? "ffff:" : undefined);
  const header = {
    index: resolver.index(qdisc.link),
    handle: handle === undefined ? 0 : parseHandle(handle),
    parent: parseHandle(qdisc.parent ?? (ingress ? "clsact" : "root")),
  };
  return body(header, kindBody(qdisc, qdiscKinds));
}

/** The body of RTM_NEWTCLASS or RTM_DELTCLASS. */
export function classBody(tcClass: NewTcClass, resolver: Resolver): Body {
  const handle = parseHandle(tcClass.handle);
  const header = {
    index: resolver.index(tcClass.link),
    handle,
    parent: tcClass.parent === undefined ? (handle & 0xffff0000) >>> 0 : parseHandle(tcClass.parent),
  };
  return body(header, kindBody(tcClass, classKinds));
}

/** The body of RTM_NEWTFILTER or RTM_DELTFILTER. */
export function filterBody(filter: NewFilter, resolver: Resolver, deletion = false): Body {
  const { kind, parent, priority = 0, protocol, handle = 0 } = filter;
  if (kind === "u32" && !deletion) checkU32(filter.u32);
  const etherType = protocols.number(protocol ?? (deletion ? 0 : "all"));
  const header = {
    index: resolver.index(filter.link),
    handle,
    parent: parseHandle(parent),
    info: ((priority << 16) | networkOrder(etherType)) >>> 0,
  };
  return body(header, kindBody(filter, filterKinds, filter.chain));
}

// tcm_info has the EtherType in network byte order in its low half.
const networkOrder = (value: number) => ((value & 0xff) << 8) | (value >> 8);

/** The body of a dump request of qdiscs, classes or filters. */
export function tcDumpBody(index: number, parent = 0): Body {
  return (writer) => tcmsg.put(writer, { index, parent });
}

function readKind(
  payload: Uint8Array,
  kinds: Kinds,
): { kind: string; statistics: TcStatistics; chain: number } {
  const { kind = "", statistics, chain = 0 } = attributes.readFrom(payload, tcmsg.size);
  const { basic, queue } = statistics ?? {};
  const object: Record<string, unknown> = {};
  const type = kinds[kind];
  if (type !== undefined) {
    for (const [number, options] of eachAttribute(payload.subarray(tcmsg.size))) {
      if (number === TCA_OPTIONS) object[kind] = type.read(options);
    }
  }
  return {
    ...object,
    kind,
    chain,
    statistics: {
      bytes: basic?.bytes ?? 0,
      packets: basic?.packets ?? 0,
      drops: queue?.drops ?? 0,
      overlimits: queue?.overlimits ?? 0,
      requeues: queue?.requeues ?? 0,
      backlog: queue?.backlog ?? 0,
      queueLength: queue?.queueLength ?? 0,
    },
  };
}

/** The qdisc in an RTM_NEWQDISC or RTM_DELQDISC message. Throws {@link MalformedMessage}. */
export function readQdisc(payload: Uint8Array): Qdisc {
  const { index, handle, parent } = tcmsg.read(payload);
  const { chain: _, ...rest } = readKind(payload, qdiscKinds);
  return { ...rest, link: index, handle: formatHandle(handle), parent: formatHandle(parent) };
}

/** The class in an RTM_NEWTCLASS or RTM_DELTCLASS message. Throws {@link MalformedMessage}. */
export function readClass(payload: Uint8Array): TcClass {
  const { index, handle, parent } = tcmsg.read(payload);
  const { chain: _, ...rest } = readKind(payload, classKinds);
  return { ...rest, link: index, handle: formatHandle(handle), parent: formatHandle(parent) };
}

/** The filter in an RTM_NEWTFILTER or RTM_DELTFILTER message. Throws {@link MalformedMessage}. */
export function readFilter(payload: Uint8Array): Filter {
  const { index, handle, parent, info } = tcmsg.read(payload);
  const { statistics: _, ...rest } = readKind(payload, filterKinds);
  return {
    ...rest,
    link: index,
    handle,
    parent: formatHandle(parent),
    priority: info >>> 16,
    protocol: protocols.name(networkOrder(info & 0xffff)),
  };
}

/** True for the hash tables that u32 lists among its filters. */
export function isHashTable(filter: Filter): boolean {
  return filter.kind === "u32" && (filter.handle & 0xfff) === 0;
}
