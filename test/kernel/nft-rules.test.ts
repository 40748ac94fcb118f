/**
 * Rules of the builder in the real kernel: each is listed by nft as it would be written for nft, and is decoded to the
 * expressions that were written.
 *
 *     builder --apply--> kernel --nft list--> golden text
 *                          \----dump----> the same expressions
 */
import { expect } from "bun:test";
import {
  accept,
  addTo,
  comment,
  counter,
  countIn,
  ct,
  deleteFrom,
  dnat,
  drop,
  ether,
  fib,
  goto,
  icmp,
  icmpv6,
  ip,
  ip6,
  is,
  isIn,
  isNot,
  isNotIn,
  jhash,
  jump,
  limit,
  limitExpression,
  log,
  masked,
  masquerade,
  meta,
  notrack,
  numgen,
  quota,
  redirect,
  reject,
  returnVerdict,
  rule,
  type Statement,
  sctp,
  set,
  setBits,
  snat,
  socket,
  symhash,
  tcp,
  th,
  than,
  tproxy,
  udp,
  update,
  vmap,
} from "../../src/linux/nftables/expr.ts";
import { type NftMap, type NftSet, type Rule, Transaction } from "../../src/linux/nftables/index.ts";
import { needs, testWith } from "../lib/needs.ts";
import { NftNamespace } from "./nft-fixture.ts";

const kernelTest = testWith(needs.root, needs.command("nft", "nftables"), needs.kernel("nftables"));

const table = { family: "inet", name: "t" } as const;
const addresses: NftSet = { kind: "set", name: "addresses", key: "ipv4_addr", flags: ["interval"] };
const seen: NftSet = { kind: "set", name: "seen", key: "ipv4_addr", flags: ["dynamic"], size: 100 };
const pairs: NftSet = { kind: "set", name: "pairs", key: ["ipv4_addr", "ipv4_addr"] };
const frontend = ["ipv4_addr", "inet_proto", "inet_service"] as const;
const verdicts: NftMap = { kind: "map", name: "verdicts", key: frontend, data: "verdict" };
const slots: NftMap = { kind: "map", name: "slots", key: "mark", data: "verdict" };
const endpoints4: NftMap = {
  kind: "map",
  name: "endpoints4",
  key: [...frontend, "integer"],
  data: ["ipv4_addr", "inet_service"],
};
const endpoints6: NftMap = {
  kind: "map",
  name: "endpoints6",
  key: ["ipv6_addr", "inet_proto", "inet_service", "integer"],
  data: ["ipv6_addr", "inet_service"],
};
const affinity4: NftMap = {
  kind: "map",
  name: "affinity4",
  key: ["ipv4_addr", ...frontend],
  data: ["ipv4_addr", "inet_service"],
  flags: ["dynamic", "timeout"],
  size: 65536,
};
const affinity6: NftMap = {
  kind: "map",
  name: "affinity6",
  key: ["ipv6_addr", "ipv6_addr", "inet_proto", "inet_service"],
  data: ["ipv6_addr", "inet_service"],
  flags: ["dynamic", "timeout"],
  size: 65536,
};
const names: NftSet = { kind: "set", name: "names", key: "ifname" };
const sets = [addresses, seen, pairs, verdicts, slots, endpoints4, endpoints6, affinity4, affinity6, names];

const key4 = [ip.daddr, meta.l4proto, th.dport];
const key6 = [ip6.daddr, meta.l4proto, th.dport];
const mark = 0x0008_0000;

type Case = [text: string, ...statements: Statement[]];

const filterRules: Case[] = [
  ["ip daddr 10.0.0.1 accept", is(ip.daddr, "10.0.0.1"), accept],
  ["ip daddr 10.0.0.0/8 drop", is(ip.daddr, "10.0.0.0/8"), drop],
  ["ip daddr 10.0.0.0/9 drop", is(ip.daddr, "10.0.0.0/9"), drop],
  ["ip daddr != 10.0.0.0/8 drop", isNot(ip.daddr, "10.0.0.0/8"), drop],
  ["ip saddr != 10.128.0.0/9 drop", isNot(ip.saddr, "10.128.0.0/9"), drop],
  ["ip daddr 10.0.0.1-10.0.0.9 return", is(ip.daddr, "10.0.0.1-10.0.0.9"), returnVerdict],
  ["ip daddr != 10.0.0.1-10.0.0.9 return", isNot(ip.daddr, "10.0.0.1-10.0.0.9"), returnVerdict],
  ["ip6 daddr fd00:10:244::/56 accept", is(ip6.daddr, "fd00:10:244::/56"), accept],
  ["ip6 saddr fd00::/9 accept", is(ip6.saddr, "fd00::/9"), accept],
  ["ip protocol udp accept", is(ip.protocol, "udp"), accept],
  ["ip6 nexthdr tcp accept", is(ip6.nexthdr, "tcp"), accept],
  ["tcp dport 80 accept", is(tcp.dport, 80), accept],
  ["tcp dport 30000-32767 accept", is(tcp.dport, "30000-32767"), accept],
  ["udp sport != 53 drop", isNot(udp.sport, 53), drop],
  ["sctp dport 5 accept", is(sctp.dport, 5), accept],
  ["th dport 5 accept", is(th.dport, 5), accept],
  ["tcp dport 80 accept", is(meta.l4proto, "tcp"), is(th.dport, 80), accept],
  ["tcp flags syn accept", is(tcp.flags, "syn"), accept],
  ["icmp type echo-request accept", is(icmp.type, "echo-request"), accept],
  ["icmpv6 type nd-router-advert drop", is(icmpv6.type, "nd-router-advert"), drop],
  ["ct state established,related accept", is(ct.state, "established,related"), accept],
  ["ct state new accept", is(ct.state, "new"), accept],
  ["ct status dnat accept", is(ct.status, "dnat"), accept],
  ["ct direction reply accept", is(ct.direction, "reply"), accept],
  ["ct original ip daddr 10.96.0.1 accept", is(ct.original.ip.daddr, "10.96.0.1"), accept],
  ["ct original ip6 daddr fd00::1 accept", is(ct.original.ip6.daddr, "fd00::1"), accept],
  ["ct mark 0x00000005 accept", is(ct.mark, 5), accept],
  ["meta mark 0x00000005 accept", is(meta.mark, 5), accept],
  ["meta mark & 0x00080000 == 0x00080000 accept", is(masked(meta.mark, mark), mark), accept],
  ["meta mark & 0x00080000 != 0x00080000 accept", isNot(masked(meta.mark, mark), mark), accept],
  ["meta mark 0x00000001-0x00000009 accept", is(meta.mark, "1-9"), accept],
  ["meta length > 1500 drop", than(meta.length, "gt", 1500), drop],
  ["tcp dport < 1024 drop", than(tcp.dport, "lt", 1024), drop],
  ["meta nfproto ipv6 accept", is(meta.nfproto, "ipv6"), accept],
  ["ether saddr 0a:58:0a:f4:01:07 accept", is(meta.iiftype, 1), is(ether.saddr, "0a:58:0a:f4:01:07"), accept],
  ['iifname "weft0" accept', is(meta.iifname, "weft0"), accept],
  ['oifname != "veth*" accept', isNot(meta.oifname, "veth*"), accept],
  ["iifname @names accept", isIn(meta.iifname, names), accept],
  ["meta skuid 1000 accept", is(meta.skuid, 1000), accept],
  ["meta pkttype multicast drop", is(meta.pkttype, "multicast"), drop],
  ["fib daddr type local accept", is(fib(["daddr"], "type"), "local"), accept],
  ["fib daddr . iif type != local drop", isNot(fib(["daddr", "iif"], "type"), "local"), drop],
  ["fib saddr . iif oif 0 drop", is(fib(["saddr", "iif"], "oif"), 0), drop],
  ["ip daddr @addresses accept", isIn(ip.daddr, addresses), accept],
  ["ip daddr != @addresses accept", isNotIn(ip.daddr, addresses), accept],
  ["ip saddr . ip daddr @pairs accept", isIn([ip.saddr, ip.daddr], pairs), accept],
  ["ip daddr . meta l4proto . th dport vmap @verdicts", vmap(key4, verdicts)],
  ["numgen random mod 5 vmap @slots", vmap(numgen("random", 5), slots)],
  ["numgen inc mod 5 offset 3 vmap @slots", vmap(numgen("inc", 5, 3), slots)],
  ["jhash ip saddr . ip daddr mod 5 seed 0x1 vmap @slots", vmap(jhash([ip.saddr, ip.daddr], 5, 1), slots)],
  ["symhash mod 5 vmap @slots", vmap(symhash(5), slots)],
  ["jump other", jump("other")],
  ["goto other", goto("other")],
  ['counter packets 0 bytes 0 accept comment "hello, world"', counter, accept, comment("hello, world")],
  ['counter name "hits"', countIn("hits")],
  ["meta mark set 0x00000007", set(meta.mark, 7)],
  ["meta mark set meta mark | 0x00080000", setBits(meta.mark, mark)],
  ["meta mark set meta mark & 0xfff7ffff", setBits(meta.mark, 0, mark)],
  ["ct mark set ct mark & 0xfffffff5 | 0x00000005", setBits(ct.mark, 5, 15)],
  ["ct mark set meta mark", set(ct.mark, meta.mark)],
  ["meta mark set ct mark", set(meta.mark, ct.mark)],
  ["reject", reject()],
  ["reject with icmpx no-route", reject({ icmpx: "no-route" })],
  ["meta l4proto tcp reject with tcp reset", reject("tcp reset")],
  ["tcp dport 80 reject with tcp reset", is(tcp.dport, 80), reject("tcp reset")],
  ["reject with icmp host-unreachable", reject({ icmp: "host-unreachable" })],
  ["reject with icmpv6 admin-prohibited", reject({ icmpv6: "admin-prohibited" })],
  ["log", log()],
  ['log prefix "weft: " level info', log({ prefix: "weft: ", level: "info" })],
  ['log prefix "weft: " group 5 snaplen 64', log({ prefix: "weft: ", group: 5, snaplen: 64 })],
  ["limit rate 10/second accept", limit({ rate: 10 }), accept],
  ["limit rate over 9/minute drop", limit({ rate: 9, per: "minute", over: true }), drop],
  ["limit rate over 1000 bytes/second drop", limit({ rate: 1000, bytes: true, over: true }), drop],
  ["quota 5 mbytes accept", quota(5 * 2 ** 20), accept],
  ["quota over 5 mbytes drop", quota(5 * 2 ** 20, { over: true }), drop],
  ["add @seen { ip saddr }", addTo(seen, ip.saddr)],
  ["delete @seen { ip saddr }", deleteFrom(seen, ip.saddr)],
  [
    "add @seen { ip saddr limit rate 5/second }",
    addTo(seen, ip.saddr, { expressions: [limitExpression({ rate: 5 })] }),
  ],
];

const rawRules: Case[] = [
  ["notrack", notrack],
  ["meta pkttype set host", set(meta.pkttype, "host")],
  ["socket transparent 1 accept", is(socket.transparent, 1), accept],
  ["tcp dport 5 tproxy ip to 127.0.0.1:80", is(tcp.dport, 5), tproxy(4, { address: "127.0.0.1", port: 80 })],
  ["udp dport 5 tproxy ip6 to :80", is(udp.dport, 5), tproxy(6, { port: 80 })],
];

const natRules: Case[] = [
  ["dnat ip to 10.0.0.1", dnat(4, { address: "10.0.0.1" })],
  ["dnat ip to 10.0.0.1-10.0.0.5", dnat(4, { address: "10.0.0.1-10.0.0.5" })],
  ["tcp dport 80 dnat ip to 10.0.0.1:8080", is(tcp.dport, 80), dnat(4, { address: "10.0.0.1", port: 8080 })],
  ["tcp dport 80 dnat ip6 to [fd00::1]:80", is(tcp.dport, 80), dnat(6, { address: "fd00::1", port: 80 })],
  ["tcp dport 80 redirect to :8080", is(tcp.dport, 80), redirect({ port: 8080 })],
  [
    "dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 3 map @endpoints4",
    dnat(4, { key: [...key4, numgen("random", 3)], map: endpoints4 }),
  ],
  [
    "dnat ip6 to ip6 daddr . meta l4proto . th dport . numgen random mod 3 map @endpoints6",
    dnat(6, { key: [...key6, numgen("random", 3)], map: endpoints6 }),
  ],
  [
    "dnat ip to ip saddr . ip daddr . meta l4proto . th dport map @affinity4",
    dnat(4, { key: [ip.saddr, ...key4], map: affinity4 }),
  ],
  [
    "dnat ip6 to ip6 saddr . ip6 daddr . meta l4proto . th dport map @affinity6",
    dnat(6, { key: [ip6.saddr, ...key6], map: affinity6 }),
  ],
  [
    "update @affinity4 { ip saddr . ip daddr . meta l4proto . th dport timeout 3h : 10.244.1.2 . 8080 }",
    update(affinity4, [ip.saddr, ...key4], { data: ["10.244.1.2", 8080], timeout: 10_800_000 }),
  ],
];

const postRules: Case[] = [
  ["masquerade", masquerade()],
  ["masquerade random,fully-random", masquerade({ random: true, fullyRandom: true })],
  ["tcp dport 5 masquerade to :1000-2000", is(tcp.dport, 5), masquerade({ port: "1000-2000" })],
  ["snat ip to 192.0.2.1", snat(4, { address: "192.0.2.1" })],
  ["snat ip6 to 2001:db8::1", snat(6, { address: "2001:db8::1" })],
];

const chains: [chain: string, cases: Case[]][] = [
  ["filter", filterRules],
  ["raw", rawRules],
  ["pre", natRules],
  ["post", postRules],
];

function ruleset(): Transaction {
  const base = { kind: "chain", policy: "accept" } as const;
  const tx = new Transaction(table).add(
    { kind: "table", ...table },
    { kind: "chain", name: "other" },
    { ...base, name: "filter", type: "filter", hook: "forward", priority: 0 },
    { ...base, name: "raw", type: "filter", hook: "prerouting", priority: -300 },
    { ...base, name: "pre", type: "nat", hook: "prerouting", priority: -100 },
    { ...base, name: "post", type: "nat", hook: "postrouting", priority: 100 },
    { kind: "counter", name: "hits" },
    ...sets,
  );
  // Each in a chain whose hook allows it: a socket is there before routing, a reset is sent from forward.
  for (const [chain, cases] of chains) {
    for (const [, ...statements] of cases) tx.add(rule("inet", chain, ...statements));
  }
  return tx;
}

kernelTest("nft lists each rule as it would be written", () => {
  using namespace = new NftNamespace();
  namespace.nft.apply(ruleset());
  const listing = namespace.run(["nft", "list", "table", "inet", "t"]).split("\n");
  for (const [chain, cases] of chains) {
    const start = listing.indexOf(`\tchain ${chain} {`) + 2;
    const lines = listing.slice(start, start + cases.length).map((line) => line.trim());
    expect(lines).toEqual(cases.map(([text]) => text));
  }
});

kernelTest("a dump decodes each rule to the expressions that were written", () => {
  using namespace = new NftNamespace();
  const written = ruleset();
  namespace.nft.apply(written);
  const { rules } = namespace.nft.dump(table);
  const wanted: Rule[] = written.operations.flatMap(({ object }) =>
    object.kind === "rule" && "expressions" in object ? [object] : [],
  );
  expect(rules.length).toBe(wanted.length);
  for (const [chain] of chains) {
    const dumped = rules.filter((one) => one.chain === chain).map(({ handle, ...rest }) => rest);
    expect(dumped).toEqual(wanted.filter((one) => one.chain === chain));
  }
});
