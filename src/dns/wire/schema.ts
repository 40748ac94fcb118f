import type { Ip } from "../../lib/ip.ts";
import { RrType } from "./constants.ts";

/**
 * The RDATA of each type as a list of fields in wire order; both encoder and decoder work from it. "name" may be
 * compressed when written (RFC 1035 section 4.1.4); "plain-name" may not (RFC 2782, RFC 3597 section 4), though old
 * servers did and so a pointer is followed when read.
 */
export const rdataSchema = {
  A: [["address", "ipv4"]],
  NS: [["target", "name"]],
  CNAME: [["target", "name"]],
  SOA: [
    ["mname", "name"],
    ["rname", "name"],
    ["serial", "u32"],
    ["refresh", "u32"],
    ["retry", "u32"],
    ["expire", "u32"],
    ["minimum", "u32"],
  ],
  PTR: [["target", "name"]],
  HINFO: [
    ["cpu", "string"],
    ["os", "string"],
  ],
  MX: [
    ["preference", "u16"],
    ["exchange", "name"],
  ],
  TXT: [["strings", "strings"]],
  AAAA: [["address", "ipv6"]],
  SRV: [
    ["priority", "u16"],
    ["weight", "u16"],
    ["port", "u16"],
    ["target", "plain-name"],
  ],
  DNAME: [["target", "plain-name"]],
} as const satisfies Partial<Record<keyof typeof RrType, readonly (readonly [string, FieldKind])[]>>;

export type FieldKind = "u16" | "u32" | "ipv4" | "ipv6" | "name" | "plain-name" | "string" | "strings";

/** What each kind of field is in TypeScript. Names are text with a final dot; strings hold one character per byte. */
interface FieldValues {
  u16: number;
  u32: number;
  ipv4: Ip;
  ipv6: Ip;
  name: string;
  "plain-name": string;
  string: string;
  strings: string[];
}

/** The types whose RDATA has a schema. */
export type KnownType = keyof typeof rdataSchema;

/** The fields of one type's RDATA, such as `{ priority, weight, port, target }` for SRV. */
export type Rdata<T extends KnownType> = {
  [Field in (typeof rdataSchema)[T][number] as Field[0]]: FieldValues[Field[1]];
};

interface RecordHead {
  /** Text with a final dot. */
  name: string;
  class: number;
  /** Seconds, 0 to 2^31 - 1 (RFC 2181 section 8). */
  ttl: number;
}

export type KnownRecord = {
  [T in KnownType]: RecordHead & { type: (typeof RrType)[T]; data: Rdata<T> };
}[KnownType];

/** A record of a type without schema: its RDATA as it stood in the message (RFC 3597). */
export type OpaqueRecord = RecordHead & { type: number; rdata: Uint8Array };

export type ResourceRecord = KnownRecord | OpaqueRecord;

type Fields = readonly (readonly [string, FieldKind])[];

const fieldsByType = new Map<number, Fields>(
  Object.entries(rdataSchema).map(([name, fields]) => [RrType[name as KnownType], fields]),
);

/** The fields of a type by number, or undefined for an opaque one. */
export function fieldsOf(type: number): Fields | undefined {
  return fieldsByType.get(type);
}

/** True for a record whose RDATA was decoded by the schema. */
export function isKnown(record: ResourceRecord): record is KnownRecord {
  return "data" in record;
}
