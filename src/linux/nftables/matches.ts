import { InvalidInput } from "../../lib/errors.ts";
import {
  checkKey,
  type Key,
  type RuleBuilder,
  registerAt,
  type Selector,
  type Statement,
} from "./builder.ts";
import { type DataType, type Datum, dataTypes } from "./datatypes.ts";
import type { NftSet } from "./model.ts";
import { encodeRange, encodeValue, layoutOf } from "./values.ts";

const REGISTER = registerAt(0);
const bitmasks = new Set(["ct_state", "ct_status", "tcp_flag"]);

/** True for types whose numbers stand in the machine's own byte order, which the kernel cannot order. */
function isHostOrder(type: DataType): boolean {
  return type.byteorder === 1 && type.size > 1 && type.name !== "ifname";
}

/**
 * The packet's value is this one, or lies in this prefix ("10.0.0.0/8") or range ("30000-32767"). An interface name may
 * end with "*". Of flags such as "established,related", any is enough.
 */
export function is(selector: Selector, value: Datum): Statement {
  return (rule) => compare(rule, selector, value, true);
}

/** The opposite of {@link is}: of flags, none is set. */
export function isNot(selector: Selector, value: Datum): Statement {
  return (rule) => compare(rule, selector, value, false);
}

function compare(rule: RuleBuilder, selector: Selector, value: Datum, equal: boolean): void {
  const { type } = selector;
  selector.prepare?.(rule);
  if (bitmasks.has(type)) compareFlags(rule, selector, value, equal);
  else if (type === "ifname" && typeof value === "string" && value.endsWith("*")) {
    const start = new TextEncoder().encode(value.slice(0, -1));
    compareBytes(rule, selector, start, equal);
  } else {
    const [from, to] = encodeRange(layoutOf(type), value);
    if (from.every((byte, i) => byte === to[i])) {
      compareBytes(rule, selector, from, equal);
      if (equal) selector.learn?.(rule, from);
    } else if (typeof value === "string" && value.includes("/")) {
      comparePrefix(rule, selector, from, to, equal);
    } else {
      compareRange(rule, selector, from, to, equal);
    }
  }
}

function compareBytes(rule: RuleBuilder, selector: Selector, data: Uint8Array, equal: boolean): void {
  const { size } = dataTypes[selector.type];
  selector.load(rule, REGISTER, selector.partial === true && data.length < size ? data.length : undefined);
  rule.push({ name: "cmp", source: REGISTER, op: equal ? "eq" : "neq", data });
}

function compareRange(
  rule: RuleBuilder,
  selector: Selector,
  from: Uint8Array,
  to: Uint8Array,
  equal: boolean,
): void {
  selector.load(rule, REGISTER);
  const [first, last] = ordered(rule, dataTypes[selector.type], from, to);
  if (equal) {
    rule.push({ name: "cmp", source: REGISTER, op: "gte", data: first });
    rule.push({ name: "cmp", source: REGISTER, op: "lte", data: last });
  } else {
    rule.push({ name: "range", source: REGISTER, op: "neq", from: first, to: last });
  }
}

function compareFlags(rule: RuleBuilder, selector: Selector, value: Datum, any: boolean): void {
  const layout = layoutOf(selector.type);
  selector.load(rule, REGISTER);
  rule.push({
    name: "bitwise",
    source: REGISTER,
    register: REGISTER,
    length: layout.length,
    mask: encodeValue(layout, value),
    xor: new Uint8Array(layout.length),
  });
  const zero = new Uint8Array(layout.length);
  rule.push({ name: "cmp", source: REGISTER, op: any ? "neq" : "eq", data: zero });
}

/** Whole bytes of a header are compared as they are; otherwise the host bits are cleared first. */
function comparePrefix(
  rule: RuleBuilder,
  selector: Selector,
  from: Uint8Array,
  to: Uint8Array,
  equal: boolean,
): void {
  const mask = from.map((byte, i) => ~(byte ^ (to[i] as number)) & 0xff);
  const whole = mask.findIndex((byte) => byte !== 0xff);
  if (mask[0] === 0) {
    throw new InvalidInput("prefix", 0, "is a length that matches everything: leave the condition out");
  }
  if (mask[whole] === 0 && selector.partial === true) {
    compareBytes(rule, selector, from.slice(0, whole), equal);
    return;
  }
  const { length } = from;
  selector.load(rule, REGISTER);
  rule.push({
    name: "bitwise",
    source: REGISTER,
    register: REGISTER,
    length,
    mask,
    xor: new Uint8Array(length),
  });
  rule.push({ name: "cmp", source: REGISTER, op: equal ? "eq" : "neq", data: from });
}

/** Brings the register and the two ends into network byte order, in which the kernel compares. */
function ordered(
  rule: RuleBuilder,
  type: DataType,
  from: Uint8Array,
  to: Uint8Array,
): [Uint8Array, Uint8Array] {
  if (!isHostOrder(type)) return [from, to];
  rule.push({
    name: "byteorder",
    source: REGISTER,
    register: REGISTER,
    op: "hton",
    length: type.size,
    size: type.size,
  });
  return [from.toReversed(), to.toReversed()];
}

/** The packet's value is less or greater than this one, or equal to it as well. */
export function than(selector: Selector, op: "lt" | "lte" | "gt" | "gte", value: Datum): Statement {
  return (rule) => {
    selector.prepare?.(rule);
    selector.load(rule, REGISTER);
    const bytes = encodeValue(layoutOf(selector.type), value);
    const [data] = ordered(rule, dataTypes[selector.type], bytes, bytes);
    rule.push({ name: "cmp", source: REGISTER, op, data });
  };
}

/** The key is in a set. A map will not do: older kernels (6.1) refuse to look into one without taking what it holds. */
export function isIn(key: Key, set: NftSet): Statement {
  return lookup(key, set, true);
}

/** The key is not in a set. */
export function isNotIn(key: Key, set: NftSet): Statement {
  return lookup(key, set, false);
}

function lookup(key: Key, set: NftSet, found: boolean): Statement {
  return (rule) => {
    checkKey(`key of "${set.name}"`, key, set.key);
    rule.loadKey(key);
    rule.push({
      name: "lookup",
      set: set.name,
      source: REGISTER,
      ...(!found && { flags: ["inv" as const] }),
    });
  };
}
