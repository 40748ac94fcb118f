import { explain } from "../lib/errors.ts";
import type { Family, Ip } from "../lib/ip.ts";
import { isExists, isNotFound } from "../linux/errors.ts";
import type { Kernel } from "../linux/kernel.ts";
import type { Route } from "../linux/route/route.ts";
import type { PodRoute, RouteProblem } from "./plan.ts";

/** What a synchronization did. */
export interface SyncResult {
  /** Routes that were added, replaced or removed. */
  changed: number;
  problems: RouteProblem[];
}

/** The kernel's metric for routes that name none (IPv6: IP6_RT_PRIO_USER). */
const defaultPriority: Record<Family, number> = { 4: 0, 6: 1024 };

/**
 * Makes the kernel's routes of Weft's protocol in the main table exactly the wanted ones: each podCIDR by its node's
 * address, which must be on a link of this node. What is right already is not written again. Routes of other
 * protocols are not touched; one that stands in the way is a problem of that node.
 */
export function syncHostGateway(kernel: Kernel, wanted: readonly PodRoute[]): SyncResult {
  const problems: RouteProblem[] = [];
  let changed = 0;
  const actual = kernel.rtnl.routes.list({ protocol: "weft" });
  const byDst = Map.groupBy(actual, ({ dst }) => dst.toString());
  const kept = new Set<Route>();
  for (const want of wanted) {
    const there = byDst.get(want.dst.toString()) ?? [];
    const right = there.find((route) => isSame(route, want.gateway));
    // What has the same metric gives way to the replacement; where that fails, it is better than nothing.
    const old = there.find(hasDefaultPriority);
    if (right !== undefined) kept.add(right);
    else if (old !== undefined) kept.add(old);
    if (right !== undefined) continue;
    try {
      // A replacement could take the place of somebody else's route: only for a route of ours.
      const { dst, gateway } = want;
      kernel.rtnl.routes[old === undefined ? "add" : "replace"]({ dst, gateway, protocol: "weft" });
      changed++;
    } catch (error) {
      problems.push({ node: want.node, message: refusal(kernel, want, error) });
    }
  }
  for (const route of actual) {
    if (!kept.has(route)) changed += removeRoute(kernel, route);
  }
  return { changed, problems };
}

function refusal({ rtnl }: Kernel, { dst, gateway }: PodRoute, error: unknown): string {
  const failed = `its podCIDR ${dst} cannot be routed by ${gateway}`;
  if (!isExists(error)) return `${failed}: ${explain(error)}; the nodes must share a link`;
  const other = rtnl.routes.list({ dst }).find(({ protocol }) => protocol !== "weft");
  const by = other?.gateway === undefined ? "" : ` by ${other.gateway}`;
  return `${failed}: another's route${by} (protocol ${other?.protocol}) is in the way, remove it`;
}

/** Removes every route of Weft's protocol; answers how many. */
export function removeHostGateway(kernel: Kernel): number {
  let removed = 0;
  for (const route of kernel.rtnl.routes.list({ protocol: "weft" })) removed += removeRoute(kernel, route);
  return removed;
}

function isSame(route: Route, gateway: Ip): boolean {
  return (
    route.gateway?.equals(gateway) === true &&
    route.type === "unicast" &&
    hasDefaultPriority(route) &&
    !route.flags.includes("dead")
  );
}

function hasDefaultPriority({ dst, priority }: Route): boolean {
  return (priority ?? 0) === defaultPriority[dst.family];
}

function removeRoute({ rtnl }: Kernel, { dst, gateway, priority }: Route): number {
  try {
    rtnl.routes.delete({
      dst,
      protocol: "weft",
      ...(gateway !== undefined && { gateway }),
      ...(priority !== undefined && { priority }),
    });
    return 1;
  } catch (error) {
    // Gone with its link in the meantime.
    if (isNotFound(error)) return 0;
    throw error;
  }
}
