import { InvalidInput } from "../../lib/errors.ts";
import { MalformedMessage, type Value, Writer } from "../netlink/codec.ts";
import { data } from "./attributes.ts";
import { expression, expressionList } from "./expressions.ts";
import type { elementAttributes } from "./messages.ts";
import type { Element, NftMap, NftSet, Values, Verdict } from "./model.ts";
import { compareBytes, predecessor, successor } from "./ranges.ts";
import { elementComment, readComment } from "./userdata.ts";
import { decodeRange, decodeValue, encodeRange, type Layout, layoutOf, writeValue } from "./values.ts";

const NFTA_LIST_ELEM = 1;
const NFTA_SET_ELEM_KEY = 1;
const NFTA_SET_ELEM_DATA = 2;
const NFTA_SET_ELEM_FLAGS = 3;
const NFTA_SET_ELEM_TIMEOUT = 4;
const NFTA_SET_ELEM_EXPIRATION = 5;
const NFTA_SET_ELEM_USERDATA = 6;
const NFTA_SET_ELEM_EXPR = 7;
const NFTA_SET_ELEM_KEY_END = 10;
const NFTA_SET_ELEM_EXPRESSIONS = 11;
const NFTA_DATA_VALUE = 1;
const INTERVAL_END = 1;
const CATCHALL = 2;

/** The key that matches where no other does. */
export const CATCHALL_KEY = "*";

/** True for a value that is a verdict and not data. */
export function isVerdict(value: Values | Verdict): value is Verdict {
  return typeof value === "object" && "verdict" in value;
}

/** How a set's elements stand in bytes; made once for all elements of an operation. */
export class ElementCodec {
  readonly #set: NftSet | NftMap;
  readonly #key: Layout;
  readonly #data: Layout | undefined;
  readonly #interval: boolean;
  #template: Template | undefined;

  constructor(set: NftSet | NftMap) {
    this.#set = set;
    this.#key = layoutOf(set.key);
    this.#data = set.kind === "map" && set.data !== "verdict" ? layoutOf(set.data) : undefined;
    this.#interval = set.flags?.includes("interval") ?? false;
  }

  /**
   * Appends an element as NFTA_LIST_ELEM attributes, and returns how many: two for an interval, its start and its end.
   * `bare` leaves all but the key out.
   */
  write(writer: Writer, element: Element, bare: boolean): number {
    if (!bare && this.#isPlain(element)) {
      this.#writePlain(writer, element.key, element.data as Values | undefined);
      return 1;
    }
    const at = writer.beginNested(NFTA_LIST_ELEM);
    let after: Uint8Array | undefined;
    if (element.key === CATCHALL_KEY) {
      writeU32(writer, NFTA_SET_ELEM_FLAGS, CATCHALL);
    } else if (!this.#interval) {
      const outer = writer.beginNested(NFTA_SET_ELEM_KEY);
      writeLaidOut(writer, this.#key, element.key);
      writer.end(outer);
    } else {
      const [from, to] = encodeRange(this.#key, element.key);
      writeBytes(writer, NFTA_SET_ELEM_KEY, from);
      if (this.#key.concatenated) writeBytes(writer, NFTA_SET_ELEM_KEY_END, to);
      else after = successor(to);
    }
    if (!bare) this.#writeRest(writer, element);
    writer.end(at);
    if (after === undefined) return 1;
    const end = writer.beginNested(NFTA_LIST_ELEM);
    writeBytes(writer, NFTA_SET_ELEM_KEY, after);
    writeU32(writer, NFTA_SET_ELEM_FLAGS, INTERVAL_END);
    writer.end(end);
    return 2;
  }

  /** True for a key with or without data, and nothing else: all such elements of a set are of the same form. */
  #isPlain({ key, data, timeout, expires, comment, expressions }: Element): boolean {
    if (this.#interval || key === CATCHALL_KEY || timeout !== undefined || expires !== undefined)
      return false;
    if (comment !== undefined || expressions !== undefined) return false;
    return this.#set.kind === "map"
      ? this.#data !== undefined && data !== undefined && !isVerdict(data)
      : data === undefined;
  }

  /** Copies the form and fills in the values. */
  #writePlain(writer: Writer, key: Values, value: Values | undefined): void {
    this.#template ??= template(this.#key, this.#data);
    const { bytes, keyAt, dataAt } = this.#template;
    const at = writer.take(bytes.length);
    writer.bytes.set(bytes, at);
    writeValue(this.#key, key, writer.bytes, at + keyAt);
    if (this.#data !== undefined) writeValue(this.#data, value as Values, writer.bytes, at + dataAt);
  }

  #writeRest(writer: Writer, element: Element): void {
    this.#writeData(writer, element);
    if (element.timeout !== undefined) writeU64(writer, NFTA_SET_ELEM_TIMEOUT, element.timeout);
    if (element.expires !== undefined) writeU64(writer, NFTA_SET_ELEM_EXPIRATION, element.expires);
    const comment = elementComment(element);
    if (comment !== undefined) {
      const at = writer.begin(NFTA_SET_ELEM_USERDATA);
      writer.raw(comment);
      writer.end(at);
    }
    const { expressions } = element;
    const [first] = expressions ?? [];
    if (expressions === undefined || first === undefined) return;
    const single = expressions.length === 1;
    const at = writer.beginNested(single ? NFTA_SET_ELEM_EXPR : NFTA_SET_ELEM_EXPRESSIONS);
    if (single) expression.write(writer, first);
    else expressionList.write(writer, [...expressions]);
    writer.end(at);
  }

  #writeData(writer: Writer, element: Element): void {
    const value = element.data;
    if (this.#set.kind !== "map") {
      if (value === undefined) return;
      throw new InvalidInput("data", value, `is given for an element of the set "${this.#set.name}"`);
    }
    if (value === undefined) {
      throw new InvalidInput("data", value, `is missing in an element of the map "${this.#set.name}"`);
    }
    const at = writer.beginNested(NFTA_SET_ELEM_DATA);
    if (this.#data === undefined) {
      if (!isVerdict(value)) throw new InvalidInput("data", value, "is not a verdict");
      data.write(writer, value);
    } else {
      if (isVerdict(value)) throw new InvalidInput("data", value, "is a verdict in a map of values");
      writeLaidOut(writer, this.#data, value);
    }
    writer.end(at);
  }

  /** The elements that a dump's attributes stand for; ends of intervals are joined to their starts. Sorted by key. */
  read(list: readonly Value<typeof elementAttributes>[]): Element[] {
    const elements: { key: Uint8Array; element: Element }[] = [];
    const starts: { key: Uint8Array; raw: Value<typeof elementAttributes>; end: boolean }[] = [];
    for (const raw of list) {
      if (raw.flags?.includes("catchall")) {
        elements.push({ key: new Uint8Array(0), element: { key: CATCHALL_KEY, ...this.#readRest(raw) } });
        continue;
      }
      const key = keyBytes(raw.key);
      if (this.#interval && !this.#key.concatenated) {
        starts.push({ key, raw, end: raw.flags?.includes("end") ?? false });
        continue;
      }
      const value =
        raw.keyEnd === undefined
          ? decodeValue(this.#key, key)
          : decodeRange(this.#key, key, keyBytes(raw.keyEnd));
      elements.push({ key, element: { key: value, ...this.#readRest(raw) } });
    }
    elements.push(...this.#joinIntervals(starts));
    return elements.sort((a, b) => compareBytes(a.key, b.key)).map(({ element }) => element);
  }

  #joinIntervals(
    ends: { key: Uint8Array; raw: Value<typeof elementAttributes>; end: boolean }[],
  ): { key: Uint8Array; element: Element }[] {
    ends.sort((a, b) => compareBytes(a.key, b.key) || Number(b.end) - Number(a.end));
    const joined: { key: Uint8Array; element: Element }[] = [];
    for (const [i, { key, raw, end }] of ends.entries()) {
      if (end) continue;
      // Without an end the interval reaches the greatest value.
      const next = ends[i + 1];
      const to = next === undefined ? new Uint8Array(key.length).fill(0xff) : predecessor(next.key);
      joined.push({ key, element: { key: decodeRange(this.#key, key, to), ...this.#readRest(raw) } });
    }
    return joined;
  }

  #readRest(raw: Value<typeof elementAttributes>): Omit<Element, "key"> {
    const comment = readComment(raw.userData);
    const expressions = raw.expressions ?? (raw.expression && [raw.expression]);
    return {
      ...(raw.data !== undefined && { data: this.#readData(raw.data) }),
      ...(raw.timeout !== undefined && { timeout: raw.timeout }),
      ...(raw.expiration !== undefined && { expires: raw.expiration }),
      ...(comment !== undefined && { comment }),
      ...(expressions !== undefined && { expressions }),
    };
  }

  #readData(value: Uint8Array | Verdict): Values | Verdict {
    if (!(value instanceof Uint8Array)) return value;
    if (this.#data === undefined) throw new MalformedMessage("a value in a verdict map");
    return decodeValue(this.#data, value);
  }
}

/** A plain element with zeros for values, and where its values stand. */
interface Template {
  readonly bytes: Uint8Array;
  readonly keyAt: number;
  readonly dataAt: number;
}

function template(key: Layout, dataLayout: Layout | undefined): Template {
  const writer = new Writer();
  const at = writer.beginNested(NFTA_LIST_ELEM);
  const keyAt = writeBytes(writer, NFTA_SET_ELEM_KEY, new Uint8Array(key.length));
  const dataAt =
    dataLayout === undefined ? 0 : writeBytes(writer, NFTA_SET_ELEM_DATA, new Uint8Array(dataLayout.length));
  writer.end(at);
  return { bytes: writer.finish(), keyAt, dataAt };
}

function keyBytes(value: Uint8Array | Verdict | undefined): Uint8Array {
  if (!(value instanceof Uint8Array)) throw new MalformedMessage("an element without a key");
  return value;
}

// NFTA_DATA_VALUE, encoded in place.
function writeLaidOut(writer: Writer, layout: Layout, value: Values): void {
  const inner = writer.begin(NFTA_DATA_VALUE);
  const at = writer.take(layout.length);
  writer.bytes.fill(0, at, at + layout.length);
  writeValue(layout, value, writer.bytes, at);
  writer.end(inner);
}

/** Returns where the bytes stand. */
function writeBytes(writer: Writer, attribute: number, bytes: Uint8Array): number {
  const outer = writer.beginNested(attribute);
  const inner = writer.begin(NFTA_DATA_VALUE);
  const at = writer.length;
  writer.raw(bytes);
  writer.end(inner);
  writer.end(outer);
  return at;
}

function writeU32(writer: Writer, attribute: number, value: number): void {
  const at = writer.begin(attribute);
  writer.u32be(value);
  writer.end(at);
}

function writeU64(writer: Writer, attribute: number, value: number): void {
  const at = writer.begin(attribute);
  writer.u64be(BigInt(value));
  writer.end(at);
}
