import type { Node } from "../kube/types.ts";
import { type Family, Ip } from "../lib/ip.ts";
import { Prefix } from "../lib/prefix.ts";

/** A way to the pods of another node. */
export interface PodRoute {
  /** One of the node's podCIDRs. */
  dst: Prefix;
  /** The node's address of the same family. */
  gateway: Ip;
  node: string;
}

/** Why some pods cannot be reached, for the operator. */
export interface RouteProblem {
  node: string;
  message: string;
  /** It mends itself when the node has told its addresses. */
  passing?: true;
}

/** The podCIDRs of a node; what cannot be read as a prefix is reported and left out. */
export function podCidrs(node: Node, problems: RouteProblem[] = []): Prefix[] {
  const texts = node.spec?.podCIDRs ?? (node.spec?.podCIDR === undefined ? [] : [node.spec.podCIDR]);
  return texts.flatMap((text) => {
    try {
      return [Prefix.parse(text).masked()];
    } catch {
      problems.push({ node: node.metadata.name, message: `its podCIDR "${text}" is not a prefix` });
      return [];
    }
  });
}

/** The first InternalIP of a family, else the first ExternalIP. */
export function nodeAddress(node: Node, family: Family): Ip | undefined {
  const addresses = node.status?.addresses ?? [];
  for (const type of ["InternalIP", "ExternalIP"]) {
    for (const { type: actual, address } of addresses) {
      const ip = actual === type ? Ip.tryParse(address) : undefined;
      if (ip?.family === family) return ip;
    }
  }
  return undefined;
}

/**
 * The routes that a node needs so that its pods reach all others: each other node's podCIDRs by that node's address.
 * A prefix that two nodes claim, or that overlaps this node's own, would send packets astray: it goes to the node
 * that comes first by name, and is reported.
 */
export function planRoutes(
  self: string,
  nodes: readonly Node[],
): { routes: PodRoute[]; problems: RouteProblem[] } {
  const problems: RouteProblem[] = [];
  const routes: PodRoute[] = [];
  const claimed: { prefix: Prefix; node: string }[] = [];
  const order = (node: Node) => (node.metadata.name === self ? "" : node.metadata.name);
  for (const node of [...nodes].sort((a, b) => (order(a) < order(b) ? -1 : 1))) {
    const { name } = node.metadata;
    for (const dst of podCidrs(node, problems)) {
      const other = claimed.find(({ prefix }) => prefix.overlaps(dst));
      if (other !== undefined) {
        problems.push({
          node: name,
          message: `its podCIDR ${dst} overlaps ${other.prefix} of node "${other.node}"`,
        });
        continue;
      }
      claimed.push({ prefix: dst, node: name });
      if (name === self) continue;
      const gateway = nodeAddress(node, dst.family);
      if (gateway !== undefined) routes.push({ dst, gateway, node: name });
      else
        problems.push({
          node: name,
          message: `it has podCIDR ${dst} but no IPv${dst.family} address`,
          passing: true,
        });
    }
  }
  return { routes, problems };
}
