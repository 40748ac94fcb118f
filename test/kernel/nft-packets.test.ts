/**
 * What rules of the builder do to packets.
 *
 *     shell --udp--> VIP:53 --prerouting's rules, on output--> one of the endpoints a, b     all on lo of one namespace
 */
import { expect } from "bun:test";
import { Ip } from "../../src/lib/ip.ts";
import {
  accept,
  addTo,
  counter,
  dnat,
  drop,
  ipOf,
  is,
  isIn,
  isNot,
  isNotIn,
  jump,
  limitExpression,
  masked,
  meta,
  numgen,
  reject,
  rule,
  type Statement,
  set,
  setBits,
  th,
  update,
  vmap,
} from "../../src/linux/nftables/expr.ts";
import type { Chain, NftMap, NftSet, Rule } from "../../src/linux/nftables/index.ts";
import { Transaction } from "../../src/linux/nftables/index.ts";
import { needs, testWith } from "../lib/needs.ts";
import { NftNamespace } from "./nft-fixture.ts";

const kernelTest = testWith(needs.root, needs.command("nft", "nftables"), needs.kernel("nftables"));

const table = { family: "inet", name: "t" } as const;
const nat: Chain = { kind: "chain", name: "nat", type: "nat", hook: "output", priority: -100 };
const filter: Chain = { kind: "chain", name: "filter", type: "filter", hook: "output", priority: 0 };

/** The addresses and the types of a family. */
interface Side {
  readonly version: 4 | 6;
  readonly vip: string;
  readonly endpoints: readonly [string, string];
}

const sides: readonly (readonly [string, Side])[] = [
  ["IPv4", { version: 4, vip: "10.96.0.10", endpoints: ["127.0.0.11", "127.0.0.12"] }],
  ["IPv6", { version: 6, vip: "fd00:96::a", endpoints: ["fd00::11", "fd00::12"] }],
];

/** A namespace with the addresses on lo, and rules that are in force. */
function lab(
  { vip, endpoints, version }: Side,
  objects: readonly (Chain | Rule | NftSet | NftMap)[],
): NftNamespace {
  const namespace = new NftNamespace();
  namespace.run(["ip", "link", "set", "lo", "up"]);
  for (const one of version === 6 ? [vip, ...endpoints] : [vip]) {
    namespace.run(["ip", "addr", "add", one, "dev", "lo"]);
  }
  namespace.nft.apply(new Transaction(table).add({ kind: "table", ...table }, nat, filter, ...objects));
  return namespace;
}

/** Sends so many UDP packets, each from a port of its own. */
function send(namespace: NftNamespace, address: string, port: number, count = 1): void {
  const one = `exec 3<>/dev/udp/${address}/${port} && echo >&3; exec 3>&-`;
  namespace.run(["bash"], `for i in $(seq ${count}); do { ${one}; } 2>/dev/null; done; true`);
}

/** Where the connections' answers come from, each place once. */
function answering({ conntrack }: NftNamespace, vip: string): string[] {
  const flows = conntrack.list({ protocol: 17, original: { destination: Ip.parse(vip) } });
  const places = flows.map(({ reply }) => `${reply.source} ${reply.sourcePort}`);
  return [...new Set(places)].sort();
}

/** What the only counter of a chain shows. */
function counted({ nft }: NftNamespace, chain: string): number | undefined {
  const expressions = nft.dump(table).rules.flatMap((one) => (one.chain === chain ? one.expressions : []));
  return expressions.find((one) => one.name === "counter")?.packets;
}

function types(version: 4 | 6) {
  const address = version === 4 ? "ipv4_addr" : "ipv6_addr";
  return { address, frontend: [address, "inet_proto", "inet_service"] } as const;
}

const inet = (chain: string, ...statements: Statement[]) => rule("inet", chain, ...statements);

kernelTest.each(sides)("a Service: verdict map, random endpoint from a map, %s", (_, side) => {
  const { version, vip, endpoints } = side;
  const { address, frontend } = types(version);
  const frontends: NftMap = { kind: "map", name: "frontends", key: frontend, data: "verdict" };
  const slots: NftMap = {
    kind: "map",
    name: "slots",
    key: [...frontend, "integer"],
    data: [address, "inet_service"],
    elements: endpoints.map((endpoint, i) => ({ key: [vip, "udp", 53, i], data: [endpoint, 5353 + i] })),
  };
  const key = [ipOf(version).daddr, meta.l4proto, th.dport];
  using namespace = lab(side, [
    { kind: "chain", name: "two" },
    { ...frontends, elements: [{ key: [vip, "udp", 53], data: { verdict: "goto", chain: "two" } }] },
    slots,
    inet("nat", vmap(key, frontends)),
    inet("two", dnat(version, { key: [...key, numgen("random", 2)], map: slots })),
  ]);
  send(namespace, vip, 53, 40);
  send(namespace, vip, 54);
  expect(answering(namespace, vip)).toEqual(
    [`${endpoints[0]} 5353`, `${endpoints[1]} 5354`, `${vip} 54`].sort(),
  );
});

kernelTest.each(sides)("affinity: what a packet put into a map leads the next one, %s", (_, side) => {
  const { version, vip, endpoints } = side;
  const { address, frontend } = types(version);
  const affinity: NftMap = {
    kind: "map",
    name: "affinity",
    key: [address, ...frontend],
    data: [address, "inet_service"],
    flags: ["dynamic", "timeout"],
    size: 100,
  };
  const packet = ipOf(version);
  const client = [packet.saddr, packet.daddr, meta.l4proto, th.dport];
  using namespace = lab(side, [
    affinity,
    inet("nat", dnat(version, { key: client, map: affinity })),
    inet(
      "filter",
      is(th.dport, 53),
      update(affinity, client, { data: [endpoints[1], 5353], timeout: 60_000 }),
    ),
  ]);
  send(namespace, vip, 53);
  expect(answering(namespace, vip)).toEqual([`${vip} 53`]);
  const [element, ...others] = namespace.nft.elements(table, affinity);
  expect(others).toEqual([]);
  expect(element).toMatchObject({ key: [vip, vip, "udp", 53], data: [endpoints[1], 5353], timeout: 60_000 });
  expect(element?.expires).toBeGreaterThan(50_000);
  send(namespace, vip, 53);
  expect(answering(namespace, vip)).toEqual([`${endpoints[1]} 5353`, `${vip} 53`].sort());
});

kernelTest.each(sides)("marks are set and tested bit by bit, %s", (_, side) => {
  const { vip } = side;
  const bit = 0x0008_0000;
  const has = (value: number) => is(masked(meta.mark, bit), value);
  using namespace = lab(side, [
    { ...filter, name: "later", priority: 10 },
    inet("filter", is(th.dport, 53), set(meta.mark, 0x8000_0001), setBits(meta.mark, bit)),
    inet("filter", is(th.dport, 54), set(meta.mark, 0x8008_0001), setBits(meta.mark, 0, bit)),
    inet("later", is(meta.mark, 0x8008_0001), has(bit), counter),
    inet("later", is(meta.mark, 0x8000_0001), has(0), drop),
  ]);
  send(namespace, vip, 53, 3);
  send(namespace, vip, 54, 2);
  expect(counted(namespace, "later")).toBe(3);
});

kernelTest.each(sides)("sets of pairs, and intervals, %s", (_, side) => {
  const { version, vip, endpoints } = side;
  const { address } = types(version);
  const packet = ipOf(version);
  const pairs: NftSet = {
    kind: "set",
    name: "pairs",
    key: [address, address],
    elements: [{ key: [vip, vip] }],
  };
  const near: NftSet = {
    kind: "set",
    name: "near",
    key: address,
    flags: ["interval"],
    elements: [{ key: version === 4 ? "127.0.0.0/8" : "fd00::/64" }],
  };
  const areas: NftSet = {
    kind: "set",
    name: "areas",
    key: [address, "inet_service"],
    flags: ["interval"],
    elements: [{ key: [version === 4 ? "10.96.0.0/16" : "fd00:96::/112", "50-59"] }],
  };
  using namespace = lab(side, [
    pairs,
    near,
    areas,
    { kind: "chain", name: "a" },
    { kind: "chain", name: "b" },
    { kind: "chain", name: "c" },
    inet("filter", isNot(meta.l4proto, "udp"), accept),
    inet("filter", isIn([packet.saddr, packet.daddr], pairs), jump("a")),
    inet("filter", isNotIn(packet.daddr, near), jump("b")),
    inet("filter", isIn([packet.daddr, th.dport], areas), jump("c")),
    ...["a", "b", "c"].map((chain) => inet(chain, counter)),
  ]);
  send(namespace, vip, 53, 2);
  send(namespace, vip, 60, 3);
  send(namespace, endpoints[0], 53, 4);
  expect(["a", "b", "c"].map((chain) => counted(namespace, chain))).toEqual([5, 5, 2]);
});

kernelTest.each(sides)("the sender hears of a reject at once, %s", (_, side) => {
  const { vip } = side;
  using namespace = lab(side, [
    inet("filter", is(meta.l4proto, "tcp"), is(th.dport, 80), reject("tcp reset")),
    inet("filter", is(th.dport, 81), reject()),
  ]);
  const shell = (script: string) => () => namespace.run(["bash", "-c", script]);
  expect(shell(`exec 3<>/dev/tcp/${vip}/80`)).toThrow("Connection refused");
  // UDP has no answer of its own: the socket tells at its next packet.
  expect(shell(`exec 3<>/dev/udp/${vip}/81; echo >&3; echo >&3`)).toThrow("Connection refused");
});

kernelTest.each(sides)("a limit for each source, kept in a dynamic set, %s", (_, side) => {
  const { version, vip } = side;
  const meters: NftSet = {
    kind: "set",
    name: "meters",
    key: types(version).address,
    flags: ["dynamic"],
    size: 10,
  };
  const limit = limitExpression({ rate: 1, per: "hour", burst: 2 });
  using namespace = lab(side, [
    meters,
    inet("filter", is(th.dport, 53), addTo(meters, ipOf(version).saddr, { expressions: [limit] }), accept),
    inet("filter", is(th.dport, 53), counter, drop),
  ]);
  send(namespace, vip, 53, 5);
  expect(counted(namespace, "filter")).toBe(3);
  expect(namespace.nft.elements(table, meters)).toEqual([{ key: vip, expressions: [limit] }]);
});
