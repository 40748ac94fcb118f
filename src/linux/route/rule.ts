import { InvalidInput } from "../../lib/errors.ts";
import type { Ip } from "../../lib/ip.ts";
import { Prefix } from "../../lib/prefix.ts";
import {
  ip,
  MalformedMessage,
  schema,
  text,
  u8,
  u32,
  u64be,
  type Value,
  type Writer,
} from "../netlink/codec.ts";
import { bool, fixed, Names, struct } from "../netlink/types.ts";
import { AF_INET, AF_INET6, toPrefix } from "./address.ts";
import type { Body } from "./resolver.ts";
import { type RouteProtocol, RT_TABLE_MAIN, routeProtocol } from "./route.ts";

export const RTM_NEWRULE = 32;
export const RTM_DELRULE = 33;
export const RTM_GETRULE = 34;

const FIB_RULE_INVERT = 2;

const actions = new Names("rule action", {
  table: 1,
  goto: 2,
  nop: 3,
  blackhole: 6,
  unreachable: 7,
  prohibit: 8,
});
/** FR_ACT_*: look in a table, jump to another rule, go on, or refuse. */
export type RuleAction = "table" | "goto" | "nop" | "blackhole" | "unreachable" | "prohibit" | number;

/** struct fib_rule_hdr */
const ruleHeader = struct("fib_rule_hdr", {
  family: fixed.u8,
  dstLength: fixed.u8,
  srcLength: fixed.u8,
  tos: fixed.u8,
  table: fixed.u8,
  reserved1: fixed.u8,
  reserved2: fixed.u8,
  action: fixed.u8,
  flags: fixed.u32,
});
const uidRange = struct("fib_rule_uid_range", { start: fixed.u32, end: fixed.u32 });
const portRange = struct("fib_rule_port_range", { start: fixed.u16, end: fixed.u16 });

const attributes = schema({
  dst: [1 /* FRA_DST */, ip],
  src: [2 /* FRA_SRC */, ip],
  iif: [3 /* FRA_IIFNAME */, text],
  goto: [4 /* FRA_GOTO */, u32],
  priority: [6 /* FRA_PRIORITY */, u32],
  mark: [10 /* FRA_FWMARK */, u32],
  tunnelId: [12 /* FRA_TUN_ID */, u64be],
  suppressGroup: [13 /* FRA_SUPPRESS_IFGROUP */, u32],
  suppressPrefixLength: [14 /* FRA_SUPPRESS_PREFIXLEN */, u32],
  table: [15 /* FRA_TABLE */, u32],
  mask: [16 /* FRA_FWMASK */, u32],
  oif: [17 /* FRA_OIFNAME */, text],
  l3mdev: [19 /* FRA_L3MDEV */, bool],
  uids: [20 /* FRA_UID_RANGE */, uidRange],
  protocol: [21 /* FRA_PROTOCOL */, routeProtocol.as(u8)],
  ipProtocol: [22 /* FRA_IP_PROTO */, u8],
  sourcePorts: [23 /* FRA_SPORT_RANGE */, portRange],
  destinationPorts: [24 /* FRA_DPORT_RANGE */, portRange],
});

/** An inclusive range of user ids or ports. */
export interface Range {
  start: number;
  end: number;
}

interface RuleMatch {
  /** The lower is asked first; the kernel chooses the place before the others where not given. */
  priority?: number;
  /** FRA_IIFNAME: the link by which the packet came; "lo" for packets of this host. */
  iif?: string;
  oif?: string;
  tos?: number;
  mark?: number;
  /** Which bits of the mark count; all where not given. */
  mask?: number;
  /** IPPROTO_*: 6 TCP, 17 UDP. */
  ipProtocol?: number;
  sourcePorts?: Range;
  destinationPorts?: Range;
  uids?: Range;
  tunnelId?: bigint;
  /** The table is the one of the VRF to which the link belongs. */
  l3mdev?: boolean;
  /** Matches what the other fields do not. */
  invert?: boolean;
  /** RT_TABLE_MAIN where not given. */
  table?: number;
  goto?: number;
  /** The table's answer is passed over where its prefix is this long or shorter. */
  suppressPrefixLength?: number;
  suppressGroup?: number;
  protocol?: RouteProtocol;
}

/** A routing policy rule as the kernel lists it. */
export interface Rule extends RuleMatch {
  family: 4 | 6;
  priority: number;
  action: RuleAction;
  src?: Prefix;
  dst?: Prefix;
}

/** A rule to be added or deleted. The family is that of `src` or `dst`, or must be given. */
export interface NewRule extends RuleMatch {
  family?: 4 | 6;
  action?: RuleAction;
  src?: Prefix | string;
  dst?: Prefix | string;
}

/** The body of RTM_NEWRULE or RTM_DELRULE. */
export function ruleBody(rule: NewRule, deletion = false): Body {
  const src = rule.src === undefined ? undefined : toPrefix(rule.src, "src");
  const dst = rule.dst === undefined ? undefined : toPrefix(rule.dst, "dst");
  const family = rule.family ?? src?.family ?? dst?.family;
  if (family === undefined) {
    throw new InvalidInput("family", family, "is needed for a rule without src and dst", {
      remedy: "Give 4 or 6",
    });
  }
  const implied: RuleAction = rule.goto !== undefined ? "goto" : "table";
  const action = actions.number(rule.action ?? (deletion && rule.table === undefined ? 0 : implied));
  const table = rule.table ?? (action === 1 && !rule.l3mdev ? RT_TABLE_MAIN : 0);
  const header = {
    family: family === 4 ? AF_INET : AF_INET6,
    dstLength: dst?.length,
    srcLength: src?.length,
    tos: rule.tos,
    table: table > 255 ? 0 : table,
    action,
    flags: rule.invert ? FIB_RULE_INVERT : 0,
  };
  const { src: _, dst: __, table: ___, ...rest } = rule;
  const value: Value<typeof attributes> = rest;
  if (src !== undefined) value.src = src.ip;
  if (dst !== undefined) value.dst = dst.ip;
  if (table > 255) value.table = table;
  return (writer) => {
    ruleHeader.put(writer, header);
    attributes.write(writer, value);
  };
}

/** The body of a dump request of one family. */
export function writeRuleDump(writer: Writer, family: 4 | 6): void {
  ruleHeader.put(writer, { family: family === 4 ? AF_INET : AF_INET6 });
}

/** The rule in an RTM_NEWRULE or RTM_DELRULE message. Throws {@link MalformedMessage}. */
export function readRule(payload: Uint8Array): Rule {
  const header = ruleHeader.read(payload);
  const { src, dst, suppressPrefixLength, suppressGroup, mark, mask, ...found } = attributes.readFrom(
    payload,
    ruleHeader.size,
  );
  const rule: Rule = {
    ...found,
    family: header.family === AF_INET6 ? 6 : 4,
    priority: found.priority ?? 0,
    action: actions.name(header.action),
  };
  const srcPrefix = selector(src, header.srcLength);
  const dstPrefix = selector(dst, header.dstLength);
  if (srcPrefix !== undefined) rule.src = srcPrefix;
  if (dstPrefix !== undefined) rule.dst = dstPrefix;
  // The kernel lists -1 for "none".
  const none = 0xffffffff;
  if (suppressPrefixLength !== undefined && suppressPrefixLength !== none) {
    rule.suppressPrefixLength = suppressPrefixLength;
  }
  if (suppressGroup !== undefined && suppressGroup !== none) rule.suppressGroup = suppressGroup;
  if (mark !== undefined && (mark !== 0 || (mask ?? 0) !== 0)) rule.mark = mark;
  if (mask !== undefined && mask !== 0) rule.mask = mask;
  rule.table ??= header.table;
  if (rule.table === 0) delete rule.table;
  if (rule.l3mdev === false) delete rule.l3mdev;
  if (header.tos !== 0) rule.tos = header.tos;
  if ((header.flags & FIB_RULE_INVERT) !== 0) rule.invert = true;
  return rule;
}

function selector(address: Ip | undefined, length: number): Prefix | undefined {
  if (address === undefined) return undefined;
  if (length > address.bits)
    throw new MalformedMessage(`a rule for ${address} with a prefix length of ${length}`);
  return new Prefix(address, length);
}
