import { Ip } from "../../lib/ip.ts";
import { RrType } from "./constants.ts";
import { DnsFormatError } from "./errors.ts";
import { latin1, nameToText, readName } from "./name.ts";
import { type FieldKind, fieldsOf, type ResourceRecord } from "./schema.ts";

/** Reads a message from left to right; every method throws a DnsFormatError rather than pass the end. */
export class Reader {
  readonly bytes: Uint8Array;
  offset = 0;

  constructor(bytes: Uint8Array, offset = 0) {
    this.bytes = bytes;
    this.offset = offset;
  }

  u16(): number {
    const at = this.take(2);
    return ((this.bytes[at] as number) << 8) | (this.bytes[at + 1] as number);
  }

  u32(): number {
    return this.u16() * 0x10000 + this.u16();
  }

  /** A name as text with a final dot. */
  name(): string {
    const { name, end } = readName(this.bytes, this.offset);
    this.offset = end;
    return nameToText(name);
  }

  /** A copy of the next `length` bytes. */
  copy(length: number): Uint8Array {
    const at = this.take(length);
    return this.bytes.slice(at, at + length);
  }

  /** A character-string (RFC 1035 section 3.3). */
  string(): string {
    const length = this.bytes[this.take(1)] as number;
    const at = this.take(length);
    return latin1(this.bytes, at, at + length);
  }

  take(length: number): number {
    const at = this.offset;
    if (at + length > this.bytes.length) throw new DnsFormatError(at, "the message ends too early");
    this.offset = at + length;
    return at;
  }

  /** A resource record, its RDATA decoded by the schema of its type. */
  record(): ResourceRecord {
    const name = this.name();
    const type = this.u16();
    const rrClass = this.u16();
    const rawTtl = this.u32();
    // RFC 2181 section 8: a TTL with its highest bit set counts as 0. In OPT the field is not a time.
    const ttl = rawTtl > 0x7fffffff && type !== RrType.OPT ? 0 : rawTtl;
    const head = { name, type, class: rrClass, ttl };
    const length = this.u16();
    const end = this.offset + length;
    if (end > this.bytes.length) throw new DnsFormatError(this.offset, "RDATA runs past the end");
    const fields = fieldsOf(type);
    if (fields === undefined) return { ...head, rdata: this.copy(length) };
    const data: Record<string, unknown> = {};
    for (const [field, kind] of fields) data[field] = this.#field(kind, end);
    if (this.offset !== end)
      throw new DnsFormatError(this.offset, "RDATA is longer or shorter than its fields");
    return { ...head, data } as ResourceRecord;
  }

  #field(kind: FieldKind, end: number): unknown {
    switch (kind) {
      case "u16":
        return this.u16();
      case "u32":
        return this.u32();
      case "ipv4":
        return Ip.fromBytes(this.copy(4));
      case "ipv6":
        return Ip.fromBytes(this.copy(16));
      case "name":
      case "plain-name":
        return this.name();
      case "string":
        return this.string();
      case "strings": {
        const strings: string[] = [];
        while (this.offset < end) strings.push(this.string());
        return strings;
      }
    }
  }
}
