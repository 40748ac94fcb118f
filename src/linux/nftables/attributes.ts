import { MalformedMessage, schema, type Type, text, u32be, u64be, type Writer } from "../netlink/codec.ts";
import type { Verdict } from "./verdict.ts";

/** A 64-bit number in network byte order as a plain number; beyond 2^53 (counters) it is rounded. */
export const n64: Type<number> = {
  write: (w, value) => w.u64be(BigInt(value)),
  read: (bytes) => Number(u64be.read(bytes)),
};

/** A signed 32-bit number in network byte order. */
export const s32be: Type<number> = {
  write: (w, value) => w.u32be(value >>> 0),
  read: (bytes) => u32be.read(bytes) | 0,
};

/** A number that goes by name. What has no name is malformed. */
export function enumeration<const T extends Readonly<Record<string, number>>>(
  names: T,
  type: Type<number> = u32be,
): Type<keyof T & string> {
  const byNumber = new Map(Object.entries(names).map(([name, value]) => [value, name as keyof T & string]));
  return {
    write: (w, name) => type.write(w, names[name] as number),
    read: (bytes) => {
      const value = type.read(bytes);
      const name = byNumber.get(value);
      if (name === undefined)
        throw new MalformedMessage(`${value} is none of ${Object.keys(names).join(", ")}`);
      return name;
    },
  };
}

/** Bits that go by name. Bits without a name are malformed. */
export function flags<const T extends Readonly<Record<string, number>>>(
  names: T,
  type: Type<number> = u32be,
): Type<readonly (keyof T & string)[]> {
  const entries = Object.entries(names) as [keyof T & string, number][];
  const all = entries.reduce((sum, [, bit]) => sum | bit, 0);
  return {
    write: (w, words) => type.write(w, words.reduce((sum, word) => sum | (names[word] as number), 0) >>> 0),
    read: (bytes) => {
      const value = type.read(bytes);
      if ((value & ~all) !== 0) throw new MalformedMessage(`flags ${value} have bits without a name`);
      return entries.filter(([, bit]) => (value & bit) !== 0).map(([name]) => name);
    },
  };
}

const NFTA_DATA_VALUE = 1;
const NFTA_DATA_VERDICT = 2;

const verdictAttributes = schema({
  code: [
    1,
    enumeration({ drop: 0, accept: 1, continue: -1, break: -2, jump: -3, goto: -4, return: -5 }, s32be),
  ],
  chain: [2, text],
});

/** NFTA_DATA_VALUE or NFTA_DATA_VERDICT inside an attribute. */
export const data: Type<Uint8Array | Verdict> = {
  nested: true,
  write: (w, value) => {
    if (value instanceof Uint8Array) return writeBytes(w, value);
    const at = w.beginNested(NFTA_DATA_VERDICT);
    verdictAttributes.write(w, {
      code: value.verdict,
      ...(value.chain !== undefined && { chain: value.chain }),
    });
    w.end(at);
  },
  read: (bytes) => {
    const { value, verdict } = dataAttributes.read(bytes);
    if (value !== undefined) return value;
    if (verdict?.code === undefined) throw new MalformedMessage("data that is neither value nor verdict");
    return verdict.chain === undefined
      ? { verdict: verdict.code }
      : { verdict: verdict.code, chain: verdict.chain };
  },
};

const bytesType: Type<Uint8Array> = { write: (w, value) => w.raw(value), read: (bytes) => bytes.slice() };
const dataAttributes = schema({
  value: [NFTA_DATA_VALUE, bytesType],
  verdict: [NFTA_DATA_VERDICT, verdictAttributes],
});

function writeBytes(w: Writer, value: Uint8Array): void {
  const at = w.begin(NFTA_DATA_VALUE);
  w.raw(value);
  w.end(at);
}

/** Data that can only be bytes. */
export const bytes: Type<Uint8Array> = {
  nested: true,
  write: writeBytes,
  read: (payload) => {
    const value = data.read(payload);
    if (!(value instanceof Uint8Array)) throw new MalformedMessage("a verdict where a value was expected");
    return value;
  },
};
