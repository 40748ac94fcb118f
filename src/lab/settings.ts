import { checkCidrs } from "../agent/config.ts";
import { counted } from "../lib/count.ts";
import { InvalidInput } from "../lib/errors.ts";
import type { Prefix } from "../lib/prefix.ts";
import { fabric } from "./fabric.ts";
import type { NodeMasks } from "./model.ts";

/** All pods' prefixes and all ClusterIPs', of one family or of both. */
export interface LabNetworks {
  clusterCidrs: readonly Prefix[];
  serviceCidrs: readonly Prefix[];
}

/** What is asked of a lab's networks. */
export interface LabNetworksOptions {
  /** What somebody typed; where only one of the two is there, the other one's default has its families. */
  typed: Partial<LabNetworks>;
  usual: LabNetworks;
  /** The lengths of the nodes' podCIDRs. */
  nodeMasks: NodeMasks;
  /** How many nodes it starts with. */
  nodes: number;
  /** How many more join later. */
  joining: number;
}

type CidrOption = "--cluster-cidr" | "--service-cidr";

/** Bits of a service prefix for addresses: the cluster's DNS is the tenth, and what Services get comes behind it. */
const leastServiceBits = 5;

/**
 * The networks of a lab. Refuses, before anything is made, those with which none could come up: by the option that was
 * typed.
 * @throws InvalidInput
 */
export function settleNetworks({ typed, usual, nodeMasks, nodes, joining }: LabNetworksOptions): LabNetworks {
  const alike = (cidrs: readonly Prefix[], like: readonly Prefix[] | undefined) =>
    like === undefined ? cidrs : cidrs.filter(({ family }) => like.some((each) => each.family === family));
  const clusterCidrs = typed.clusterCidrs ?? alike(usual.clusterCidrs, typed.serviceCidrs);
  const serviceCidrs = typed.serviceCidrs ?? alike(usual.serviceCidrs, typed.clusterCidrs);
  const networks = { clusterCidrs, serviceCidrs };
  checkOverlap(networks, typed);
  checkCidrs(clusterCidrs, serviceCidrs);
  checkFabric("--cluster-cidr", clusterCidrs);
  checkFabric("--service-cidr", serviceCidrs);
  checkFamilies(networks);
  checkNodeRoom(clusterCidrs, nodeMasks, nodes, joining);
  checkServiceRoom(serviceCidrs);
  return networks;
}

function checkOverlap({ clusterCidrs, serviceCidrs }: LabNetworks, typed: Partial<LabNetworks>): void {
  const cluster = { option: "--cluster-cidr", cidrs: clusterCidrs, usual: typed.clusterCidrs === undefined };
  const service = { option: "--service-cidr", cidrs: serviceCidrs, usual: typed.serviceCidrs === undefined };
  // Who typed one of them only is told about that one.
  const [blamed, other] = cluster.usual ? [service, cluster] : [cluster, service];
  for (const prefix of blamed.cidrs) {
    const met = other.cidrs.find((each) => each.overlaps(prefix));
    if (met === undefined) continue;
    const problem = `overlaps ${other.option} "${met}"${other.usual ? ", its default" : ""}`;
    throw new InvalidInput(blamed.option, String(prefix), problem, {
      remedy: "Choose prefixes that share no address",
    });
  }
}

function checkFabric(option: CidrOption, cidrs: readonly Prefix[]): void {
  for (const prefix of cidrs) {
    const taken = fabric.prefixes.find((each) => each.masked().overlaps(prefix))?.masked();
    if (taken === undefined) continue;
    throw new InvalidInput(option, String(prefix), `overlaps ${taken}, the lab's own fabric`, {
      remedy: `Choose a prefix that shares no address with ${taken}`,
    });
  }
}

/** A ClusterIP of a family that pods do not have would be answered by nobody. */
function checkFamilies({ clusterCidrs, serviceCidrs }: LabNetworks): void {
  const odd = serviceCidrs.find(({ family }) => !clusterCidrs.some((each) => each.family === family));
  if (odd === undefined) return;
  const problem = `is of IPv${odd.family}, of which --cluster-cidr "${clusterCidrs.join(",")}" has no prefix`;
  throw new InvalidInput("--service-cidr", String(odd), problem, {
    remedy: `Give --cluster-cidr a prefix of IPv${odd.family} too, or --service-cidr one of IPv${clusterCidrs[0]?.family} only`,
  });
}

function checkNodeRoom(
  clusterCidrs: readonly Prefix[],
  nodeMasks: NodeMasks,
  nodes: number,
  joining: number,
): void {
  const wanted = nodes + joining;
  for (const prefix of clusterCidrs) {
    const mask = nodeMasks[prefix.family];
    const room = Math.floor(2 ** (mask - prefix.length));
    if (room >= wanted) continue;
    const later = joining === 0 ? "" : `, of which ${joining} ${joining === 1 ? "joins" : "join"} later`;
    const problem = `has room for ${room} of ${counted(wanted, "podCIDR")} of /${mask}, one for each node${later}`;
    throw new InvalidInput("--cluster-cidr", String(prefix), problem, {
      remedy: `Give a /${mask - Math.ceil(Math.log2(wanted))} or larger${room > joining ? ", or fewer --nodes" : ""}`,
    });
  }
}

function checkServiceRoom(serviceCidrs: readonly Prefix[]): void {
  for (const prefix of serviceCidrs) {
    const longest = prefix.ip.bits - leastServiceBits;
    if (prefix.length <= longest) continue;
    const problem = "is too small for the cluster's DNS, which has its tenth address, and Services";
    throw new InvalidInput("--service-cidr", String(prefix), problem, {
      remedy: `Give a /${longest} or larger`,
    });
  }
}
