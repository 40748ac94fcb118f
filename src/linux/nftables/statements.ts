import { InvalidInput } from "../../lib/errors.ts";
import {
  checkKey,
  type Key,
  type RuleBuilder,
  registerAt,
  type Selector,
  SLOTS,
  type Statement,
  slotsOf,
} from "./builder.ts";
import { type Datum, encodeRange, encodeValue, layoutOf, type TypeName, type TypeSpec } from "./datatypes.ts";
import type { Expression } from "./expressions.ts";
import type { NftMap, NftSet, Verdict } from "./model.ts";

const FIRST = registerAt(0);

function verdict(value: Verdict): Statement {
  return (rule) => rule.push({ name: "immediate", register: 0, data: value });
}

export const accept: Statement = verdict({ verdict: "accept" });
export const drop: Statement = verdict({ verdict: "drop" });
/** Back to the chain that jumped here. */
export const returnVerdict: Statement = verdict({ verdict: "return" });
/** To another chain, and back after its end. */
export const jump = (chain: string): Statement => verdict({ verdict: "jump", chain });
/** To another chain, not to come back. */
export const goto = (chain: string): Statement => verdict({ verdict: "goto", chain });

/** Takes the verdict that a map has for the key; goes on with the next rule where it has none. */
export function vmap(key: Key, map: NftMap): Statement {
  return (rule) => {
    if (map.data !== "verdict") throw new InvalidInput("map", map.name, "has no verdicts");
    checkKey(`key of "${map.name}"`, key, map.key);
    rule.loadKey(key);
    rule.push({ name: "lookup", set: map.name, source: FIRST, register: 0 });
  };
}

/** A remark that `nft list` shows with the rule. */
export function comment(text: string): Statement {
  return (rule) => {
    rule.comment = text;
  };
}

/** Counts packets and bytes. */
export const counter: Statement = (rule) => rule.push({ name: "counter", bytes: 0, packets: 0 });

/** Counts in a named counter. */
export function countIn(name: string): Statement {
  return (rule) => rule.push({ name: "objref", type: "counter", object: name });
}

/** Where to send a connection: given, or looked up in a map of addresses (and ports). */
export type NatTarget =
  | { readonly address?: Datum; readonly port?: Datum }
  | { readonly key: Key; readonly map: NftMap };

export interface NatOptions {
  /** Choose the port at random. */
  readonly random?: boolean;
  /** Choose the port at random without a hash of the addresses. */
  readonly fullyRandom?: boolean;
  /** Give a client the same address each time. */
  readonly persistent?: boolean;
}

function natFlags(options: NatOptions): { flags?: ("random" | "fully-random" | "persistent")[] } {
  const flags = [
    ...(options.random === true ? (["random"] as const) : []),
    ...(options.persistent === true ? (["persistent"] as const) : []),
    ...(options.fullyRandom === true ? (["fully-random"] as const) : []),
  ];
  return flags.length === 0 ? {} : { flags };
}

/** Changes the destination of a connection: of chains of type nat on prerouting and output. */
export function dnat(version: 4 | 6, target: NatTarget, options: NatOptions = {}): Statement {
  return nat("dnat", version, target, options);
}

/** Changes the source of a connection: of chains of type nat on postrouting and input. */
export function snat(version: 4 | 6, target: NatTarget, options: NatOptions = {}): Statement {
  return nat("snat", version, target, options);
}

function nat(type: "dnat" | "snat", version: 4 | 6, target: NatTarget, options: NatOptions): Statement {
  return (rule) => {
    const registers = "map" in target ? fromMap(rule, version, target) : fromValues(rule, version, target);
    rule.push({
      name: "nat",
      type,
      family: version === 4 ? "ip" : "ip6",
      ...registers,
      ...natFlags(options),
    });
  };
}

interface NatRegisters {
  addressMin?: number;
  addressMax?: number;
  portMin?: number;
  portMax?: number;
}

function fromMap(rule: RuleBuilder, version: 4 | 6, target: { key: Key; map: NftMap }): NatRegisters {
  const { key, map } = target;
  const address = addressType(version);
  const types: readonly string[] = typeof map.data === "string" ? [map.data] : map.data;
  const [first, second] = types;
  if (first !== address || types.length > 2 || (second !== undefined && second !== "inet_service")) {
    throw new InvalidInput(
      `data of "${map.name}"`,
      types.join(" . "),
      `is not ${address} or ${address} . inet_service`,
    );
  }
  checkKey(`key of "${map.name}"`, key, map.key);
  rule.loadKey(key);
  rule.push({ name: "lookup", set: map.name, source: FIRST, register: FIRST });
  return {
    addressMin: FIRST,
    ...(second !== undefined && { portMin: registerAt(slotsOf(address)) }),
  };
}

function fromValues(
  rule: RuleBuilder,
  version: 4 | 6,
  target: { address?: Datum; port?: Datum },
): NatRegisters {
  const registers: NatRegisters = {};
  let slot = 0;
  const put = (type: TypeName, value: Datum): [number, number | undefined] => {
    const [from, to] = encodeRange(layoutOf(type), value);
    const ends = from.every((byte, i) => byte === to[i]) ? [from] : [from, to];
    const [min, max] = ends.map((data) => {
      const register = registerAt(slot);
      rule.push({ name: "immediate", register, data });
      slot += 4;
      return register;
    }) as [number, number | undefined];
    return [min, max];
  };
  if (target.address !== undefined) {
    const [min, max] = put(addressType(version), target.address);
    registers.addressMin = min;
    if (max !== undefined) registers.addressMax = max;
  }
  if (target.port !== undefined) {
    const [min, max] = put("inet_service", target.port);
    registers.portMin = min;
    if (max !== undefined) registers.portMax = max;
  }
  return registers;
}

const addressType = (version: 4 | 6) => (version === 4 ? "ipv4_addr" : "ipv6_addr");

/** Changes the source to the address of the interface that the packet leaves by. `port` may be a range. */
export function masquerade(options: NatOptions & { port?: Datum } = {}): Statement {
  return (rule) => {
    const { portMin, portMax } = fromValues(
      rule,
      4,
      options.port === undefined ? {} : { port: options.port },
    );
    rule.push({
      name: "masq",
      ...(portMin !== undefined && { portMin }),
      ...(portMax !== undefined && { portMax }),
      ...natFlags(options),
    });
  };
}

/** Changes the destination to this machine. `port` may be a range. */
export function redirect(options: NatOptions & { port?: Datum } = {}): Statement {
  return (rule) => {
    const { portMin, portMax } = fromValues(
      rule,
      4,
      options.port === undefined ? {} : { port: options.port },
    );
    rule.push({
      name: "redir",
      ...(portMin !== undefined && { portMin }),
      ...(portMax !== undefined && { portMax }),
      ...natFlags(options),
    });
  };
}

const icmpxCodes = {
  "no-route": 0,
  "port-unreachable": 1,
  "host-unreachable": 2,
  "admin-prohibited": 3,
};
const icmpCodes = {
  "net-unreachable": 0,
  "host-unreachable": 1,
  "prot-unreachable": 2,
  "port-unreachable": 3,
  "net-prohibited": 9,
  "host-prohibited": 10,
  "admin-prohibited": 13,
};
const icmpv6Codes = {
  "no-route": 0,
  "admin-prohibited": 1,
  "addr-unreachable": 3,
  "port-unreachable": 4,
  "policy-fail": 5,
  "reject-route": 6,
};

/**
 * Refuses with an answer. `icmpx` is ICMP or ICMPv6, whichever the packet is of, and what is used where nothing is
 * given; "tcp reset" is for TCP alone.
 */
export function reject(
  how:
    | "tcp reset"
    | { readonly icmpx: keyof typeof icmpxCodes }
    | { readonly icmp: keyof typeof icmpCodes }
    | { readonly icmpv6: keyof typeof icmpv6Codes } = { icmpx: "port-unreachable" },
): Statement {
  return (rule) => {
    if (how === "tcp reset") {
      rule.needTransport(6);
      rule.push({ name: "reject", type: "tcp-reset" });
    } else if ("icmp" in how) {
      rule.needNetwork(4);
      rule.push({ name: "reject", type: "icmp-unreach", code: icmpCodes[how.icmp] });
    } else if ("icmpv6" in how) {
      rule.needNetwork(6);
      rule.push({ name: "reject", type: "icmp-unreach", code: icmpv6Codes[how.icmpv6] });
    } else if (rule.family === "ip" || rule.family === "ip6") {
      rule.push({ name: "reject", type: "icmp-unreach", code: plainCode(rule.family, how.icmpx) });
    } else {
      rule.push({ name: "reject", type: "icmpx-unreach", code: icmpxCodes[how.icmpx] });
    }
  };
}

// The kernel knows icmpx in tables of both families only; these are the codes that it would choose.
function plainCode(family: "ip" | "ip6", code: keyof typeof icmpxCodes): number {
  const names = {
    "no-route": ["net-unreachable", "no-route"],
    "port-unreachable": ["port-unreachable", "port-unreachable"],
    "host-unreachable": ["host-unreachable", "addr-unreachable"],
    "admin-prohibited": ["admin-prohibited", "admin-prohibited"],
  } as const;
  const [four, six] = names[code];
  return family === "ip" ? icmpCodes[four] : icmpv6Codes[six];
}

function settable(selector: Selector): NonNullable<Selector["store"]> {
  if (selector.store === undefined) throw new InvalidInput("selector", selector.type, "cannot be set");
  return selector.store;
}

/** Sets a mark or the like to a value, or to what another selector has (`set(ct.mark, meta.mark)`). */
export function set(target: Selector, value: Datum | Selector): Statement {
  return (rule) => {
    const store = settable(target);
    if (typeof value === "object" && "load" in value) rule.loadKey(value);
    else rule.push({ name: "immediate", register: FIRST, data: encodeValue(layoutOf(target.type), value) });
    store(rule, FIRST);
  };
}

/** Sets some bits of a mark: those of `mask`, to what they are in `value`; the others stay. */
export function setBits(target: Selector, value: number, mask = value): Statement {
  return (rule) => {
    const store = settable(target);
    const layout = layoutOf(target.type);
    const xor = encodeValue(layout, value);
    rule.loadKey(target);
    const kept = encodeValue(layout, mask).map((byte) => ~byte & 0xff);
    rule.push({ name: "bitwise", source: FIRST, register: FIRST, length: layout.length, mask: kept, xor });
    store(rule, FIRST);
  };
}

export interface LogOptions {
  readonly prefix?: string;
  /** To the listeners of a netlink group instead of the kernel's log. */
  readonly group?: number;
  readonly level?: "emerg" | "alert" | "crit" | "err" | "warn" | "notice" | "info" | "debug";
  /** How many bytes of the packet go to the group. */
  readonly snaplen?: number;
}

/** Writes the packet to a log. */
export function log(options: LogOptions = {}): Statement {
  return (rule) => {
    const { level, group, ...rest } = options;
    if (group !== undefined) rule.push({ name: "log", group, ...rest });
    else rule.push({ name: "log", ...rest, level: level ?? "warn" });
  };
}

const seconds = { second: 1, minute: 60, hour: 3600, day: 86_400, week: 604_800 };

export interface LimitOptions {
  /** Packets, or bytes where `bytes` is true. */
  readonly rate: number;
  readonly per?: keyof typeof seconds;
  readonly burst?: number;
  readonly bytes?: boolean;
  /** Let through what is above the rate instead of what is below it. */
  readonly over?: boolean;
}

/** The expression of a limit, also for sets that limit per element. */
export function limitExpression(options: LimitOptions): Expression {
  const { rate, per = "second", bytes = false, over = false } = options;
  return {
    name: "limit",
    rate,
    unit: seconds[per],
    burst: options.burst ?? (bytes ? 0 : 5),
    type: bytes ? "bytes" : "packets",
    ...(over && { flags: ["inv" as const] }),
  };
}

/** Goes on for packets within a rate. */
export function limit(options: LimitOptions): Statement {
  return (rule) => rule.push(limitExpression(options));
}

/** Goes on until so many bytes have passed, or with `over`, from then on. */
export function quota(bytes: number, options: { over?: boolean } = {}): Statement {
  return (rule) =>
    rule.push({
      name: "quota",
      bytes,
      consumed: 0,
      ...(options.over === true && { flags: ["inv" as const] }),
    });
}

/** Connection tracking passes the packet by; of chains that come before it (priority -300). */
export const notrack: Statement = (rule) => rule.push({ name: "notrack" });

/** Gives the packet to a local socket without changing it; needs a known transport protocol. */
export function tproxy(version: 4 | 6, target: { address?: Datum; port?: number }): Statement {
  return (rule) => {
    const { addressMin, portMin } = fromValues(rule, version, target);
    rule.push({
      name: "tproxy",
      family: version === 4 ? "ip" : "ip6",
      ...(addressMin !== undefined && { address: addressMin }),
      ...(portMin !== undefined && { port: portMin }),
    });
  };
}

export interface DynamicElement {
  /** Of a map: a value or selector for each field of its data. */
  readonly data?: readonly (Datum | Selector)[];
  /** Milliseconds; the set's own where not given. */
  readonly timeout?: number;
  /** State that the element begins with, such as a limit. */
  readonly expressions?: readonly Expression[];
}

/** Adds the key to a set or map from the path of the packet; one that is there is left as it is. */
export function addTo(set: NftSet | NftMap, key: Key, element: DynamicElement = {}): Statement {
  return dynset("add", set, key, element);
}

/** As {@link addTo}, but the time of an element that is there begins anew. */
export function update(set: NftSet | NftMap, key: Key, element: DynamicElement = {}): Statement {
  return dynset("update", set, key, element);
}

/** Deletes the key from a set. */
export function deleteFrom(set: NftSet | NftMap, key: Key): Statement {
  return dynset("delete", set, key, {});
}

function dynset(
  op: "add" | "update" | "delete",
  set: NftSet | NftMap,
  key: Key,
  element: DynamicElement,
): Statement {
  return (rule) => {
    checkKey(`key of "${set.name}"`, key, set.key);
    const after = rule.loadKey(key);
    const data = set.kind === "map" ? dataRegister(rule, set, op, element, after) : undefined;
    const [first] = element.expressions ?? [];
    const several = element.expressions !== undefined && element.expressions.length > 1;
    rule.push({
      name: "dynset",
      set: set.name,
      op,
      key: FIRST,
      ...(data !== undefined && { data }),
      ...(element.timeout !== undefined && { timeout: element.timeout }),
      ...(several
        ? { flags: ["expr" as const], expressions: element.expressions ?? [] }
        : first !== undefined && { expression: first }),
    });
  };
}

/** The register of a map's data. The kernel wants one for a deletion too, and does not look at it (nft_dynset_init). */
function dataRegister(
  rule: RuleBuilder,
  map: NftMap,
  op: "add" | "update" | "delete",
  element: DynamicElement,
  after: number,
): number {
  if (map.data === "verdict") {
    throw new InvalidInput(`data of "${map.name}"`, "verdict", "cannot be set from a packet");
  }
  if (op !== "delete") return loadData(rule, map.name, map.data, element.data ?? [], after);
  const { length } = layoutOf(map.data);
  if (length <= 4 * after) return FIRST;
  const register = registerAt(after);
  rule.push({ name: "immediate", register, data: new Uint8Array(length) });
  return register;
}

/** Puts a map's data into registers behind the key, at the start of a whole register where that leaves enough room. */
function loadData(
  rule: RuleBuilder,
  map: string,
  spec: TypeSpec,
  data: readonly (Datum | Selector)[],
  after: number,
): number {
  const what = `data of "${map}"`;
  const types: readonly TypeName[] = typeof spec === "string" ? [spec] : spec;
  if (types.length !== data.length) {
    throw new InvalidInput(what, data.length, `is not as many values as ${types.join(" . ")} has`);
  }
  const length = types.reduce((sum, type) => sum + slotsOf(type), 0);
  const aligned = Math.ceil(after / 4) * 4;
  const start = aligned + length <= SLOTS ? aligned : after;
  if (start + length > SLOTS) {
    throw new InvalidInput(what, types.join(" . "), "does not fit in the kernel's registers beside its key");
  }
  let slot = start;
  for (const [i, type] of types.entries()) {
    const value = data[i] as Datum | Selector;
    if (typeof value === "object" && "load" in value) {
      checkKey(what, value, type);
      rule.loadKey(value, slot);
    } else {
      const bytes = encodeValue(layoutOf(type), value);
      rule.push({ name: "immediate", register: registerAt(slot), data: bytes });
    }
    slot += slotsOf(type);
  }
  return registerAt(start);
}
