import { describe, expect, test } from "bun:test";
import { explain } from "../../lib/errors.ts";
import { Prefix } from "../../lib/prefix.ts";
import { seededRandom } from "../../lib/random.ts";
import { checkNetworks, type NodeCidrs, planNodeCidrs } from "./cidrs.ts";

const prefixes = (texts: string[]) => texts.map((text) => Prefix.parse(text));
const pools = (cluster: string[], masks: { nodeMaskIPv4?: number; nodeMaskIPv6?: number } = {}) =>
  checkNetworks({ clusterCIDRs: prefixes(cluster), serviceCIDRs: [], ...masks }).clusterCIDRs;
const node = (name: string, ...podCIDRs: string[]): NodeCidrs => ({ name, podCIDRs });
const text = (assigned: NodeCidrs[]) => assigned.map(({ name, podCIDRs }) => `${name} ${podCIDRs.join(" ")}`);

describe("what is assigned", () => {
  const dual = ["10.244.0.0/16", "fd00:10:244::/56"];
  const cases: [what: string, cluster: string[], nodes: NodeCidrs[], expected: string[]][] = [
    ["one family", ["10.244.0.0/16"], [node("a"), node("b")], ["a 10.244.0.0/24", "b 10.244.1.0/24"]],
    [
      "both",
      dual,
      [node("a"), node("b")],
      ["a 10.244.0.0/24 fd00:10:244::/64", "b 10.244.1.0/24 fd00:10:244:1::/64"],
    ],
    ["the order of the families", [...dual].reverse(), [node("a")], ["a fd00:10:244::/64 10.244.0.0/24"]],
    [
      "around what is there",
      ["10.244.0.0/16"],
      [node("a"), node("b", "10.244.0.0/24"), node("c")],
      ["a 10.244.1.0/24", "c 10.244.2.0/24"],
    ],
    ["around a larger one", ["10.244.0.0/16"], [node("a"), node("b", "10.244.0.0/22")], ["a 10.244.4.0/24"]],
    [
      "around a smaller one",
      ["10.244.0.0/16"],
      [node("a"), node("b", "10.244.0.128/25")],
      ["a 10.244.1.0/24"],
    ],
    [
      "beside a foreign one",
      ["10.244.0.0/16"],
      [node("a"), node("b", "192.168.0.0/24")],
      ["a 10.244.0.0/24"],
    ],
    ["nothing to who has half", dual, [node("a", "10.244.0.0/24")], []],
    ["beside rubbish", ["10.244.0.0/16"], [node("a", "hello"), node("b")], ["b 10.244.0.0/24"]],
  ];
  test.each(cases)("%s", (_, cluster, nodes, expected) => {
    const plan = planNodeCidrs(pools(cluster), nodes);
    expect(text(plan.assigned)).toEqual(expected);
    expect([plan.exhausted, plan.conflicts]).toEqual([[], []]);
  });

  test("with other masks", () => {
    const plan = planNodeCidrs(pools(dual, { nodeMaskIPv4: 26, nodeMaskIPv6: 60 }), [node("a"), node("b")]);
    expect(text(plan.assigned)).toEqual([
      "a 10.244.0.0/26 fd00:10:244::/60",
      "b 10.244.0.64/26 fd00:10:244:10::/60",
    ]);
  });

  test("goes on after the last one, and comes round", () => {
    const one = pools(["10.0.0.0/22"]);
    const first = planNodeCidrs(one, [node("a"), node("b")]);
    const second = planNodeCidrs(one, [node("c")], first.cursors);
    expect(text(second.assigned)).toEqual(["c 10.0.2.0/24"]);
    const third = planNodeCidrs(one, [node("c", "10.0.2.0/24"), node("d"), node("e")], second.cursors);
    expect(text(third.assigned)).toEqual(["d 10.0.3.0/24", "e 10.0.0.0/24"]);
  });
});

describe("what cannot be assigned", () => {
  test("an exhausted pool is named, and the other family is not spent", () => {
    const both = pools(["10.0.0.0/23", "fd00::/56"]);
    const plan = planNodeCidrs(both, [node("a", "10.0.0.0/24"), node("b", "10.0.1.0/24"), node("c")]);
    expect(plan.assigned).toEqual([]);
    expect(plan.exhausted).toEqual([
      { name: "c", pool: Prefix.parse("10.0.0.0/23"), nodeMask: 24, taken: 2 },
    ]);
    expect(plan.cursors).toEqual([0, 0]);
  });

  test("overlaps of what is there are told, inside and outside of the pools", () => {
    const nodes = [
      node("a", "10.0.0.0/24"),
      node("b", "10.0.0.0/25"),
      node("c", "1.0.0.0/8"),
      node("d", "1.0.0.0/8"),
    ];
    expect(planNodeCidrs(pools(["10.0.0.0/16"]), nodes).conflicts).toEqual([
      { name: "b", podCIDR: "10.0.0.0/25", other: "a" },
      { name: "d", podCIDR: "1.0.0.0/8", other: "c" },
    ]);
  });

  test("at random, no two nodes ever share an address, and all slots are used before one is refused", () => {
    const one = pools(["10.0.0.0/20", "fd00::/60"]);
    for (let seed = 1; seed <= 30; seed++) {
      const random = seededRandom(seed);
      let nodes: NodeCidrs[] = [];
      let cursors: number[] = [];
      for (let step = 0; step < 40; step++) {
        if (random() < 0.4) nodes = nodes.filter(() => random() < 0.7);
        nodes.push(...Array.from({ length: random() * 5 }, (_, i) => node(`${step}-${i}`)));
        const plan = planNodeCidrs(one, nodes, cursors);
        cursors = plan.cursors;
        for (const { name, podCIDRs } of plan.assigned)
          nodes = [...nodes.filter((n) => n.name !== name), node(name, ...podCIDRs)];
        const used = nodes.filter(({ podCIDRs }) => podCIDRs.length > 0);
        expect(new Set(used.flatMap(({ podCIDRs }) => podCIDRs)).size).toBe(used.length * 2);
        if (plan.exhausted.length > 0) expect(used.length).toBe(16);
        nodes = nodes.filter(({ podCIDRs }) => podCIDRs.length > 0);
      }
    }
  });
});

describe("ranges that are refused", () => {
  const cases: [cluster: string[], service: string[], masks: object, message: string][] = [
    [
      ["10.96.0.0/12"],
      ["10.96.0.0/16"],
      {},
      '--cluster-cidr: "10.96.0.0/12" overlaps with --service-cidr "10.96.0.0/16"',
    ],
    [
      ["10.244.0.0/16", "fd00::/48"],
      ["10.96.0.0/16", "fd00:0:0:5::/112"],
      {},
      'overlaps with --service-cidr "fd00:0:0:5::/112"',
    ],
    [["10.244.0.1/16"], [], {}, "has host bits set. Write 10.244.0.0/16"],
    [["10.244.0.0/16", "10.245.0.0/16"], [], {}, 'is a second range of IPv4, beside "10.244.0.0/16"'],
    [["10.244.0.0/26"], [], {}, "--node-cidr-mask-size-ipv4: 24 is not between 26 and 30"],
    [["10.244.0.0/16"], [], { nodeMaskIPv4: 31 }, "31 is not between 16 and 30"],
    [["fd00::/56"], [], { nodeMaskIPv6: 48 }, "--node-cidr-mask-size-ipv6: 48 is not between 56 and 126"],
  ];
  test.each(cases)("%j beside %j with %j", (cluster, service, masks, message) => {
    const check = () =>
      checkNetworks({ clusterCIDRs: prefixes(cluster), serviceCIDRs: prefixes(service), ...masks });
    let told = "";
    try {
      check();
    } catch (error) {
      told = explain(error);
    }
    expect(told).toContain(message);
  });
});
