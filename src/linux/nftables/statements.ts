import { InvalidInput } from "../../lib/errors.ts";
import { checkKey, type Key, registerAt, type Selector, type Statement } from "./builder.ts";
import type { Datum } from "./datatypes.ts";
import type { Expression } from "./expressions.ts";
import type { NftMap, Verdict } from "./model.ts";
import { encodeValue, layoutOf } from "./values.ts";

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
