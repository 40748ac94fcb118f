import type { Node } from "../../kube/types.ts";
import { WeftError } from "../../lib/errors.ts";
import type { Prefix } from "../../lib/prefix.ts";
import { Claims } from "../../routes/claims.ts";
import { podCidrs, type RouteProblem } from "../../routes/plan.ts";

/** A link of the node and a prefix that is on it. */
export interface LinkPrefix {
  link: string;
  prefix: Prefix;
}

export interface PodCidrQuestion {
  nodeName: string;
  nodes: readonly Node[];
  clusterCidrs: readonly Prefix[];
  /** Of all links but the pods' own bridge. */
  links: readonly LinkPrefix[];
}

/**
 * This node's podCIDRs, or what they are waited for. Throws one error, which names both sides, where pods with such
 * addresses could not be reached: nothing is promised then.
 */
export function judgePodCidrs({ nodeName, nodes, clusterCidrs, links }: PodCidrQuestion): Prefix[] | string {
  const node = nodes.find(({ metadata }) => metadata.name === nodeName);
  if (node === undefined) {
    return `waiting for the Node object "${nodeName}": is --node right, does its kubelet run?`;
  }
  const problems: RouteProblem[] = [];
  const own = podCidrs(node, problems);
  const fail = (problem: string, remedy: string) =>
    new WeftError("pod-cidr", `node "${nodeName}": ${problem}`, { remedy });
  const [unreadable] = problems;
  if (unreadable !== undefined) throw fail(unreadable.message, "Register the node again");
  if (own.length === 0) {
    return `waiting for podCIDRs of node "${nodeName}": the controller allocates them from its --cluster-cidr, which must have room (kubectl describe node ${nodeName})`;
  }
  const others = claimsOf(nodes.filter((other) => other !== node));
  for (const cidr of own) {
    if (!clusterCidrs.some((cluster) => cluster.contains(cidr))) {
      throw fail(
        `its podCIDR ${cidr} is outside of --cluster-cidr ${clusterCidrs.join(",")}`,
        "Give the agent the --cluster-cidr of the controller",
      );
    }
    const claim = others.overlapping(cidr);
    if (claim !== undefined) {
      throw fail(
        `its podCIDR ${cidr} overlaps ${claim.prefix} of node "${claim.node}"`,
        "Delete one of the two nodes and register it again",
      );
    }
    const taken = links.find(({ prefix }) => cidr.contains(prefix));
    if (taken !== undefined) {
      throw fail(
        `its podCIDR ${cidr} holds ${taken.prefix} of link "${taken.link}"`,
        "Choose a --cluster-cidr that no network of the nodes is in, or remove the link",
      );
    }
  }
  return own;
}

function claimsOf(nodes: readonly Node[]): Claims {
  const claims = new Claims();
  for (const node of nodes) {
    for (const prefix of podCidrs(node)) {
      if (claims.overlapping(prefix) === undefined) claims.add({ prefix, node: node.metadata.name });
    }
  }
  return claims;
}
