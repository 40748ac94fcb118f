/** Transactions in the real kernel: all or nothing, in pieces where they are large, with errors that name the culprit. */
import { expect } from "bun:test";
import { isBusy, isExists, isNotFound } from "../../src/linux/errors.ts";
import {
  accept,
  comment,
  counter,
  dnat,
  drop,
  ip,
  jump,
  meta,
  rule,
  type Statement,
  th,
} from "../../src/linux/nftables/expr.ts";
import {
  type Chain,
  type Element,
  type Family,
  isGenerationChanged,
  Nftables,
  NftError,
  type NftMap,
  type NftSet,
  type Rule,
  Transaction,
} from "../../src/linux/nftables/index.ts";
import { needs, testWith } from "../lib/needs.ts";
import { NftNamespace } from "./nft-fixture.ts";

const kernelTest = testWith(needs.root, needs.command("nft", "nftables"), needs.kernel("nftables"));

const ref = { family: "inet", name: "t" } as const;
const table = { kind: "table", ...ref } as const;
const frontends: NftMap = {
  kind: "map",
  name: "frontends",
  key: ["ipv4_addr", "inet_proto", "inet_service"],
  data: ["ipv4_addr", "inet_service"],
};
const ranges: NftSet = { kind: "set", name: "ranges", key: "ipv4_addr", flags: ["interval"] };
const chain: Chain = { kind: "chain", name: "c" };
const inChain = (...statements: Statement[]): Rule => rule("inet", "c", ...statements);

function frontendsOf(count: number): Element[] {
  return Array.from({ length: count }, (_, i) => ({
    key: [`10.96.${i >> 8}.${i & 255}`, i % 2 === 0 ? "tcp" : "udp", 80],
    data: [`10.244.${i >> 8}.${i & 255}`, 8080],
    comment: `element ${i}`,
  }));
}

function refusalOf(action: () => void): NftError {
  try {
    action();
  } catch (error) {
    if (error instanceof NftError) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}

const comments = (rules: readonly Rule[]) => rules.map(({ comment: text }) => text);

kernelTest("20,000 elements go in one transaction, and come back the same", () => {
  using namespace = new NftNamespace();
  const elements = frontendsOf(20_000);
  namespace.nft.apply(new Transaction(ref).add(table, { ...frontends, elements }));
  expect(namespace.nft.elements(ref, frontends)).toEqual(elements);
  const few = elements.slice(0, 100);
  namespace.nft.apply(new Transaction(ref).deleteElements(frontends, elements.slice(100)));
  const listing = namespace.run(["nft", "list", "map", "inet", "t", "frontends"]);
  expect(listing.match(/comment "element \d+"/g)?.length).toBe(few.length);
  expect(namespace.nft.elements(ref, frontends)).toEqual(few);
});

kernelTest("of many elements, the refused one is named and none is added", () => {
  using namespace = new NftNamespace();
  const { nft } = namespace;
  nft.apply(new Transaction(ref).add(table, frontends));
  const elements = [...frontendsOf(5000), ...frontendsOf(4000).slice(3999)];
  const error = refusalOf(() =>
    nft.apply(new Transaction(ref).create({ kind: "elements", set: frontends, elements })),
  );
  expect(isExists(error)).toBe(true);
  expect(error.element).toEqual(elements[5000] as Element);
  expect(error.message).toContain(
    'cannot create element "10.96.15.159 . udp . 80" of map "frontends" in table inet t',
  );
  expect(nft.elements(ref, frontends)).toEqual([]);
});

kernelTest("of intervals, whose ends are elements of their own, the refused one is named", () => {
  using namespace = new NftNamespace();
  const { nft } = namespace;
  nft.apply(new Transaction(ref).add(table, ranges).addElements(ranges, [{ key: "10.0.2.0/24" }]));
  const keys = ["255.0.0.0/8", "10.0.0.0/24", "10.0.1.0/24", "10.0.2.128/25", "10.0.3.0/24"];
  const error = refusalOf(() =>
    nft.apply(
      new Transaction(ref).addElements(
        ranges,
        keys.map((key) => ({ key })),
      ),
    ),
  );
  expect(error.element).toEqual({ key: "10.0.2.128/25" });
});

kernelTest("errors name the operation, the object and the attribute", () => {
  using namespace = new NftNamespace();
  const { nft } = namespace;
  nft.apply(
    new Transaction(ref)
      .add(table, chain, { ...chain, name: "d" }, frontends)
      .add(inChain(jump("d"), comment("to d"))),
  );
  const cases: [tx: Transaction, message: string][] = [
    [
      new Transaction(ref).add(chain, rule("inet", "x", accept)),
      'cannot add rule of chain "x" in table inet t, operation 1, attribute chain (ENOENT)',
    ],
    [
      new Transaction(ref).add(inChain(counter, jump("x"), comment("to x"))),
      'cannot add rule "to x" of chain "c" in table inet t, operation 0, attribute expressions[1] (ENOENT)',
    ],
    [
      new Transaction(ref).delete({ ...chain, name: "d" }),
      'cannot delete chain "d" in table inet t, operation 0, attribute name (EBUSY)',
    ],
    [
      new Transaction(ref).delete({ kind: "rule", chain: "c", handle: 99 }),
      'cannot delete rule of chain "c" handle 99 in table inet t, operation 0, attribute handle (ENOENT)',
    ],
    [
      new Transaction(ref).create(frontends),
      'cannot create map "frontends" in table inet t, operation 0, attribute name (EEXIST)',
    ],
    [
      new Transaction(ref).delete({ kind: "table", family: "ip6", name: "x" }),
      "cannot delete table ip6 x, operation 0, attribute name (ENOENT)",
    ],
    [
      new Transaction(ref).deleteElements(frontends, frontendsOf(1)),
      'cannot delete element "10.96.0.0 . tcp . 80" of map "frontends" in table inet t, operation 0, attribute elements[0] (ENOENT)',
    ],
  ];
  for (const [tx, message] of cases) expect(refusalOf(() => nft.apply(tx)).message).toBe(message);
});

kernelTest("all refusals of a transaction are told, the first one first", () => {
  using namespace = new NftNamespace();
  const { nft } = namespace;
  nft.apply(new Transaction(ref).add(table, chain));
  const tx = new Transaction(ref)
    .add({ ...chain, name: "d" })
    .create(chain)
    .add(rule("inet", "x"), inChain(jump("y")));
  const error = refusalOf(() => nft.apply(tx));
  expect(error.failures.map(({ errnoName, index }) => `${errnoName} ${index}`)).toEqual([
    "EEXIST 1",
    "ENOENT 2",
    "ENOENT 3",
  ]);
  expect(error.failures[0]).toBe(error);
  expect(nft.dump(ref).chains.map(({ name }) => name)).toEqual(["c"]);
});

kernelTest("what is not there, is there, or is in use can be asked of an error", () => {
  using namespace = new NftNamespace();
  const { nft } = namespace;
  expect(isNotFound(refusalOf(() => nft.apply(new Transaction(ref).delete(table))))).toBe(true);
  nft.apply(
    new Transaction(ref).add(
      table,
      chain,
      frontends,
      inChain(dnat(4, { key: [ip.daddr, meta.l4proto, th.dport], map: frontends })),
    ),
  );
  expect(isExists(refusalOf(() => nft.apply(new Transaction(ref).create(table))))).toBe(true);
  expect(isBusy(refusalOf(() => nft.apply(new Transaction(ref).delete(frontends))))).toBe(true);
  expect(() => nft.dump({ family: "ip", name: "t" })).toThrow("cannot read table ip t (ENOENT)");
});

kernelTest("a transaction for a state that is gone does nothing", () => {
  using namespace = new NftNamespace();
  const { nft } = namespace;
  nft.apply(new Transaction(ref).add(table));
  const { generation } = nft.dump(ref);
  namespace.run(["nft", "add", "table", "ip", "foreign"]);
  expect(nft.generation()).toBe(generation + 1);
  const tx = new Transaction(ref).add(chain);
  const error = refusalOf(() => nft.apply(tx, { generation }));
  expect(isGenerationChanged(error)).toBe(true);
  expect(nft.dump(ref).chains).toEqual([]);
  const applied = nft.apply(tx, { generation: generation + 1, report: true });
  expect(applied.generation).toBe(generation + 2);
  expect(nft.generation()).toBe(generation + 2);
});

kernelTest("rules are put in place, replaced and deleted by their handles", () => {
  using namespace = new NftNamespace();
  const { nft } = namespace;
  const [first, last] = [inChain(counter, comment("first")), inChain(drop, comment("last"))];
  const { handles } = nft.apply(new Transaction(ref).add(table, chain, first, last), { report: true });
  const [one, two] = [handles.get(first), handles.get(last)];
  if (one === undefined || two === undefined) throw new Error("no handles were reported");
  const rules = () => nft.dump(ref).rules;
  expect(rules().map(({ handle }) => handle)).toEqual([one, two]);
  nft.apply(
    new Transaction(ref)
      .insert(inChain(comment("start")), { ...inChain(comment("before last")), position: two })
      .add({ ...inChain(comment("after first")), position: one }, inChain(comment("end"))),
  );
  expect(comments(rules())).toEqual(["start", "first", "after first", "before last", "last", "end"]);
  nft.apply(new Transaction(ref).replace({ ...inChain(accept, comment("new")), handle: two }));
  expect(comments(rules())).toEqual(["start", "first", "after first", "before last", "new", "end"]);
  nft.apply(new Transaction(ref).delete({ kind: "rule", chain: "c", handle: one }));
  expect(comments(rules())).toEqual(["start", "after first", "before last", "new", "end"]);
  nft.apply(new Transaction(ref).flush(chain));
  expect(rules()).toEqual([]);
});

kernelTest("a table with an owner is its socket's alone, and goes with it", () => {
  using namespace = new NftNamespace();
  const owner = new Nftables({ netns: { name: namespace.name } });
  owner.apply(new Transaction(ref).add({ ...table, flags: ["owner"] }, chain));
  expect(namespace.nft.dump(ref).table.flags).toEqual(["owner"]);
  expect(refusalOf(() => namespace.nft.apply(new Transaction(ref).delete(table))).errnoName).toBe("EPERM");
  owner.close();
  expect(namespace.nft.tables()).toEqual([]);
});

kernelTest("tables of all families with what they may hold come back as they were written", () => {
  using namespace = new NftNamespace();
  const { nft } = namespace;
  namespace.run(["ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1"]);
  const base = (hook: Chain["hook"], more: Partial<Chain> = {}): Chain =>
    ({
      kind: "chain",
      name: `${hook}`,
      type: "filter",
      hook,
      priority: 5,
      policy: "accept",
      ...more,
    }) as Chain;
  const chains: [Family, Chain[]][] = [
    ["inet", [base("prerouting"), base("input"), base("forward"), base("output"), base("postrouting")]],
    ["inet", [base("ingress", { devices: ["v0"] })]],
    ["ip", [base("output", { type: "route", priority: -150, policy: "drop" })]],
    ["ip6", [base("postrouting", { type: "nat", priority: 100 })]],
    ["arp", [base("input"), base("output")]],
    ["bridge", [base("prerouting", { priority: -300 }), base("forward"), chain]],
    [
      "netdev",
      [base("ingress", { devices: ["v0"] }), base("egress", { devices: ["v0", "v1"], comment: "both" })],
    ],
  ];
  for (const [family, list] of chains) {
    const one = { family, name: "all" } as const;
    nft.apply(new Transaction(one).add({ kind: "table", ...one, comment: "a table" }, ...list));
    const dump = nft.dump(one);
    expect(dump.table).toEqual({ kind: "table", ...one, comment: "a table", handle: expect.any(Number) });
    expect(dump.chains as unknown).toEqual(list.map((each) => ({ ...each, handle: expect.any(Number) })));
    nft.apply(new Transaction(one).delete({ kind: "table", ...one }));
  }
});

kernelTest("sets of every kind come back as they were written, and can be written again", () => {
  using namespace = new NftNamespace();
  const { nft } = namespace;
  const sets: (NftSet | NftMap)[] = [
    { kind: "set", name: "macs", key: "ether_addr", elements: [{ key: "0a:58:0a:f4:01:07" }] },
    { kind: "set", name: "names", key: "ifname", elements: [{ key: "eth0" }, { key: "weft-0123456789" }] },
    { kind: "set", name: "marks", key: "mark", size: 10, elements: [{ key: 1 }, { key: 0xffffffff }] },
    { kind: "set", name: "states", key: "ct_state", elements: [{ key: "established" }, { key: "new" }] },
    { kind: "set", name: "small", key: "inet_service", policy: "memory", comment: "few" },
    {
      kind: "set",
      name: "ranges6",
      key: "ipv6_addr",
      flags: ["interval"],
      autoMerge: true,
      elements: [{ key: "::/3" }, { key: "fd00::1-fd00::9", comment: "nine" }, { key: "ff00::/8" }],
    },
    {
      kind: "set",
      name: "ports",
      key: "inet_service",
      flags: ["interval"],
      elements: [{ key: "0-79" }, { key: 443 }, { key: "30000-32767" }, { key: 65535 }],
    },
    {
      kind: "map",
      name: "areas",
      key: ["ipv6_addr", "inet_proto", "inet_service"],
      data: "verdict",
      flags: ["interval"],
      elements: [
        { key: ["::/0", "tcp", "1-1023"], data: { verdict: "jump", chain: "c" } },
        { key: ["fd00::/64", "udp", 53], data: { verdict: "accept" } },
      ],
    },
    {
      kind: "map",
      name: "affinity",
      key: ["ipv6_addr", "ipv6_addr", "inet_proto", "inet_service"],
      data: ["ipv6_addr", "inet_service"],
      flags: ["timeout", "dynamic"],
      timeout: 10_800_000,
      gcInterval: 1000,
      size: 65536,
      elements: [{ key: ["fd00::1", "fd00::2", "tcp", 80], data: ["fd00::3", 8080], timeout: 60_000 }],
    },
    {
      kind: "set",
      name: "counted",
      key: "ipv4_addr",
      flags: ["interval"],
      expressions: [
        { name: "counter", packets: 0, bytes: 0 },
        { name: "quota", bytes: 1000, consumed: 0 },
      ],
      elements: [
        {
          key: "10.0.0.0/8",
          expressions: [
            { name: "counter", packets: 5, bytes: 500 },
            { name: "quota", bytes: 1000, consumed: 10 },
          ],
        },
      ],
    },
    {
      kind: "set",
      name: "rest",
      key: "ipv4_addr",
      elements: [{ key: "*", comment: "all others" }, { key: "10.0.0.1" }],
    },
  ];
  for (const round of [1, 2]) {
    const again = round === 1 ? sets : nft.dump(ref).sets.map(({ handle, ...set }) => set);
    nft.apply(new Transaction(ref).destroy(table).add(table, chain, ...again));
    const dumped = JSON.parse(
      JSON.stringify(nft.dump(ref).sets, (key, value) =>
        key === "handle" || key === "expires" ? undefined : value,
      ),
    );
    expect(dumped).toEqual(JSON.parse(JSON.stringify(sets)));
  }
  expect(namespace.run(["nft", "list", "table", "inet", "t"])).toContain("10.0.0.1");
});

kernelTest("a set of another program that Weft has no words for does not spoil a dump", () => {
  using namespace = new NftNamespace();
  namespace.run(
    ["nft", "-f", "-"],
    `table inet t {
      set known { type ipv4_addr; }
      set odd { typeof osf name; }
      chain c { tcp dport { 80, 443 } counter accept; osf version "Linux:2.6" drop; }
    }`,
  );
  const { sets, rules } = namespace.nft.dump(ref);
  expect(sets.map(({ name }) => name)).toEqual(["known"]);
  expect(rules[1]?.expressions).toMatchObject([
    { name: "opaque", kernelName: "osf" },
    { name: "cmp" },
    { name: "immediate" },
  ]);
  const odd = rules[1];
  if (odd === undefined) throw new Error("the rule is not there");
  namespace.nft.apply(new Transaction(ref).add({ ...odd, comment: "again" }));
  expect(namespace.run(["nft", "list", "chain", "inet", "t", "c"])).toContain(
    'osf version "Linux:2.6" drop comment "again"',
  );
});
