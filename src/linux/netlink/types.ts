import { InvalidInput } from "../../lib/errors.ts";
import { formatMac, parseMac } from "../../lib/mac.ts";
import { didYouMean } from "../../lib/suggest.ts";
import {
  checkWhole,
  littleEndian,
  MalformedMessage,
  type Type,
  UnwritableValue,
  u8,
  u64,
  type Writer,
} from "./codec.ts";

/** A number of fixed size within a {@link Struct}. */
export interface Fixed {
  /** In bytes. */
  readonly size: number;
  readonly least: number;
  readonly most: number;
  write(view: DataView, at: number, value: number): void;
  read(view: DataView, at: number): number;
}

export const fixed = {
  u8: {
    size: 1,
    least: 0,
    most: 0xff,
    write: (view, at, value) => view.setUint8(at, value),
    read: (view, at) => view.getUint8(at),
  },
  u16: {
    size: 2,
    least: 0,
    most: 0xffff,
    write: (view, at, value) => view.setUint16(at, value, littleEndian),
    read: (view, at) => view.getUint16(at, littleEndian),
  },
  u16be: {
    size: 2,
    least: 0,
    most: 0xffff,
    write: (view, at, value) => view.setUint16(at, value, false),
    read: (view, at) => view.getUint16(at, false),
  },
  u32: {
    size: 4,
    least: 0,
    most: 0xffffffff,
    write: (view, at, value) => view.setUint32(at, value, littleEndian),
    read: (view, at) => view.getUint32(at, littleEndian),
  },
  u32be: {
    size: 4,
    least: 0,
    most: 0xffffffff,
    write: (view, at, value) => view.setUint32(at, value, false),
    read: (view, at) => view.getUint32(at, false),
  },
  s32: {
    size: 4,
    least: -0x80000000,
    most: 0x7fffffff,
    write: (view, at, value) => view.setInt32(at, value, littleEndian),
    read: (view, at) => view.getInt32(at, littleEndian),
  },
} satisfies Record<string, Fixed>;

/** A C struct without holes, described by its fields in order. */
export interface Struct<K extends string> extends Type<Record<K, number>> {
  /** In bytes. */
  readonly size: number;
  /** Writes the struct; what is not given is zero. */
  put(writer: Writer, value: { readonly [N in K]?: number | undefined }): void;
  /** Reads from the start of the bytes; more may follow. */
  read(bytes: Uint8Array): Record<K, number>;
}

/** Makes a {@link Struct}. */
export function struct<K extends string>(name: string, fields: Readonly<Record<K, Fixed>>): Struct<K> {
  const keys = Object.keys(fields) as K[];
  const types = keys.map((key) => fields[key]);
  const size = types.reduce((sum, type) => sum + type.size, 0);
  const put: Struct<K>["put"] = (writer, value) => {
    let at = writer.take(size);
    const { view } = writer;
    for (let i = 0; i < keys.length; i++) {
      const type = types[i] as Fixed;
      const given = value[keys[i] as K] ?? 0;
      if (!(Number.isInteger(given) && given >= type.least && given <= type.most)) {
        const problem = `is not a whole number from ${type.least} to ${type.most}`;
        throw new UnwritableValue(keys[i] as K, given, problem);
      }
      type.write(view, at, given);
      at += type.size;
    }
  };
  const read = (bytes: Uint8Array) => {
    if (bytes.length < size)
      throw new MalformedMessage(`${name} of ${bytes.length} bytes instead of ${size}`);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const value = {} as Record<K, number>;
    let at = 0;
    for (let i = 0; i < keys.length; i++) {
      const type = types[i] as Fixed;
      value[keys[i] as K] = type.read(view, at);
      at += type.size;
    }
    return value;
  };
  return { size, put, write: put, read };
}

/** Names for some of the values of a number; values without a name stay numbers, in both directions. */
export class Names<N extends string> {
  readonly #what: string;
  readonly #numbers: Readonly<Record<string, number>>;
  readonly #names = new Map<number, N>();

  constructor(what: string, numbers: Readonly<Record<N, number>>) {
    this.#what = what;
    this.#numbers = numbers;
    for (const [name, value] of Object.entries(numbers) as [N, number][]) this.#names.set(value, name);
  }

  /** The number of a name, or the number itself. Throws {@link InvalidInput} for an unknown name. */
  number(value: N | number): number {
    if (typeof value === "number") return value;
    const number = Object.hasOwn(this.#numbers, value) ? this.#numbers[value] : undefined;
    if (number !== undefined) return number;
    const names = Object.keys(this.#numbers);
    throw new InvalidInput(this.#what, value, `is none of its names${didYouMean(value, names)}`, {
      remedy: `Use ${names.join(", ")} or a number`,
    });
  }

  /** The name of a number, or the number itself. */
  name(value: number): N | number {
    return this.#names.get(value) ?? value;
  }

  /** As a type for schemas. */
  as(type: Type<number>): Type<N | number> {
    return {
      write: (writer, value) => type.write(writer, this.number(value)),
      read: (bytes) => this.name(type.read(bytes)),
    };
  }
}

/** Names for the bits of a mask. Bits without a name are dropped. */
export class Bits<N extends string> {
  readonly #what: string;
  readonly #bits: Readonly<Record<string, number>>;

  constructor(what: string, bits: Readonly<Record<N, number>>) {
    this.#what = what;
    this.#bits = bits;
  }

  /** The mask of these names. Throws {@link InvalidInput} for an unknown name. */
  mask(names: readonly N[]): number {
    let mask = 0;
    for (const name of names) {
      const bit = Object.hasOwn(this.#bits, name) ? this.#bits[name] : undefined;
      if (bit === undefined) {
        const known = Object.keys(this.#bits);
        throw new InvalidInput(this.#what, name, `is no such flag${didYouMean(name, known)}`, {
          remedy: `Use ${known.join(", ")}`,
        });
      }
      mask |= bit;
    }
    return mask >>> 0;
  }

  /** The names whose bits are set, in the order of their declaration. */
  names(mask: number): N[] {
    return (Object.keys(this.#bits) as N[]).filter((name) => (mask & (this.#bits[name] as number)) !== 0);
  }
}

/** A byte that is 0 or 1. */
export const bool: Type<boolean> = {
  write: (writer, value) => writer.u8(value ? 1 : 0),
  read: (bytes) => u8.read(bytes) !== 0,
};

/** A link-layer address as text, "0a:58:0a:f4:01:07". */
export const mac: Type<string> = {
  write: (writer, value) => writer.raw(parseMac(value)),
  read: (bytes) => formatMac(bytes),
};

/** 64 bits of which no more than 53 are ever used: a plain number. */
export const n64: Type<number> = {
  write: (writer, value) => writer.u64(BigInt(checkWhole(value, 0, Number.MAX_SAFE_INTEGER))),
  read: (bytes) => Number(u64.read(bytes)),
};
