import { InvalidInput } from "../../lib/errors.ts";
import { dataTypes, type TypeName, type TypeSpec } from "./datatypes.ts";
import type { Expression } from "./expressions.ts";
import type { Family, Rule } from "./model.ts";

/** Something of a packet, its connection or its surroundings that a rule can load into a register. */
export interface Selector {
  readonly type: TypeName;
  /** Emits the conditions without which loading would be wrong, such as that the packet is IPv4 for `ip.daddr`. */
  prepare?(rule: RuleBuilder): void;
  /** Loads into a register, by the kernel's number; with `partial`, only the first `size` bytes where it is given. */
  load(rule: RuleBuilder, register: number, size?: number): void;
  /** True where less than all can be loaded. */
  readonly partial?: boolean;
  /** Sets it from a register, for what can be set (marks and such). */
  store?(rule: RuleBuilder, register: number): void;
  /** Tells what else is known once this has been found equal to a value. */
  learn?(rule: RuleBuilder, value: Uint8Array): void;
}

/** One selector, or several side by side to look up a concatenation. */
export type Key = Selector | readonly Selector[];

/** A step of a rule: a condition or an action. Appends its expressions. */
export type Statement = (rule: RuleBuilder) => void;

/** Registers are given out in pieces of 4 bytes, of which there are 16. */
export const SLOTS = 16;

/** The kernel's number of a register that begins at a piece: 1 to 4 where it begins a whole register, else 8 to 23. */
export function registerAt(slot: number): number {
  return slot % 4 === 0 ? 1 + slot / 4 : 8 + slot;
}

/** The pieces that a type takes. */
export function slotsOf(type: TypeName): number {
  return Math.ceil(dataTypes[type].size / 4);
}

/** A rule in the making: its expressions so far, and what is known of the packets that come this far. */
export class RuleBuilder {
  readonly family: Family;
  readonly expressions: Expression[] = [];
  comment: string | undefined;
  #network: 4 | 6 | undefined;
  #transport: number | undefined;

  constructor(family: Family) {
    this.family = family;
    if (family === "ip") this.#network = 4;
    if (family === "ip6") this.#network = 6;
  }

  push(...expressions: Expression[]): void {
    this.expressions.push(...expressions);
  }

  /** The packets are known to be of this IP version. */
  knowNetwork(version: 4 | 6): void {
    this.#network = version;
  }

  /** The packets are known to be of this transport protocol. */
  knowTransport(protocol: number): void {
    this.#transport = protocol;
  }

  /** Lets only packets of an IP version go on, unless that is known already. */
  needNetwork(version: 4 | 6): void {
    if (this.#network === version) return;
    if (this.#network !== undefined) {
      throw new InvalidInput("rule", `IPv${version}`, `is matched where only IPv${this.#network} gets to`);
    }
    if (this.family === "inet") {
      const nfproto = Uint8Array.of(version === 4 ? 2 : 10);
      this.push({ name: "meta", key: "nfproto", register: 1 });
      this.push({ name: "cmp", source: 1, op: "eq", data: nfproto });
    } else {
      const ethertype = version === 4 ? Uint8Array.of(0x08, 0x00) : Uint8Array.of(0x86, 0xdd);
      this.push({ name: "meta", key: "protocol", register: 1 });
      this.push({ name: "cmp", source: 1, op: "eq", data: ethertype });
    }
    this.#network = version;
  }

  /** Lets only packets of a transport protocol go on, unless that is known already. */
  needTransport(protocol: number): void {
    if (this.#transport === protocol) return;
    if (this.#transport !== undefined) {
      throw new InvalidInput(
        "rule",
        protocol,
        `is matched as the protocol where only ${this.#transport} gets to`,
      );
    }
    this.push({ name: "meta", key: "l4proto", register: 1 });
    this.push({ name: "cmp", source: 1, op: "eq", data: Uint8Array.of(protocol) });
    this.#transport = protocol;
  }

  /** Loads selectors side by side from a piece on, and returns the piece after them. */
  loadKey(key: Key, from = 0): number {
    const selectors = selectorsOf(key);
    for (const selector of selectors) selector.prepare?.(this);
    let slot = from;
    for (const selector of selectors) {
      const next = slot + slotsOf(selector.type);
      if (next > SLOTS) {
        throw new InvalidInput("rule", typeOf(key), "does not fit in the kernel's 64 bytes of registers");
      }
      selector.load(this, registerAt(slot));
      slot = next;
    }
    return slot;
  }
}

/** The selectors of a key. */
export function selectorsOf(key: Key): readonly Selector[] {
  return Array.isArray(key) ? key : [key as Selector];
}

/** The type of what a key loads. */
export function typeOf(key: Key): TypeSpec {
  return Array.isArray(key) ? key.map((selector: Selector) => selector.type) : (key as Selector).type;
}

/** Throws where a key is not of a set's type: the kernel would compare bytes of different meaning. */
export function checkKey(what: string, key: Key, spec: TypeSpec): void {
  const given = selectorsOf(key);
  const wanted = typeof spec === "string" ? [spec] : spec;
  let fits = given.length === wanted.length && Array.isArray(key) === (typeof spec !== "string");
  for (const [i, { type }] of given.entries()) {
    const [mine, other] = [dataTypes[type], dataTypes[wanted[i] ?? type]];
    // "integer" is what numbers are that nft has no name for, such as that of numgen; a mark may be compared with it.
    if (mine.size !== other.size || mine.byteorder !== other.byteorder) fits = false;
  }
  if (fits) return;
  const names = given.map(({ type }) => type).join(" . ");
  throw new InvalidInput(what, names, `does not fit the type ${wanted.join(" . ")}`);
}

/**
 * Makes a rule from conditions and actions, in order. As nft does, it adds the conditions that others rest on (that a
 * packet is IPv4 before `ip.daddr` is compared), so that `nft list` shows the rule as it was meant.
 */
export function rule(family: Family, chain: string, ...statements: readonly Statement[]): Rule {
  const builder = new RuleBuilder(family);
  for (const statement of statements) statement(builder);
  const { expressions, comment } = builder;
  return { kind: "rule", chain, expressions, ...(comment !== undefined && { comment }) };
}
