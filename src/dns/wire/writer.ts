import { InvalidInput } from "../../lib/errors.ts";
import type { Ip } from "../../lib/ip.ts";
import { RrClass } from "./constants.ts";
import { nameFromText, parentName, rootName, type WireName } from "./name.ts";
import { type FieldKind, fieldsOf, isKnown, type ResourceRecord } from "./schema.ts";

/** The longest message that TCP can carry (RFC 1035 section 4.2.2). */
export const maxMessage = 65535;

/** Writes a message from left to right into a buffer that grows, and remembers names for compression. */
export class Writer {
  #bytes = Buffer.allocUnsafe(512);
  #length = 0;
  readonly #names = new Map<WireName, number>();

  get length(): number {
    return this.#length;
  }

  /** A copy of what was written. */
  finish(): Buffer {
    return Buffer.from(this.#bytes.subarray(0, this.#length));
  }

  /** Forgets what was written from `length` on, such as a record that does not fit. */
  rewind(length: number): void {
    this.#length = length;
    for (const [name, offset] of this.#names) if (offset >= length) this.#names.delete(name);
  }

  u8(value: number): void {
    const at = this.#reserve(1);
    this.#bytes[at] = value;
  }

  u16(value: number): void {
    const at = this.#reserve(2);
    this.#bytes[at] = value >>> 8;
    this.#bytes[at + 1] = value;
  }

  u32(value: number): void {
    this.u16(Math.floor(value / 0x10000));
    this.u16(value & 0xffff);
  }

  setU16(at: number, value: number): void {
    this.#bytes[at] = value >>> 8;
    this.#bytes[at + 1] = value;
  }

  raw(bytes: Uint8Array): void {
    const at = this.#reserve(bytes.length);
    this.#bytes.set(bytes, at);
  }

  /** One character per byte. */
  latin1(text: string): void {
    const at = this.#reserve(text.length);
    this.#bytes.write(text, at, "latin1");
  }

  /**
   * A name; where `compress` is set, its longest tail that already stands in the message becomes a pointer. Only a tail
   * of the same letter case is taken, so that case is kept.
   */
  name(wire: WireName, compress: boolean): void {
    let rest = wire;
    while (rest !== rootName) {
      const known = compress ? this.#names.get(rest) : undefined;
      if (known !== undefined) {
        this.u16(0xc000 | known);
        return;
      }
      // A pointer has 14 bits. Uncompressed names may be pointed at as well.
      if (this.#length < 0x4000 && !this.#names.has(rest)) this.#names.set(rest, this.#length);
      const end = 1 + rest.charCodeAt(0);
      this.latin1(rest.slice(0, end));
      rest = parentName(rest);
    }
    this.u8(0);
  }

  record(record: ResourceRecord): void {
    this.name(nameFromText(record.name), true);
    this.u16(record.type);
    this.u16(record.class);
    this.u32(record.ttl);
    const at = this.#length;
    this.u16(0);
    if (isKnown(record)) {
      const data = record.data as Record<string, unknown>;
      for (const [field, kind] of fieldsOf(record.type) ?? []) this.#field(field, kind, data[field]);
    } else {
      this.raw(record.rdata);
    }
    this.setU16(at, this.#length - at - 2);
  }

  /** A record of class IN whose RDATA is in wire form with its names uncompressed. */
  rawRecord(owner: WireName, type: number, ttl: number, rdata: string): void {
    this.name(owner, true);
    this.u16(type);
    this.u16(RrClass.IN);
    this.u32(ttl);
    const at = this.#length;
    this.u16(0);
    let from = 0;
    for (const [, kind] of fieldsOf(type) ?? []) {
      if (kind !== "name" && kind !== "plain-name") {
        // What stands before the last name has a fixed size in all types that have names.
        const size = kind === "u16" ? 2 : kind === "u32" ? 4 : rdata.length - from;
        this.latin1(rdata.slice(from, from + size));
        from += size;
        continue;
      }
      let end = from;
      while (rdata.charCodeAt(end) > 0) end += 1 + rdata.charCodeAt(end);
      this.name(rdata.slice(from, end + 1), kind === "name");
      from = end + 1;
    }
    this.latin1(rdata.slice(from));
    this.setU16(at, this.#length - at - 2);
  }

  #field(field: string, kind: FieldKind, value: unknown): void {
    switch (kind) {
      case "u16":
        this.u16(value as number);
        break;
      case "u32":
        this.u32(value as number);
        break;
      case "ipv4":
      case "ipv6": {
        const ip = value as Ip;
        if (ip.family !== (kind === "ipv4" ? 4 : 6)) throw new InvalidInput(field, ip, `is not ${kind}`);
        this.raw(ip.bytes);
        break;
      }
      case "name":
      case "plain-name":
        this.name(nameFromText(value as string, field), kind === "name");
        break;
      case "string":
        this.#string(field, value as string);
        break;
      case "strings":
        for (const text of value as string[]) this.#string(field, text);
        break;
    }
  }

  #string(field: string, text: string): void {
    if (text.length > 255) throw new InvalidInput(field, text, "is longer than 255 bytes");
    this.u8(text.length);
    this.latin1(text);
  }

  #reserve(length: number): number {
    const at = this.#length;
    if (at + length > this.#bytes.length) {
      const grown = Buffer.allocUnsafe(Math.max(this.#bytes.length * 2, at + length));
      grown.set(this.#bytes.subarray(0, at));
      this.#bytes = grown;
    }
    this.#length = at + length;
    return at;
  }
}
