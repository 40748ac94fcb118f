import { InvalidInput } from "../../lib/errors.ts";
import type { Family } from "../../lib/ip.ts";
import { Prefix } from "../../lib/prefix.ts";

/** The address ranges of a cluster, checked by {@link checkNetworks}. */
export interface Networks {
  /** One of each family at most; the first is the primary one. */
  clusterCIDRs: { prefix: Prefix; nodeMask: number }[];
  serviceCIDRs: Prefix[];
}

export interface NetworkOptions {
  clusterCIDRs: readonly Prefix[];
  serviceCIDRs: readonly Prefix[];
  /** Prefix lengths of the nodes' podCIDRs; 24 for IPv4 and 64 for IPv6 where not given. */
  nodeMaskIPv4?: number;
  nodeMaskIPv6?: number;
}

const defaultMasks: Record<Family, number> = { 4: 24, 6: 64 };

/** Checks the ranges of a cluster against each other. Throws one `InvalidInput` that names what does not fit. */
export function checkNetworks(options: NetworkOptions): Networks {
  const { clusterCIDRs, serviceCIDRs } = options;
  checkFamilies("--cluster-cidr", clusterCIDRs);
  checkFamilies("--service-cidr", serviceCIDRs);
  const masks = { 4: options.nodeMaskIPv4, 6: options.nodeMaskIPv6 };
  const pools = clusterCIDRs.map((prefix) => {
    const nodeMask = masks[prefix.family] ?? defaultMasks[prefix.family];
    checkNodeMask(prefix, nodeMask);
    return { prefix, nodeMask };
  });
  for (const cluster of clusterCIDRs) {
    for (const service of serviceCIDRs) {
      if (!cluster.overlaps(service)) continue;
      throw new InvalidInput("--cluster-cidr", `${cluster}`, `overlaps with --service-cidr "${service}"`, {
        remedy: "Choose two ranges that have no address in common",
      });
    }
  }
  return { clusterCIDRs: pools, serviceCIDRs: [...serviceCIDRs] };
}

function checkFamilies(field: string, prefixes: readonly Prefix[]): void {
  for (const [i, prefix] of prefixes.entries()) {
    if (!prefix.isMasked()) {
      throw new InvalidInput(field, `${prefix}`, "has host bits set", { remedy: `Write ${prefix.masked()}` });
    }
    const twin = prefixes.slice(0, i).find(({ family }) => family === prefix.family);
    if (twin !== undefined) {
      throw new InvalidInput(
        field,
        `${prefix}`,
        `is a second range of IPv${prefix.family}, beside "${twin}"`,
        {
          remedy: "Give one range of each family at most",
        },
      );
    }
  }
}

function checkNodeMask(prefix: Prefix, nodeMask: number): void {
  const field = `--node-cidr-mask-size-ipv${prefix.family}`;
  const longest = prefix.ip.bits - 2;
  if (!Number.isInteger(nodeMask) || nodeMask < prefix.length || nodeMask > longest) {
    throw new InvalidInput(
      field,
      nodeMask,
      `is not between ${prefix.length} and ${longest} for "${prefix}"`,
      {
        remedy: "Choose a length at which each node gets a part of the cluster's range",
      },
    );
  }
}

/** A node as far as its podCIDRs are concerned. */
export interface NodeCidrs {
  name: string;
  podCIDRs: string[];
}

export interface CidrPlan {
  /** What nodes without podCIDRs get. */
  assigned: { name: string; podCIDRs: string[] }[];
  /** Nodes for which nothing is left in a pool. */
  exhausted: { name: string; pool: Prefix; nodeMask: number; taken: number }[];
  /** Nodes whose podCIDR stays as it is, though another node has it or part of it too. */
  conflicts: { name: string; podCIDR: string; other: string }[];
  /** For each pool, where to look first the next time: prefixes are not used again soon after a node is gone. */
  cursors: number[];
}

/**
 * Gives each node without podCIDRs one prefix of each pool; what nodes have already is taken as it is. Both families or
 * none: a node with half of its podCIDRs would come up and stay half.
 */
export function planNodeCidrs(
  pools: Networks["clusterCIDRs"],
  nodes: readonly NodeCidrs[],
  cursors: readonly number[] = [],
): CidrPlan {
  const plan: CidrPlan = {
    assigned: [],
    exhausted: [],
    conflicts: [],
    cursors: pools.map((_, i) => cursors[i] ?? 0),
  };
  const taken = pools.map(() => new Map<number, string>());
  const outside = new Map<string, string>();
  for (const { name, podCIDRs } of nodes) {
    for (const podCIDR of podCIDRs) {
      const prefix = parsed(podCIDR);
      if (prefix === undefined) continue;
      const pool = pools.findIndex((one) => one.prefix.overlaps(prefix));
      const other = pool < 0 ? outside.get(`${prefix}`) : occupy(pools, pool, prefix, name, taken);
      if (pool < 0) outside.set(`${prefix}`, name);
      if (other !== undefined) plan.conflicts.push({ name, podCIDR, other });
    }
  }
  for (const { name, podCIDRs } of nodes) {
    if (podCIDRs.length > 0) continue;
    const slots = pools.map((pool, i) => freeSlot(pool, taken[i] as Taken, plan.cursors[i] as number));
    const short = slots.indexOf(undefined);
    if (short >= 0) {
      const { prefix, nodeMask } = pools[short] as Networks["clusterCIDRs"][number];
      plan.exhausted.push({ name, pool: prefix, nodeMask, taken: (taken[short] as Taken).size });
      continue;
    }
    const prefixes = pools.map((pool, i) => slotPrefix(pool, slots[i] as number).toString());
    for (const [i, slot] of (slots as number[]).entries()) {
      (taken[i] as Taken).set(slot, name);
      plan.cursors[i] = slot + 1;
    }
    plan.assigned.push({ name, podCIDRs: prefixes });
  }
  return plan;
}

function parsed(text: string): Prefix | undefined {
  try {
    return Prefix.parse(text).masked();
  } catch {
    return undefined;
  }
}

/** The slots of a pool that nodes have. */
type Taken = Map<number, string>;

/** How many prefixes a pool has; more nodes than this no cluster has. */
function slotCount({ prefix, nodeMask }: Networks["clusterCIDRs"][number]): number {
  return 2 ** Math.min(nodeMask - prefix.length, 24);
}

function slotPrefix({ prefix, nodeMask }: Networks["clusterCIDRs"][number], slot: number): Prefix {
  const step = 1n << BigInt(prefix.ip.bits - nodeMask);
  return new Prefix(prefix.ip.add(BigInt(slot) * step), nodeMask);
}

/** Marks the slots that a prefix covers, be it longer or shorter than a slot; another node that has one of them. */
function occupy(
  pools: Networks["clusterCIDRs"],
  index: number,
  prefix: Prefix,
  name: string,
  taken: readonly Taken[],
): string | undefined {
  const pool = pools[index] as Networks["clusterCIDRs"][number];
  const slots = taken[index] as Taken;
  const shift = BigInt(pool.prefix.ip.bits - pool.nodeMask);
  const from = prefix.first > pool.prefix.first ? prefix.first : pool.prefix.first;
  const to = prefix.last < pool.prefix.last ? prefix.last : pool.prefix.last;
  const last = Math.min(Number((to - pool.prefix.first) >> shift), slotCount(pool) - 1);
  let other: string | undefined;
  for (let slot = Number((from - pool.prefix.first) >> shift); slot <= last; slot++) {
    other ??= slots.get(slot);
    slots.set(slot, name);
  }
  return other;
}

function freeSlot(pool: Networks["clusterCIDRs"][number], taken: Taken, cursor: number): number | undefined {
  const count = slotCount(pool);
  if (taken.size >= count) return undefined;
  for (let i = 0; i < count; i++) {
    const slot = (cursor + i) % count;
    if (!taken.has(slot)) return slot;
  }
  return undefined;
}
