import { describe, expect, test } from "bun:test";
import type { Node } from "../../kube/types.ts";
import { explain } from "../../lib/errors.ts";
import { Prefix } from "../../lib/prefix.ts";
import { judgePodCidrs, type PodCidrQuestion } from "./pod-cidrs.ts";

const node = (name: string, ...podCIDRs: string[]): Node => ({ metadata: { name }, spec: { podCIDRs } });
const link = (name: string, prefix: string) => ({ link: name, prefix: Prefix.parse(prefix) });
const dual = ["10.244.1.0/24", "fd00:10:244:1::/64"];
const base: PodCidrQuestion = {
  nodeName: "a",
  nodes: [node("a", ...dual), node("b", "10.244.2.0/24", "fd00:10:244:2::/64")],
  clusterCidrs: [Prefix.parse("10.244.0.0/16"), Prefix.parse("fd00:10:244::/56")],
  links: [link("lo", "127.0.0.1/8"), link("eth0", "172.30.0.11/24"), link("eth0", "fd00:30::11/64")],
};

/** What is said, whether it is a reason to wait or an error. */
function said(change: Partial<PodCidrQuestion>): string {
  try {
    return String(judgePodCidrs({ ...base, ...change }));
  } catch (error) {
    return `error: ${explain(error)}`;
  }
}

describe("judgePodCidrs", () => {
  const cases: [string, Partial<PodCidrQuestion>, string][] = [
    ["both families", {}, dual.join()],
    ["one family", { nodes: [node("a", "10.244.1.0/24")] }, "10.244.1.0/24"],
    [
      "the field podCIDR alone",
      { nodes: [{ metadata: { name: "a" }, spec: { podCIDR: "10.244.1.0/24" } }] },
      "10.244.1.0/24",
    ],
    [
      "no such node",
      { nodeName: "x" },
      'waiting for the Node object "x": is --node right, does its kubelet run?',
    ],
    [
      "no podCIDRs",
      { nodes: [node("a")] },
      'waiting for podCIDRs of node "a": the controller allocates them from its --cluster-cidr, which must have room (kubectl describe node a)',
    ],
    [
      "no prefix",
      { nodes: [node("a", "10.244.1.0")] },
      'error: node "a": its podCIDR "10.244.1.0" is not a prefix. Register the node again',
    ],
    [
      "outside of the cluster CIDR",
      { nodes: [node("a", "10.245.1.0/24")] },
      'error: node "a": its podCIDR 10.245.1.0/24 is outside of --cluster-cidr 10.244.0.0/16,fd00:10:244::/56. Give the agent the --cluster-cidr of the controller',
    ],
    [
      "another node's",
      { nodes: [node("b", "10.244.0.0/20"), node("a", ...dual)] },
      'error: node "a": its podCIDR 10.244.1.0/24 overlaps 10.244.0.0/20 of node "b". Delete one of the two nodes and register it again',
    ],
    [
      "a link's",
      { links: [link("cni0", "10.244.1.1/24")] },
      'error: node "a": its podCIDR 10.244.1.0/24 holds 10.244.1.1/24 of link "cni0". Choose a --cluster-cidr that no network of the nodes is in, or remove the link',
    ],
    ["a link's that is larger", { links: [link("eth0", "10.0.0.5/8")] }, dual.join()],
    ["two others that overlap", { nodes: [...base.nodes, node("c", "10.244.2.0/23")] }, dual.join()],
  ];
  for (const [what, change, expected] of cases) {
    test(what, () => expect(said(change)).toBe(expected));
  }
});
