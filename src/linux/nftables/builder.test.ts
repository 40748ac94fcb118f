import { expect, test } from "bun:test";
import { canonicalExpressions, sameRule, withoutState } from "./compare.ts";
import {
  accept,
  comment,
  counter,
  ct,
  deleteFrom,
  dnat,
  drop,
  ip,
  ip6,
  is,
  isIn,
  isNot,
  masked,
  meta,
  quota,
  reject,
  rule,
  type Statement,
  set,
  setBits,
  tcp,
  th,
  udp,
  update,
  vmap,
} from "./expr.ts";
import type { Family, NftMap, NftSet } from "./model.ts";

const addresses: NftSet = { kind: "set", name: "s", key: "ipv4_addr" };
const ports: NftMap = { kind: "map", name: "m", key: ["ipv4_addr", "inet_service"], data: "ipv4_addr" };
const verdicts: NftMap = { kind: "map", name: "v", key: "inet_service", data: "verdict" };
const wide: NftMap = {
  kind: "map",
  name: "w",
  key: ["ipv6_addr", "ipv6_addr", "ipv6_addr"],
  data: ["ipv6_addr", "inet_service"],
};

const names = (family: Family, ...statements: Statement[]) =>
  rule(family, "c", ...statements)
    .expressions.map(({ name }) => name)
    .join(" ");

test.each([
  ["inet", "meta cmp payload cmp", [is(ip.daddr, "10.0.0.1")]],
  ["ip", "payload cmp", [is(ip.daddr, "10.0.0.1")]],
  ["bridge", "meta cmp payload cmp", [is(ip.daddr, "10.0.0.1")]],
  ["inet", "meta cmp payload cmp payload cmp", [is(ip.daddr, "10.0.0.1"), is(ip.saddr, "10.0.0.2")]],
  ["inet", "meta cmp payload cmp", [is(meta.nfproto, "ipv4"), is(ip.daddr, "10.0.0.1")]],
  ["inet", "meta cmp payload cmp payload cmp", [is(tcp.dport, 80), is(tcp.sport, 80)]],
  ["inet", "meta cmp payload cmp", [is(meta.l4proto, "tcp"), is(tcp.dport, 80)]],
  ["ip", "payload cmp payload cmp", [is(ip.protocol, "tcp"), is(tcp.dport, 80)]],
  ["inet", "meta cmp meta cmp payload cmp", [isNot(meta.l4proto, "udp"), is(tcp.dport, 80)]],
  ["inet", "payload cmp", [is(th.dport, 80)]],
] as [Family, string, Statement[]][])(
  "%s: conditions that others rest on come once: %s",
  (family, wanted, list) => {
    expect(names(family, ...list)).toBe(wanted);
  },
);

test.each([
  ["IPv4 and IPv6", [is(ip.daddr, "10.0.0.1"), is(ip6.daddr, "::1")], "where only IPv4 gets to"],
  ["TCP and UDP", [is(tcp.dport, 1), is(udp.dport, 1)], "where only 6 gets to"],
  ["a reset of UDP", [is(udp.dport, 1), reject("tcp reset")], "where only 17 gets to"],
  ["everything", [is(ip.daddr, "0.0.0.0/0")], "leave the condition out"],
  [
    "a key of another type",
    [isIn(th.dport, addresses)],
    'key of "s": "inet_service" does not fit the type ipv4_addr',
  ],
  [
    "too short a key",
    [dnat(4, { key: [ip.daddr], map: ports })],
    "does not fit the type ipv4_addr . inet_service",
  ],
  ["verdicts of a map without", [vmap([ip.daddr, th.dport], ports)], "has no verdicts"],
  ["translation by verdicts", [dnat(4, { key: th.dport, map: verdicts })], "is not ipv4_addr or"],
  [
    "translation to the other family",
    [dnat(6, { key: [ip.daddr, th.dport], map: ports })],
    "is not ipv6_addr or",
  ],
  ["setting what cannot be set", [set(ct.state, "new")], "cannot be set"],
  ["too little data", [update(ports, [ip.daddr, th.dport])], "is not as many values as ipv4_addr"],
  ["data of verdicts", [update(verdicts, th.dport)], "cannot be set from a packet"],
  [
    "more than registers hold",
    [update(wide, [ip6.saddr, ip6.daddr, ip6.saddr], { data: ["::1", 80] })],
    "does not fit in the kernel's registers beside its key",
  ],
] as [string, Statement[], string][])("a rule with %s is refused", (_, statements, message) => {
  expect(() => rule("inet", "c", ...statements)).toThrow(message);
});

test("a deletion from a map points at registers that hold something", () => {
  const { expressions } = rule("inet", "c", deleteFrom(ports, [ip.daddr, th.dport]));
  expect(expressions.at(-1)).toEqual({ name: "dynset", set: "m", op: "delete", key: 1, data: 1 });
  const data = deleteFrom({ ...wide, key: "inet_service" }, th.dport);
  expect(rule("inet", "c", data).expressions.slice(-2)).toEqual([
    { name: "immediate", register: 9, data: new Uint8Array(20) },
    { name: "dynset", set: "w", op: "delete", key: 1, data: 9 },
  ]);
});

test("what is longer than a register's piece has no mask", () => {
  expect(() => masked(ip6.daddr, 1)).toThrow("is too long for a mask");
});

test("a mask keeps the other bits", () => {
  const [, bitwise] = rule("inet", "c", setBits(meta.mark, 0x0500, 0x0f00)).expressions;
  expect(bitwise).toMatchObject({
    mask: Uint8Array.of(0xff, 0xf0, 0xff, 0xff),
    xor: Uint8Array.of(0, 5, 0, 0),
  });
});

test("rules are the same whatever was counted, and whatever the kernel filled in", () => {
  const written = rule("inet", "c", is(ip.daddr, "10.0.0.1"), counter, quota(1000), accept, comment("x"));
  const dumped = {
    ...written,
    handle: 7,
    expressions: written.expressions.map((one) => {
      if (one.name === "counter") return { ...one, packets: 5, bytes: 500 };
      return one.name === "quota" ? { ...one, consumed: 7, flags: ["depleted"] as const } : one;
    }),
  };
  expect(sameRule(written, dumped)).toBe(true);
  expect(sameRule(written, { ...dumped, comment: "y" })).toBe(false);
  expect(sameRule(written, { ...dumped, chain: "d" })).toBe(false);
  expect(sameRule(written, rule("inet", "c", is(ip.daddr, "10.0.0.2"), counter, accept))).toBe(false);
  expect(withoutState(dumped.expressions)).toEqual(canonicalExpressions(written.expressions));
  const plain = rule("inet", "c", reject("tcp reset"), drop);
  const verbose = {
    ...plain,
    expressions: plain.expressions.map((one) => (one.name === "reject" ? { ...one, code: 0 } : one)),
  };
  expect(sameRule(plain, verbose)).toBe(true);
});
