import { Ip } from "../../lib/ip.ts";
import type { Prefix } from "../../lib/prefix.ts";
import { MalformedMessage, schema, type Type, u8, u16be, u32be, type Value } from "../netlink/codec.ts";
import type { Flow, FlowFilter, FlowTuple, TupleFilter } from "./model.ts";

const NFNL_SUBSYS_CTNETLINK = 1;
/** enum cntl_msg_types, with the subsystem. */
export const message = {
  GET: (NFNL_SUBSYS_CTNETLINK << 8) | 1,
  DELETE: (NFNL_SUBSYS_CTNETLINK << 8) | 2,
  GET_STATS: (NFNL_SUBSYS_CTNETLINK << 8) | 5,
} as const;

/** An address of exactly one family. */
function address(length: 4 | 16): Type<Ip> {
  return {
    write: (writer, value) => writer.raw(value.bytes),
    read: (bytes) => {
      if (bytes.length !== length) throw new MalformedMessage(`an address of ${bytes.length} bytes`);
      return Ip.fromBytes(bytes);
    },
  };
}

/** CTA_TUPLE_*. */
const tupleAttributes = schema({
  ip: [
    1,
    schema({
      source4: [1, address(4)],
      destination4: [2, address(4)],
      source6: [3, address(16)],
      destination6: [4, address(16)],
    }),
  ],
  proto: [
    2,
    schema({
      number: [1, u8],
      sourcePort: [2, u16be],
      destinationPort: [3, u16be],
      icmpId: [4, u16be],
      icmpType: [5, u8],
      icmpCode: [6, u8],
      icmpv6Id: [7, u16be],
      icmpv6Type: [8, u8],
      icmpv6Code: [9, u8],
    }),
  ],
  zone: [3, u16be],
});

/** CTA_*. */
export const flowAttributes = schema({
  original: [1, tupleAttributes],
  reply: [2, tupleAttributes],
  status: [3, u32be],
  timeout: [7, u32be],
  mark: [8, u32be],
  id: [12, u32be],
  zone: [18, u16be],
  markMask: [21, u32be],
  // Bits that say which parts of the tuples are conditions; in the host's byte order, unlike the rest.
  filter: [25, schema({ originalFlags: [1, hostU32()], replyFlags: [2, hostU32()] })],
});

/** CTA_STATS_GLOBAL_*. */
export const statsAttributes = schema({ entries: [1, u32be] });

function hostU32(): Type<number> {
  return {
    write: (writer, value) => writer.u32(value),
    read: (bytes) => new Uint32Array(bytes.slice(0, 4).buffer)[0] ?? 0,
  };
}

type FlowValue = Value<typeof flowAttributes>;
type TupleValue = Value<typeof tupleAttributes>;

/** Decodes a connection. Throws {@link MalformedMessage}. */
export function readFlow(value: FlowValue): Flow {
  const original = readTuple(value.original);
  return {
    id: value.id ?? 0,
    family: original.source.family,
    original,
    reply: readTuple(value.reply),
    status: value.status ?? 0,
    timeout: value.timeout ?? 0,
    mark: value.mark ?? 0,
    zone: value.zone ?? 0,
  };
}

function readTuple(value: TupleValue | undefined): FlowTuple {
  const { ip, proto, zone } = value ?? {};
  const source = ip?.source4 ?? ip?.source6;
  const destination = ip?.destination4 ?? ip?.destination6;
  if (source === undefined || destination === undefined || proto?.number === undefined) {
    throw new MalformedMessage("a connection without addresses or protocol");
  }
  const type = proto.icmpType ?? proto.icmpv6Type;
  return {
    source,
    destination,
    protocol: proto.number,
    ...(proto.sourcePort !== undefined && { sourcePort: proto.sourcePort }),
    ...(proto.destinationPort !== undefined && { destinationPort: proto.destinationPort }),
    ...(type !== undefined && {
      icmp: {
        id: proto.icmpId ?? proto.icmpv6Id ?? 0,
        type,
        code: proto.icmpCode ?? proto.icmpv6Code ?? 0,
      },
    }),
    ...(zone !== undefined && { zone }),
  };
}

/** What names one connection to the kernel: its original direction, and its number so that no later one is meant. */
export function flowKey({ original, id, zone }: Flow): FlowValue {
  return { original: tupleValue(original), id, ...(zone !== 0 && { zone }) };
}

function tupleValue(tuple: FlowTuple): TupleValue {
  const { icmp } = tuple;
  const is4 = tuple.source.family === 4;
  return {
    ip: addresses(tuple.source, tuple.destination),
    proto: {
      number: tuple.protocol,
      ...(tuple.sourcePort !== undefined && { sourcePort: tuple.sourcePort }),
      ...(tuple.destinationPort !== undefined && { destinationPort: tuple.destinationPort }),
      ...(icmp && is4 && { icmpId: icmp.id, icmpType: icmp.type, icmpCode: icmp.code }),
      ...(icmp && !is4 && { icmpv6Id: icmp.id, icmpv6Type: icmp.type, icmpv6Code: icmp.code }),
    },
    ...(tuple.zone !== undefined && { zone: tuple.zone }),
  };
}

function addresses(source: Ip | undefined, destination: Ip | undefined): NonNullable<TupleValue["ip"]> {
  return {
    ...(source?.family === 4 && { source4: source }),
    ...(destination?.family === 4 && { destination4: destination }),
    ...(source?.family === 6 && { source6: source }),
    ...(destination?.family === 6 && { destination6: destination }),
  };
}

/** CTA_FILTER_F_CTA_*: the parts of a tuple that the kernel compares. */
const FILTER_SOURCE = 1 << 0;
const FILTER_DESTINATION = 1 << 1;
const FILTER_PROTOCOL = 1 << 3;
const FILTER_SOURCE_PORT = 1 << 4;
const FILTER_DESTINATION_PORT = 1 << 5;

/**
 * A filter as far as the kernel can do it by itself (since Linux 5.8; older ones pass over it): a family with single
 * IPv4 addresses, protocol and ports, and a mark. What is listed is looked at again in any case.
 */
export function filterValue(filter: FlowFilter): FlowValue {
  const value: FlowValue = {};
  if (filter.mark !== undefined) {
    value.mark = filter.mark.value >>> 0;
    value.markMask = (filter.mark.mask ?? 0xffffffff) >>> 0;
  }
  // Without a family the kernel refuses to compare tuples.
  if (familyOf(filter) === undefined) return value;
  const original = tupleFilter(filter.original, filter.protocol);
  const reply = tupleFilter(filter.reply, filter.protocol);
  if (original.flags === 0 && reply.flags === 0) return value;
  if (original.flags !== 0) value.original = original.tuple;
  if (reply.flags !== 0) value.reply = reply.tuple;
  value.filter = { originalFlags: original.flags, replyFlags: reply.flags };
  return value;
}

/** The family that a filter means, which an address tells too. */
export function familyOf({ family, original, reply }: FlowFilter): 4 | 6 | undefined {
  if (family !== undefined) return family;
  const any = original?.source ?? original?.destination ?? reply?.source ?? reply?.destination;
  return any?.family;
}

// The kernel's comparison of IPv6 addresses is the wrong way round: it passes over those that are equal
// (ctnetlink_filter_match_tuple, seen in 5.8 to 6.18).
function comparable(address: Ip | Prefix | undefined): Ip | undefined {
  return address instanceof Ip && address.family === 4 ? address : undefined;
}

function tupleFilter(
  filter: TupleFilter | undefined,
  protocol: number | undefined,
): { tuple: TupleValue; flags: number } {
  const source = comparable(filter?.source);
  const destination = comparable(filter?.destination);
  let flags = 0;
  const tuple: TupleValue = {};
  if (source !== undefined) flags |= FILTER_SOURCE;
  if (destination !== undefined) flags |= FILTER_DESTINATION;
  if (flags !== 0) tuple.ip = addresses(source, destination);
  // Ports have a meaning to the kernel only beside a protocol that has them.
  if (protocol !== undefined) {
    flags |= FILTER_PROTOCOL;
    tuple.proto = { number: protocol };
    if (filter?.sourcePort !== undefined) {
      flags |= FILTER_SOURCE_PORT;
      tuple.proto.sourcePort = filter.sourcePort;
    }
    if (filter?.destinationPort !== undefined) {
      flags |= FILTER_DESTINATION_PORT;
      tuple.proto.destinationPort = filter.destinationPort;
    }
  }
  return { tuple, flags };
}
