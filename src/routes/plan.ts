import type { Node } from "../kube/types.ts";
import { type Family, Ip } from "../lib/ip.ts";
import { Prefix } from "../lib/prefix.ts";
import { Claims } from "./claims.ts";

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
 * What would send packets astray is left out and reported: a prefix that overlaps another node's, which goes to this
 * node or else to the one that comes first by name, and a prefix in which a node has its address.
 */
export function planRoutes(
  self: string,
  nodes: readonly Node[],
): { routes: PodRoute[]; problems: RouteProblem[] } {
  const problems: RouteProblem[] = [];
  const order = (node: Node) => (node.metadata.name === self ? "" : node.metadata.name);
  const sorted = [...nodes].sort((a, b) => (order(a) < order(b) ? -1 : 1));
  const claims = new Claims();
  const wanted: { dst: Prefix; node: Node }[] = [];
  for (const node of sorted) {
    for (const dst of podCidrs(node, problems)) {
      const { name } = node.metadata;
      const other = claims.overlapping(dst);
      if (other === undefined) {
        claims.add({ prefix: dst, node: name });
        if (name !== self) wanted.push({ dst, node });
      } else {
        const message = `its podCIDR ${dst} overlaps ${other.prefix} of node "${other.node}"`;
        problems.push({ node: name, message });
      }
    }
  }
  const astray = swallowed(sorted, claims, problems);
  const routes: PodRoute[] = [];
  for (const { dst, node } of wanted) {
    if (astray.has(dst.toString())) continue;
    const { name } = node.metadata;
    const gateway = nodeAddress(node, dst.family);
    if (gateway !== undefined) routes.push({ dst, gateway, node: name });
    else {
      const message = `it has podCIDR ${dst} but no IPv${dst.family} address`;
      problems.push({ node: name, message, passing: true });
    }
  }
  return { routes, problems };
}

/** The podCIDRs in which a node has its address, reported: with a route to them, that node could not be reached. */
function swallowed(nodes: readonly Node[], claims: Claims, problems: RouteProblem[]): Set<string> {
  const found = new Set<string>();
  for (const node of nodes) {
    for (const address of [nodeAddress(node, 4), nodeAddress(node, 6)]) {
      const claim = address && claims.overlapping(Prefix.host(address));
      if (claim === undefined) continue;
      found.add(claim.prefix.toString());
      problems.push({
        node: claim.node,
        message: `its podCIDR ${claim.prefix} holds the address ${address} of node "${node.metadata.name}"`,
      });
    }
  }
  return found;
}
