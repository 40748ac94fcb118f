import { InvalidInput } from "../../lib/errors.ts";
import { Ip } from "../../lib/ip.ts";
import { Prefix } from "../../lib/prefix.ts";
import { littleEndian, MalformedMessage } from "../netlink/codec.ts";
import {
  type DataType,
  type Datum,
  dataTypes,
  hostOrder,
  type TypeName,
  type TypeSpec,
} from "./datatypes.ts";

const byId = new Map<number, DataType>(Object.values(dataTypes).map((type) => [type.id, type]));

/** The fields of a type, each padded to four bytes in a concatenation, as registers are. */
export interface Layout {
  readonly concatenated: boolean;
  readonly fields: readonly { readonly type: DataType; readonly at: number }[];
  /** Bytes of a whole value. */
  readonly length: number;
}

const layouts = new Map<string, Layout>();

/** Where the fields of a value stand. Throws {@link InvalidInput} for a type without a name here. */
export function layoutOf(spec: TypeSpec): Layout {
  const name = typeof spec === "string" ? spec : spec.join(" . ");
  const known = layouts.get(name);
  const concatenated = typeof spec !== "string";
  // nft keeps six bits of type for each field in one 32-bit number.
  if (concatenated && (spec.length < 2 || spec.length > 5)) {
    throw new InvalidInput("type", spec, "is not a concatenation of 2 to 5 types");
  }
  if (known !== undefined) return known;
  let length = 0;
  const fields = (concatenated ? spec : [spec]).map((name) => {
    if (!Object.hasOwn(dataTypes, name)) throw new InvalidInput("type", name, "is not a known data type");
    const type = dataTypes[name];
    const at = length;
    length += concatenated ? (type.size + 3) & ~3 : type.size;
    return { type, at };
  });
  const layout = { concatenated, fields, length };
  layouts.set(name, layout);
  return layout;
}

/** nft's number of a type: six bits for each field of a concatenation. */
export function typeId(spec: TypeSpec): number {
  return layoutOf(spec).fields.reduce((id, { type }) => (id * 64 + type.id) % 2 ** 32, 0);
}

/** The type that a number and a length of {@link typeId} stand for; undefined where Weft has no name for it. */
export function typeSpecOf(id: number, length: number): TypeSpec | undefined {
  const names: TypeName[] = [];
  for (let rest = id; rest > 0; rest = Math.floor(rest / 64)) {
    const type = byId.get(rest % 64);
    if (type === undefined) return undefined;
    names.unshift(type.name);
  }
  const [first] = names;
  if (first === undefined || names.length > 5) return undefined;
  const spec = names.length === 1 ? first : names;
  return layoutOf(spec).length === length ? spec : undefined;
}

/** Writes a whole value: a single one, or as many as the type has fields. */
export function writeValue(layout: Layout, value: Datum | readonly Datum[], bytes: Uint8Array, at = 0): void {
  const { fields } = layout;
  if (!isList(value)) {
    if (layout.concatenated) throw wrongCount(value, layout);
    (fields[0] as Layout["fields"][number]).type.write(bytes, at, value);
    return;
  }
  if (!layout.concatenated || value.length !== fields.length) throw wrongCount(value, layout);
  for (let i = 0; i < fields.length; i++) {
    const field = fields[i] as Layout["fields"][number];
    field.type.write(bytes, at + field.at, value[i] as Datum);
  }
}

function isList(value: Datum | readonly Datum[]): value is readonly Datum[] {
  return Array.isArray(value);
}

function wrongCount(value: unknown, layout: Layout): InvalidInput {
  const names = layout.fields.map(({ type }) => type.name);
  const problem = layout.concatenated ? `is not a list of ${names.length} values` : "is not a single value";
  return new InvalidInput("value", value, `${problem} (${names.join(" . ")})`);
}

/** The bytes of a whole value. */
export function encodeValue(layout: Layout, value: Datum | readonly Datum[]): Uint8Array {
  const bytes = new Uint8Array(layout.length);
  writeValue(layout, value, bytes);
  return bytes;
}

/** A value that was written with {@link writeValue}, in plain text and numbers. */
export function decodeValue(layout: Layout, bytes: Uint8Array): string | number | (string | number)[] {
  if (bytes.length < layout.length) {
    throw new MalformedMessage(`a value of ${bytes.length} bytes where ${layout.length} were expected`);
  }
  const values = layout.fields.map(({ type, at }) => type.read(bytes.subarray(at, at + type.size)));
  return layout.concatenated ? values : (values[0] as string | number);
}

/** The lowest and the highest value of a prefix or range, as bytes; equal for a single value. */
export function encodeRange(layout: Layout, value: Datum | readonly Datum[]): [Uint8Array, Uint8Array] {
  const from = new Uint8Array(layout.length);
  const to = new Uint8Array(layout.length);
  const values = isList(value) ? value : [value];
  if (isList(value) !== layout.concatenated || values.length !== layout.fields.length) {
    throw wrongCount(value, layout);
  }
  for (const [i, { type, at }] of layout.fields.entries()) {
    const value = values[i] as Datum;
    const [first, last] = bounds(type, value);
    type.write(from, at, first);
    type.write(to, at, last);
    if (compareField(type, from, to, at) > 0) {
      throw new InvalidInput("value", value, "is a range that ends before it begins");
    }
  }
  return [from, to];
}

/** Compares one field of two values as the number that it is. */
function compareField(type: DataType, a: Uint8Array, b: Uint8Array, at: number): number {
  const little = type.byteorder === hostOrder && littleEndian;
  for (let i = 0; i < type.size; i++) {
    const place = at + (little ? type.size - 1 - i : i);
    const difference = (a[place] as number) - (b[place] as number);
    if (difference !== 0) return difference;
  }
  return 0;
}

function bounds(type: DataType, value: Datum): [Datum, Datum] {
  if (typeof value !== "string") return [value, value];
  if (value.includes("/")) {
    const prefix = Prefix.parse(value, "value");
    if (!prefix.isMasked()) throw new InvalidInput("value", value, `has host bits set: ${prefix.masked()}`);
    return [Ip.fromBigInt(prefix.first, prefix.family), Ip.fromBigInt(prefix.last, prefix.family)];
  }
  // A dash is part of some names ("ipv6-icmp", "br-lan") and of dashed MAC addresses: only numbers and IPs have ranges.
  const named = type.name === "ifname" || type.name === "ether_addr";
  if (named || !value.includes("-") || !/^[0-9a-fA-F.:x]+-[0-9a-fA-F.:x]+$/.test(value))
    return [value, value];
  const [first, last] = value.split("-") as [string, string];
  return [first, last];
}

/** The text of a range as {@link encodeRange} takes it; a single value where both ends are the same. */
export function decodeRange(
  layout: Layout,
  from: Uint8Array,
  to: Uint8Array,
): string | number | (string | number)[] {
  if (from.length < layout.length || to.length < layout.length) {
    throw new MalformedMessage(
      `a range of ${from.length} and ${to.length} bytes where ${layout.length} were expected`,
    );
  }
  const values = layout.fields.map(({ type, at }) => {
    const first = from.subarray(at, at + type.size);
    const last = to.subarray(at, at + type.size);
    if (first.every((byte, i) => byte === last[i])) return type.read(first);
    return prefixOf(type, first, last) ?? `${plain(type, first)}-${plain(type, last)}`;
  });
  return layout.concatenated ? values : (values[0] as string | number);
}

// Ends of ranges are numbers even where single values have names: "6-17", not "tcp-udp".
function plain(type: DataType, bytes: Uint8Array): string {
  const value = type.read(bytes);
  if (typeof value === "number" || type.size > 4 || type.name === "ipv4_addr") return String(value);
  const little = type.byteorder === hostOrder && littleEndian;
  const ordered = little ? bytes.toReversed() : bytes;
  return String(ordered.reduce((sum, byte) => sum * 256 + byte, 0));
}

function prefixOf(type: DataType, first: Uint8Array, last: Uint8Array): string | undefined {
  if (type.name !== "ipv4_addr" && type.name !== "ipv6_addr") return undefined;
  const low = Ip.fromBytes(first);
  const size = Ip.fromBytes(last).toBigInt() - low.toBigInt() + 1n;
  if (size <= 0n || (size & (size - 1n)) !== 0n || low.toBigInt() % size !== 0n) return undefined;
  return `${low}/${low.bits - (size.toString(2).length - 1)}`;
}
