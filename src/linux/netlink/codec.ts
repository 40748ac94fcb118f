import { InvalidInput, WeftError } from "../../lib/errors.ts";
import { Ip } from "../../lib/ip.ts";

/** Netlink speaks the host's byte order. */
export const littleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Bytes that are not what the schema says. */
export class MalformedMessage extends WeftError {
  constructor(what: string) {
    super("malformed-message", `netlink: ${what}`);
  }
}

/** A value that an attribute or a field of a struct cannot hold. `field` is the way to it, such as "vlan.id". */
export class UnwritableValue extends InvalidInput {
  readonly #problem: string;

  constructor(field: string, value: unknown, problem: string) {
    super(field || "value", value, problem);
    this.#problem = problem;
  }

  /** The same, seen from one level further out. */
  below(name: string): UnwritableValue {
    const path = this.field === "value" ? name : `${name}.${this.field}`;
    return new UnwritableValue(path, this.value, this.#problem);
  }
}

/** The number where it is whole and within bounds. What would be cut to fit would be something else. */
export function checkWhole(value: number, least: number, most: number): number {
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new UnwritableValue("", value, `is not a whole number from ${least} to ${most}`);
}

/** A growing buffer into which messages are written; offsets are from its start. */
export class Writer {
  bytes = new Uint8Array(4096);
  length = 0;
  /** Over `bytes`; another one after each growth. */
  view = new DataView(this.bytes.buffer);

  /** Makes room for `count` bytes and returns where they start. */
  take(count: number): number {
    const at = this.length;
    if (at + count > this.bytes.length) this.#grow(at + count);
    this.length = at + count;
    return at;
  }

  #grow(least: number): void {
    const bytes = new Uint8Array(Math.max(least, this.bytes.length * 2));
    bytes.set(this.bytes);
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer);
  }

  u8(value: number): void {
    // In two steps: the buffer may be another one after taking.
    const at = this.take(1);
    this.bytes[at] = value;
  }

  u16(value: number): void {
    const at = this.take(2);
    this.view.setUint16(at, value, littleEndian);
  }

  u32(value: number): void {
    const at = this.take(4);
    this.view.setUint32(at, value, littleEndian);
  }

  u64(value: bigint): void {
    const at = this.take(8);
    this.view.setBigUint64(at, value, littleEndian);
  }

  u16be(value: number): void {
    const at = this.take(2);
    this.view.setUint16(at, value, false);
  }

  u32be(value: number): void {
    const at = this.take(4);
    this.view.setUint32(at, value, false);
  }

  u64be(value: bigint): void {
    const at = this.take(8);
    this.view.setBigUint64(at, value, false);
  }

  raw(bytes: Uint8Array): void {
    const at = this.take(bytes.length);
    this.bytes.set(bytes, at);
  }

  /** Overwrites what was written earlier. */
  patchU16(at: number, value: number): void {
    this.view.setUint16(at, value, littleEndian);
  }

  patchU32(at: number, value: number): void {
    this.view.setUint32(at, value, littleEndian);
  }

  /** Pads with zeros to a multiple of four (NLMSG_ALIGN). */
  align(): void {
    const rest = this.length & 3;
    if (rest !== 0) {
      const at = this.take(4 - rest);
      this.bytes.fill(0, at, this.length);
    }
  }

  /** Opens an attribute; give what it returns to {@link end}. */
  begin(type: number): number {
    const at = this.take(4);
    this.view.setUint16(at + 2, type, littleEndian);
    return at;
  }

  /** Opens an attribute that holds attributes. */
  beginNested(type: number): number {
    return this.begin(type | NLA_F_NESTED);
  }

  /** Closes an attribute: its length is now known. */
  end(at: number): void {
    const length = this.length - at;
    if (length > 0xffff) throw new MalformedMessage(`an attribute of ${length} bytes does not fit in 65535`);
    this.view.setUint16(at, length, littleEndian);
    if ((length & 3) !== 0) this.align();
  }

  /** A copy of what was written. */
  finish(): Uint8Array {
    return this.bytes.slice(0, this.length);
  }
}

/** How one kind of value stands in bytes: written by the encoder and read by the decoder. */
export interface Type<T> {
  /** True for a value made of attributes (NLA_F_NESTED). */
  readonly nested?: boolean;
  write(writer: Writer, value: T): void;
  read(bytes: Uint8Array): T;
}

function viewOf(bytes: Uint8Array, length: number): DataView {
  if (bytes.length < length)
    throw new MalformedMessage(`${bytes.length} bytes where ${length} were expected`);
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

export const u8: Type<number> = {
  write: (w, value) => w.u8(checkWhole(value, 0, 0xff)),
  read: (bytes) => viewOf(bytes, 1).getUint8(0),
};

export const u16: Type<number> = {
  write: (w, value) => w.u16(checkWhole(value, 0, 0xffff)),
  read: (bytes) => viewOf(bytes, 2).getUint16(0, littleEndian),
};

export const u32: Type<number> = {
  write: (w, value) => w.u32(checkWhole(value, 0, 0xffffffff)),
  read: (bytes) => viewOf(bytes, 4).getUint32(0, littleEndian),
};

export const s32: Type<number> = {
  write: (w, value) => w.u32(checkWhole(value, -0x80000000, 0x7fffffff) >>> 0),
  read: (bytes) => viewOf(bytes, 4).getInt32(0, littleEndian),
};

export const u64: Type<bigint> = {
  write: (w, value) => w.u64(value),
  read: (bytes) => viewOf(bytes, 8).getBigUint64(0, littleEndian),
};

/** Network byte order, as nfnetlink and some link attributes use it. */
export const u16be: Type<number> = {
  write: (w, value) => w.u16be(checkWhole(value, 0, 0xffff)),
  read: (bytes) => viewOf(bytes, 2).getUint16(0, false),
};

export const u32be: Type<number> = {
  write: (w, value) => w.u32be(checkWhole(value, 0, 0xffffffff)),
  read: (bytes) => viewOf(bytes, 4).getUint32(0, false),
};

export const u64be: Type<bigint> = {
  write: (w, value) => w.u64be(value),
  read: (bytes) => viewOf(bytes, 8).getBigUint64(0, false),
};

/** Text that ends with a zero byte (NLA_NUL_STRING). */
export const text: Type<string> = {
  write: (w, value) => {
    if (value.includes("\0")) throw new UnwritableValue("", value, "has a zero byte in it");
    w.raw(encoder.encode(value));
    w.u8(0);
  },
  read: (bytes) => {
    const end = bytes.indexOf(0);
    return decoder.decode(end < 0 ? bytes : bytes.subarray(0, end));
  },
};

/** Bytes as they are. */
export const binary: Type<Uint8Array> = {
  write: (w, value) => w.raw(value),
  read: (bytes) => bytes.slice(),
};

/** Present or absent (NLA_FLAG): written only when true. */
export const flag: Type<true> = { write: () => {}, read: () => true };

/** An address of either family, told apart by its length. */
export const ip: Type<Ip> = {
  write: (w, value) => w.raw(value.bytes),
  read: (bytes) => {
    if (bytes.length !== 4 && bytes.length !== 16)
      throw new MalformedMessage(`an address of ${bytes.length} bytes`);
    return Ip.fromBytes(bytes);
  },
};

/** A field of a schema: the attribute's number and the type of its value. */
export type Field = readonly [number: number, type: Type<unknown>];

/** Attributes by the names that Weft gives them. */
export type Fields = Readonly<Record<string, Field>>;

/** The object that a schema encodes and decodes: every field is optional, as attributes are. */
export type ValueOf<F extends Fields> = {
  -readonly [K in keyof F]?: F[K][1] extends Type<infer T> ? T : never;
};

/** The plain-data type of a {@link Schema}. */
export type Value<S> = S extends Schema<infer F> ? ValueOf<F> : never;

/** Attributes described once; encoder and decoder in one. */
export class Schema<F extends Fields> implements Type<ValueOf<F>> {
  readonly nested = true;
  readonly fields: F;
  // Made at the first reading: a program that lives for a moment reads few of the schemas that it loads.
  #byNumber: Map<number, [name: string, type: Type<unknown>]> | undefined;

  constructor(fields: F) {
    this.fields = fields;
  }

  /**
   * Writes the attributes that the value has, in its order; what the schema does not name is passed over. Throws
   * {@link UnwritableValue}.
   */
  write(writer: Writer, value: ValueOf<F>): void {
    // By the value's few keys, not the schema's many.
    for (const name in value) {
      const given = value[name];
      const field = given === undefined ? undefined : this.fields[name];
      if (field === undefined) continue;
      // Not destructured, here and below: that costs an iterator, and this runs for every attribute.
      const number = field[0];
      const type = field[1];
      const at = writer.begin(type.nested ? number | NLA_F_NESTED : number);
      try {
        type.write(writer, given);
      } catch (error) {
        throw error instanceof UnwritableValue ? error.below(name) : error;
      }
      writer.end(at);
    }
  }

  /** Reads attributes; numbers that the schema lacks are passed over. */
  read(bytes: Uint8Array): ValueOf<F> {
    return this.readFrom(bytes, 0);
  }

  /** Reads the attributes that follow a header of `start` bytes. */
  readFrom(bytes: Uint8Array, start: number): ValueOf<F> {
    this.#byNumber ??= new Map(
      Object.entries(this.fields).map(([name, [number, type]]) => [number, [name, type]]),
    );
    const value: Record<string, unknown> = {};
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (let at = start; at + 4 <= bytes.length; ) {
      const end = at + lengthAt(view, at);
      const field = this.#byNumber.get(view.getUint16(at + 2, littleEndian) & NLA_TYPE_MASK);
      if (field !== undefined) value[field[0]] = field[1].read(bytes.subarray(at + 4, end));
      at = (end + 3) & ~3;
    }
    return value as ValueOf<F>;
  }
}

/** Makes a {@link Schema}. */
export function schema<const F extends Fields>(fields: F): Schema<F> {
  return new Schema(fields);
}

/** A list of values, each in an attribute of the same number (as NFTA_LIST_ELEM) or counted from it (as arrays). */
export function list<T>(number: number, type: Type<T>, counted = false): Type<T[]> {
  return {
    nested: true,
    write: (writer, values) => {
      for (const [i, value] of values.entries()) {
        const element = counted ? number + i : number;
        const at = type.nested ? writer.beginNested(element) : writer.begin(element);
        type.write(writer, value);
        writer.end(at);
      }
    },
    read: (bytes) => Array.from(attributes(bytes), ([, payload]) => type.read(payload)),
  };
}

/** The attributes in a stretch of bytes: type without its flags, and payload (a view, not a copy). */
export function* attributes(bytes: Uint8Array): Generator<[type: number, payload: Uint8Array]> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0; at + 4 <= bytes.length; ) {
    const end = at + lengthAt(view, at);
    yield [view.getUint16(at + 2, littleEndian) & NLA_TYPE_MASK, bytes.subarray(at + 4, end)];
    at = (end + 3) & ~3;
  }
}

/** The length of the attribute that begins at `at`, header included. */
function lengthAt(view: DataView, at: number): number {
  const length = view.getUint16(at, littleEndian);
  if (length < 4 || at + length > view.byteLength) {
    throw new MalformedMessage(`an attribute says ${length} bytes where ${view.byteLength - at} are left`);
  }
  return length;
}
