/**
 * What nf_tables takes and what it refuses: the same cases for the kernel and for the fake. Every case begins with the
 * table of {@link setup}, in a namespace (or fake) of its own.
 */
import {
  accept,
  addTo,
  comment,
  counter,
  countIn,
  dnat,
  ip,
  is,
  isIn,
  jump,
  limit,
  log,
  masquerade,
  redirect,
  reject,
  rule,
  type Statement,
  snat,
  th,
  update,
  vmap,
} from "../../src/linux/nftables/expr.ts";
import {
  type Chain,
  type Element,
  type NftablesApi,
  NftError,
  type NftMap,
  type NftSet,
  type Ruleset,
  type Table,
  Transaction,
} from "../../src/linux/nftables/index.ts";

export const ref = { family: "inet", name: "t" } as const;
const table: Table = { kind: "table", ...ref };
const input: Chain = {
  kind: "chain",
  name: "input",
  type: "filter",
  hook: "input",
  priority: 0,
  policy: "accept",
};
const post: Chain = {
  kind: "chain",
  name: "post",
  type: "nat",
  hook: "postrouting",
  priority: 100,
  policy: "accept",
};
const plain: NftSet = { kind: "set", name: "plain", key: "ipv4_addr" };
const ranges: NftSet = { kind: "set", name: "ranges", key: "ipv4_addr", flags: ["interval"] };
const areas: NftSet = { kind: "set", name: "areas", key: ["ipv4_addr", "inet_service"], flags: ["interval"] };
const ports: NftMap = { kind: "map", name: "ports", key: "ipv4_addr", data: "inet_service" };
const verdicts: NftMap = { kind: "map", name: "verdicts", key: "inet_service", data: "verdict" };
const small: NftSet = { kind: "set", name: "small", key: "ipv4_addr", size: 2 };
const fixed: NftSet = { kind: "set", name: "fixed", key: "ipv4_addr", flags: ["constant"] };
const timed: NftMap = {
  kind: "map",
  name: "timed",
  key: ["ipv6_addr", "inet_proto", "inet_service"],
  data: ["ipv6_addr", "inet_service"],
  flags: ["timeout", "dynamic"],
  timeout: 60_000,
  size: 1000,
};
const counted: NftSet = {
  kind: "set",
  name: "counted",
  key: "ifname",
  expressions: [{ name: "counter", packets: 0, bytes: 0 }],
  comment: "each with a counter",
};

const inChain = (chain: string, ...statements: Statement[]) => rule("inet", chain, ...statements);
const hosts = (...addresses: string[]): Element[] => addresses.map((key) => ({ key }));

export function setup(): Transaction {
  return new Transaction(ref)
    .add(
      table,
      input,
      post,
      { kind: "chain", name: "c" },
      { kind: "chain", name: "d", comment: "at the end" },
    )
    .add(plain, ranges, areas, ports, verdicts, small, fixed, timed, counted)
    .add({ kind: "counter", name: "hits", comment: "of the chain c" })
    .add(
      inChain("input", is(th.dport, 5), jump("c")),
      inChain("c", isIn(ip.saddr, plain), comment("known")),
      inChain("c", countIn("hits")),
    )
    .addElements(plain, hosts("192.0.2.1"))
    .addElements(ranges, hosts("10.0.0.0/24"))
    .addElements(areas, [{ key: ["10.0.0.0/24", "5-9"] }])
    .addElements(ports, [{ key: "192.0.2.1", data: 5 }])
    .addElements(verdicts, [{ key: 5, data: { verdict: "goto", chain: "d" }, comment: "five" }])
    .addElements(counted, [{ key: "eth0" }]);
}

/** "ok", or the errno and the place of the operation that was refused first. */
export type Outcome = "ok" | `${string}@${number}`;

/** What comes of applying a transaction. */
export function outcomeOf(nft: NftablesApi, transaction: Transaction): Outcome {
  try {
    nft.apply(transaction);
    return "ok";
  } catch (error) {
    if (!(error instanceof NftError)) throw error;
    return `${error.errnoName}@${error.index ?? -1}`;
  }
}

/** A dump without what differs from run to run: handles, remaining times, the generation. */
export function stable(ruleset: Ruleset): unknown {
  const drop = new Set(["handle", "expires", "generation"]);
  return JSON.parse(JSON.stringify(ruleset, (key, value) => (drop.has(key) ? undefined : value)));
}

type Case = readonly [name: string, outcome: Outcome, change: (tx: Transaction) => unknown];

const goTo = (chain: string) => ({ verdict: "goto", chain }) as const;
const other: Chain = { kind: "chain", name: "other" };

const tables: Case[] = [
  ["an empty transaction", "ok", () => {}],
  ["add a table again", "ok", (tx) => tx.add(table)],
  ["create a table again", "EEXIST@0", (tx) => tx.create(table)],
  ["make a table dormant", "ok", (tx) => tx.add({ ...table, flags: ["dormant"] })],
  ["give a table an owner later", "EOPNOTSUPP@0", (tx) => tx.add({ ...table, flags: ["owner"] })],
  ["delete a table with all that is in it", "ok", (tx) => tx.delete(table).add(table)],
  ["go on in a deleted table", "ENOENT@1", (tx) => tx.delete(table).add(other)],
  ["delete a table that is not there", "ENOENT@0", (tx) => tx.delete({ ...table, name: "x" })],
  ["destroy a table that is not there", "ok", (tx) => tx.destroy({ ...table, name: "x" })],
  ["a chain in no table", "ENOENT@0", (tx) => tx.add({ ...other, table: { family: "ip", name: "x" } })],
  ["several refusals", "ENOENT@1", (tx) => tx.add(other, inChain("x"), inChain("y"))],
  ["flush a table", "ok", (tx) => tx.flush(table)],
];

const chains: Case[] = [
  ["add a chain again", "ok", (tx) => tx.add(input)],
  ["create a chain again", "EEXIST@0", (tx) => tx.create(input)],
  ["change a policy", "ok", (tx) => tx.add({ ...input, policy: "drop" })],
  ["change a priority", "EOPNOTSUPP@0", (tx) => tx.add({ ...input, priority: 5 })],
  ["change a hook", "EOPNOTSUPP@0", (tx) => tx.add({ ...input, hook: "output" })],
  ["change a chain's type", "EEXIST@0", (tx) => tx.add({ ...input, type: "nat" })],
  ["hook a chain later", "EOPNOTSUPP@0", (tx) => tx.add({ ...input, name: "c" })],
  ["name a base chain without its hook", "ok", (tx) => tx.add({ kind: "chain", name: "input" })],
  ["a policy without a hook", "EOPNOTSUPP@0", (tx) => tx.add({ ...other, policy: "drop" })],
  ["translate in forward", "EOPNOTSUPP@0", (tx) => tx.add({ ...post, name: "x", hook: "forward" })],
  ["translate before tracking", "EOPNOTSUPP@0", (tx) => tx.add({ ...post, name: "x", priority: -300 })],
  ["delete a chain that is jumped to", "EBUSY@0", (tx) => tx.delete({ kind: "chain", name: "c" })],
  ["delete a chain that a map names", "EBUSY@0", (tx) => tx.delete({ kind: "chain", name: "d" })],
  ["destroy a chain that is jumped to", "EBUSY@0", (tx) => tx.destroy({ kind: "chain", name: "c" })],
  ["delete a chain with its rules", "ok", (tx) => tx.delete(input)],
  ["delete the jump, then the chain", "ok", (tx) => tx.flush(input).delete({ kind: "chain", name: "c" })],
  [
    "delete the element, then the chain",
    "ok",
    (tx) => tx.flush(verdicts).delete({ kind: "chain", name: "d" }),
  ],
  ["delete a chain that is not there", "ENOENT@0", (tx) => tx.delete(other)],
  ["destroy a chain that is not there", "ok", (tx) => tx.destroy(other)],
  ["flush a chain that is not there", "ENOENT@0", (tx) => tx.flush(other)],
];

const rules: Case[] = [
  ["add rules", "ok", (tx) => tx.add(inChain("c", counter, accept), inChain("d", log({ prefix: "d" })))],
  ["insert a rule", "ok", (tx) => tx.insert(inChain("c", limit({ rate: 5 }), accept, comment("first")))],
  ["a rule in no chain", "ENOENT@0", (tx) => tx.add(inChain("x"))],
  ["look into no set", "ENOENT@0", (tx) => tx.add(inChain("c", isIn(ip.saddr, { ...plain, name: "x" })))],
  ["jump to no chain", "ENOENT@0", (tx) => tx.add(inChain("c", jump("x")))],
  ["jump to a base chain", "EOPNOTSUPP@0", (tx) => tx.add(inChain("c", jump("input")))],
  ["count in no counter", "ENOENT@0", (tx) => tx.add(inChain("c", countIn("x")))],
  ["jump in a circle", "EMLINK@1", (tx) => tx.add(inChain("c", jump("d")), inChain("d", jump("c")))],
  [
    "jump in a circle that nothing leads to",
    "ok",
    (tx) => tx.add(other, { ...other, name: "b" }, inChain("other", jump("b")), inChain("b", jump("other"))),
  ],
  [
    "go in a circle through a map",
    "EMLINK@1",
    (tx) => tx.add(inChain("input", vmap(th.dport, verdicts)), inChain("d", vmap(th.dport, verdicts))),
  ],
  ["masquerade in a filter", "EOPNOTSUPP@0", (tx) => tx.add(inChain("c", masquerade()))],
  ["masquerade where nothing leads to", "ok", (tx) => tx.add(other, inChain("other", masquerade()))],
  [
    "lead a filter to a masquerade",
    "EOPNOTSUPP@2",
    (tx) => tx.add(other, inChain("other", masquerade()), inChain("c", jump("other"))),
  ],
  [
    "lead a filter to a masquerade through a map",
    "EOPNOTSUPP@3",
    (tx) =>
      tx
        .add(other, inChain("other", masquerade()), inChain("input", vmap(th.dport, verdicts)))
        .addElements(verdicts, [{ key: 6, data: goTo("other") }]),
  ],
  [
    "translate the destination afterwards",
    "EOPNOTSUPP@0",
    (tx) => tx.add(inChain("post", dnat(4, { port: 5 }))),
  ],
  ["redirect afterwards", "EOPNOTSUPP@0", (tx) => tx.add(inChain("post", redirect()))],
  ["translate the source", "ok", (tx) => tx.add(inChain("post", snat(4, { address: "192.0.2.1" })))],
  ["reject afterwards", "EOPNOTSUPP@0", (tx) => tx.add(inChain("post", reject()))],
  ["reject input", "ok", (tx) => tx.add(inChain("input", reject()))],
  ["delete no rule", "ENOENT@0", (tx) => tx.delete({ kind: "rule", chain: "c", handle: 9999 })],
  ["destroy no rule", "ok", (tx) => tx.destroy({ kind: "rule", chain: "c", handle: 9999 })],
  ["replace no rule", "ENOENT@0", (tx) => tx.replace({ ...inChain("c"), handle: 9999 })],
  ["add a rule after no rule", "ENOENT@0", (tx) => tx.add({ ...inChain("c"), position: 9999 })],
  ["add to a fixed set from packets", "EBUSY@0", (tx) => tx.add(inChain("c", addTo(fixed, ip.saddr)))],
  ["add to intervals from packets", "EOPNOTSUPP@0", (tx) => tx.add(inChain("c", addTo(ranges, ip.saddr)))],
  [
    "a lifetime in a set without",
    "EOPNOTSUPP@0",
    (tx) => tx.add(inChain("c", update(plain, ip.saddr, { timeout: 5000 }))),
  ],
];

const sets: Case[] = [
  ["add a set again", "ok", (tx) => tx.add(plain)],
  ["create a set again", "EEXIST@0", (tx) => tx.create(plain)],
  ["add a set with another type", "EEXIST@0", (tx) => tx.add({ ...plain, key: "inet_service" })],
  ["add a set with other flags", "EEXIST@0", (tx) => tx.add({ ...plain, flags: ["interval"] })],
  ["add a set with another comment", "ok", (tx) => tx.add({ ...plain, comment: "x" })],
  ["add a set where a map is", "EEXIST@0", (tx) => tx.add({ kind: "set", name: "ports", key: "ipv4_addr" })],
  ["add a map with other data", "EEXIST@0", (tx) => tx.add({ ...ports, data: "mark" })],
  ["add a set with elements", "ok", (tx) => tx.add({ ...plain, name: "x", elements: hosts("192.0.2.7") })],
  ["delete a set in use", "EBUSY@0", (tx) => tx.delete(plain)],
  ["delete the use, then the set", "ok", (tx) => tx.flush({ kind: "chain", name: "c" }).delete(plain)],
  ["delete a map with its elements", "ok", (tx) => tx.delete(ports)],
  ["delete a set that is not there", "ENOENT@0", (tx) => tx.delete({ ...plain, name: "x" })],
  ["destroy a set that is not there", "ok", (tx) => tx.destroy({ ...plain, name: "x" })],
  ["flush a set", "ok", (tx) => tx.flush(plain)],
  ["flush a set that is not there", "ENOENT@0", (tx) => tx.flush({ kind: "set", name: "x" })],
  ["add a counter again", "ok", (tx) => tx.add({ kind: "counter", name: "hits" })],
  ["create a counter again", "EEXIST@0", (tx) => tx.create({ kind: "counter", name: "hits" })],
  ["delete a counter in use", "EBUSY@0", (tx) => tx.delete({ kind: "counter", name: "hits" })],
  ["delete a counter that is not there", "ENOENT@0", (tx) => tx.delete({ kind: "counter", name: "x" })],
  ["destroy a counter that is not there", "ok", (tx) => tx.destroy({ kind: "counter", name: "x" })],
];

const create = (set: NftSet | NftMap, elements: Element[]) => ({ kind: "elements", set, elements }) as const;

const elements: Case[] = [
  ["an element of no set", "ENOENT@0", (tx) => tx.addElements({ ...plain, name: "x" }, hosts("192.0.2.1"))],
  ["add an element again", "ok", (tx) => tx.addElements(plain, hosts("192.0.2.1"))],
  ["create an element again", "EEXIST@0", (tx) => tx.create(create(plain, hosts("192.0.2.2", "192.0.2.1")))],
  ["add an element twice", "ok", (tx) => tx.addElements(plain, hosts("192.0.2.2", "192.0.2.2"))],
  ["other data for a key", "EEXIST@0", (tx) => tx.addElements(ports, [{ key: "192.0.2.1", data: 6 }])],
  [
    "delete, then add with other data",
    "ok",
    (tx) => tx.deleteElements(ports, hosts("192.0.2.1")).addElements(ports, [{ key: "192.0.2.1", data: 6 }]),
  ],
  [
    "add, then delete",
    "ok",
    (tx) => tx.addElements(ports, [{ key: "192.0.2.2", data: 6 }]).deleteElements(ports, hosts("192.0.2.2")),
  ],
  ["delete an element that is not there", "ENOENT@0", (tx) => tx.deleteElements(plain, hosts("192.0.2.9"))],
  ["delete an element twice", "ENOENT@0", (tx) => tx.deleteElements(plain, hosts("192.0.2.1", "192.0.2.1"))],
  [
    "destroy elements, one not there",
    "ok",
    (tx) => tx.destroyElements(plain, hosts("192.0.2.9", "192.0.2.1")),
  ],
  [
    "destroy elements of no set",
    "ENOENT@0",
    (tx) => tx.destroyElements({ ...plain, name: "x" }, hosts("192.0.2.1")),
  ],
  ["a verdict to no chain", "ENOENT@0", (tx) => tx.addElements(verdicts, [{ key: 7, data: goTo("x") }])],
  [
    "a verdict to a base chain",
    "EOPNOTSUPP@0",
    (tx) => tx.addElements(verdicts, [{ key: 7, data: goTo("post") }]),
  ],
  ["an end verdict", "ok", (tx) => tx.addElements(verdicts, [{ key: 7, data: { verdict: "drop" } }])],
  ["a range in a range", "EEXIST@0", (tx) => tx.addElements(ranges, hosts("10.0.0.128/25"))],
  ["a range around a range", "EEXIST@0", (tx) => tx.addElements(ranges, hosts("10.0.0.0/16"))],
  ["a range into a range", "EEXIST@0", (tx) => tx.addElements(ranges, hosts("9.255.255.0-10.0.0.5"))],
  ["a range out of a range", "EEXIST@0", (tx) => tx.addElements(ranges, hosts("10.0.0.200-10.0.1.5"))],
  ["the same range", "ok", (tx) => tx.addElements(ranges, hosts("10.0.0.0/24"))],
  ["create the same range", "EEXIST@0", (tx) => tx.create(create(ranges, hosts("10.0.0.0/24")))],
  ["a range beside a range", "ok", (tx) => tx.addElements(ranges, hosts("10.0.1.0/24"))],
  ["a range to the last address", "ok", (tx) => tx.addElements(ranges, hosts("224.0.0.0/3", "0.0.0.0/8"))],
  ["delete a part of a range", "ENOENT@0", (tx) => tx.deleteElements(ranges, hosts("10.0.0.0/25"))],
  ["delete a range", "ok", (tx) => tx.deleteElements(ranges, hosts("10.0.0.0/24"))],
  ["delete a range that is not there", "ENOENT@0", (tx) => tx.deleteElements(ranges, hosts("11.0.0.0/24"))],
  ["an area in an area", "EEXIST@0", (tx) => tx.addElements(areas, [{ key: ["10.0.0.5", "5-6"] }])],
  ["an area into an area", "EEXIST@0", (tx) => tx.addElements(areas, [{ key: ["10.0.0.0/23", "5-6"] }])],
  ["an area around an area", "ok", (tx) => tx.addElements(areas, [{ key: ["10.0.0.0/23", "1-90"] }])],
  ["the same area", "ok", (tx) => tx.addElements(areas, [{ key: ["10.0.0.0/24", "5-9"] }])],
  ["create the same area", "EEXIST@0", (tx) => tx.create(create(areas, [{ key: ["10.0.0.0/24", "5-9"] }]))],
  ["another area", "ok", (tx) => tx.addElements(areas, [{ key: ["10.0.0.0/24", "10-20"] }])],
  ["delete an area", "ok", (tx) => tx.deleteElements(areas, [{ key: ["10.0.0.0/24", "5-9"] }])],
  [
    "delete an area that is not there",
    "ENOENT@0",
    (tx) => tx.deleteElements(areas, [{ key: ["10.1.0.0/24", 5] }]),
  ],
  ["more than fit", "ENFILE@0", (tx) => tx.addElements(small, hosts("192.0.2.1", "192.0.2.2", "192.0.2.3"))],
  ["as many as fit", "ok", (tx) => tx.addElements(small, hosts("192.0.2.1", "192.0.2.2"))],
  ["elements of a fixed set", "ok", (tx) => tx.addElements(fixed, hosts("192.0.2.1"))],
  [
    "elements of a fixed set in use",
    "EBUSY@1",
    (tx) => tx.add(inChain("c", isIn(ip.saddr, fixed))).addElements(fixed, hosts("192.0.2.1")),
  ],
  [
    "a lifetime where there are none",
    "EINVAL@0",
    (tx) => tx.addElements(plain, [{ key: "192.0.2.3", timeout: 5000 }]),
  ],
  [
    "lifetimes, the set's and an own",
    "ok",
    (tx) =>
      tx.addElements(timed, [
        { key: ["fd00::1", "tcp", 80], data: ["fd00::a", 8080] },
        { key: ["fd00::2", "udp", 53], data: ["fd00::b", 53], timeout: 3_600_000, comment: "slow" },
      ]),
  ],
  ["an element for all others", "ok", (tx) => tx.addElements(plain, hosts("*"))],
  ["no element for all others", "ENOENT@0", (tx) => tx.deleteElements(plain, hosts("*"))],
];

/** What older kernels (6.1) say instead. */
export const olderOutcomes: Readonly<Record<string, Outcome>> = {
  "change a priority": "EEXIST@0",
  "change a hook": "EEXIST@0",
};

export const cases: readonly Case[] = [...tables, ...chains, ...rules, ...sets, ...elements];
