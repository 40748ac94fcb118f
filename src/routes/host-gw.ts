import { explain } from "../lib/errors.ts";
import type { Family } from "../lib/ip.ts";
import { isNotFound } from "../linux/errors.ts";
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
  const right = new Set<Route>();
  for (const { dst, gateway, node } of wanted) {
    const found = actual.find((route) => isSame(route, dst.toString(), gateway.toString()));
    if (found !== undefined) {
      right.add(found);
      continue;
    }
    // A replacement could take the place of somebody else's route: only for a route of ours.
    const own = actual.some((route) => route.dst.equals(dst) && hasDefaultPriority(route));
    try {
      kernel.rtnl.routes[own ? "replace" : "add"]({ dst, gateway, protocol: "weft" });
      changed++;
    } catch (error) {
      problems.push({
        node,
        message: `its podCIDR ${dst} cannot be routed by ${gateway}: ${explain(error)}; the nodes must share a link`,
      });
    }
  }
  const replaced = new Set(wanted.map(({ dst }) => dst.toString()));
  for (const route of actual) {
    if (right.has(route)) continue;
    // The replacement has taken the place of a route with the same metric already.
    if (replaced.has(route.dst.toString()) && hasDefaultPriority(route)) continue;
    changed += removeRoute(kernel, route);
  }
  return { changed, problems };
}

/** Removes every route of Weft's protocol; answers how many. */
export function removeHostGateway(kernel: Kernel): number {
  let removed = 0;
  for (const route of kernel.rtnl.routes.list({ protocol: "weft" })) removed += removeRoute(kernel, route);
  return removed;
}

function isSame(route: Route, dst: string, gateway: string): boolean {
  return (
    route.dst.toString() === dst &&
    route.gateway?.toString() === gateway &&
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
