import { describe, expect, test } from "bun:test";
import type { Node } from "../kube/types.ts";
import { nodeAddress, planRoutes } from "./plan.ts";

function node(name: string, podCIDRs: string[], addresses: string[]): Node {
  return {
    metadata: { name },
    spec: { podCIDRs },
    status: { addresses: addresses.map((address) => ({ type: "InternalIP", address })) },
  };
}

const a = node("a", ["10.244.0.0/24", "fd00:1::/64"], ["172.30.0.11", "fd00:30::11"]);
const b = node("b", ["10.244.1.0/24", "fd00:2::/64"], ["172.30.0.12", "fd00:30::12"]);

describe("planRoutes", () => {
  const cases: { what: string; nodes: Node[]; routes: string[]; problems: string[] }[] = [
    {
      what: "reaches each other node in both families, and not itself",
      nodes: [a, b],
      routes: ["10.244.1.0/24 via 172.30.0.12", "fd00:2::/64 via fd00:30::12"],
      problems: [],
    },
    { what: "needs no routes alone", nodes: [a], routes: [], problems: [] },
    {
      what: "leaves out a node without podCIDRs",
      nodes: [a, node("c", [], ["172.30.0.13"])],
      routes: [],
      problems: [],
    },
    {
      what: "reports a family without a node address and keeps the other",
      nodes: [a, node("c", ["10.244.3.0/24", "fd00:3::/64"], ["172.30.0.13"])],
      routes: ["10.244.3.0/24 via 172.30.0.13"],
      problems: ["c: it has podCIDR fd00:3::/64 but no IPv6 address"],
    },
    {
      what: "gives a prefix that two nodes claim to the first",
      nodes: [node("c", ["10.244.1.128/25"], ["172.30.0.13"]), b, a],
      routes: ["10.244.1.0/24 via 172.30.0.12", "fd00:2::/64 via fd00:30::12"],
      problems: ['c: its podCIDR 10.244.1.128/25 overlaps 10.244.1.0/24 of node "b"'],
    },
    {
      what: "never routes its own podCIDR away",
      nodes: [node("0", ["10.244.0.0/16"], ["172.30.0.10"]), a],
      routes: [],
      problems: ['0: its podCIDR 10.244.0.0/16 overlaps 10.244.0.0/24 of node "a"'],
    },
    {
      what: "leaves out a prefix in which another node has its address",
      nodes: [a, b, node("c", ["172.30.0.0/24", "fd00:3::/64"], ["192.0.2.1", "fd00:30::13"])],
      routes: ["10.244.1.0/24 via 172.30.0.12", "fd00:2::/64 via fd00:30::12", "fd00:3::/64 via fd00:30::13"],
      problems: [
        'c: its podCIDR 172.30.0.0/24 holds the address 172.30.0.11 of node "a"',
        'c: its podCIDR 172.30.0.0/24 holds the address 172.30.0.12 of node "b"',
      ],
    },
    {
      what: "reports what is no prefix",
      nodes: [a, node("c", ["10.244.3.0"], ["172.30.0.13"])],
      routes: [],
      problems: ['c: its podCIDR "10.244.3.0" is not a prefix'],
    },
  ];
  for (const { what, nodes, routes, problems } of cases) {
    test(what, () => {
      const plan = planRoutes("a", nodes);
      expect(plan.routes.map(({ dst, gateway }) => `${dst} via ${gateway}`)).toEqual(routes);
      expect(plan.problems.map((problem) => `${problem.node}: ${problem.message}`)).toEqual(problems);
    });
  }
});

test("nodeAddress prefers InternalIP and the asked family", () => {
  const mixed: Node = {
    metadata: { name: "n" },
    status: {
      addresses: [
        { type: "Hostname", address: "n" },
        { type: "ExternalIP", address: "192.0.2.1" },
        { type: "InternalIP", address: "172.30.0.11" },
        { type: "ExternalIP", address: "2001:db8::1" },
      ],
    },
  };
  expect(String(nodeAddress(mixed, 4))).toBe("172.30.0.11");
  expect(String(nodeAddress(mixed, 6))).toBe("2001:db8::1");
});
