import { CniError, cniErrorCode } from "../../cni/errors.ts";
import type { Result, ResultRoute } from "../../cni/result.ts";
import type { Link } from "../../linux/route/link.ts";
import type { Route } from "../../linux/route/route.ts";
import type { Rtnl } from "../../linux/route/rtnl.ts";

const remedy = "Delete the container's sandbox and make it anew";

/**
 * Compares addresses and routes of a result with those of a container. Only what stands on the link is looked at.
 * `mayBeDown`: nobody has set it up. Throws a {@link CniError} that names what is missing.
 */
export function checkInterface(rtnl: Rtnl, link: Link, result: Result, mayBeDown = false): void {
  if (!link.up && !mayBeDown)
    throw new CniError(cniErrorCode.internal, `interface ${link.name} is down`, { remedy });
  const present = rtnl.addresses.list({ link: link.index }).map(({ address }) => address);
  for (const ip of result.ips) {
    const described = ip.interface === undefined ? undefined : result.interfaces[ip.interface];
    if (described !== undefined && described.name !== link.name) continue;
    if (!present.some((address) => address.equals(ip.address))) {
      throw new CniError(
        cniErrorCode.internal,
        `Failed to match addr ${ip.address} on interface ${link.name}`,
        {
          remedy,
        },
      );
    }
  }
  if (result.routes.length === 0) return;
  const routes = rtnl.routes.list({ table: "all" });
  for (const wanted of result.routes) {
    if (!routes.some((route) => matches(route, wanted))) {
      const via = wanted.gw === undefined ? "" : ` via ${wanted.gw}`;
      throw new CniError(
        cniErrorCode.internal,
        `Expected Route ${wanted.dst}${via} not found in routing table`,
        {
          remedy,
        },
      );
    }
  }
}

function matches(route: Route, wanted: ResultRoute): boolean {
  if (!route.dst.equals(wanted.dst.masked())) return false;
  if (wanted.table !== undefined && route.table !== wanted.table) return false;
  const { gw } = wanted;
  if (gw === undefined || route.gateway?.equals(gw) === true) return true;
  return route.nextHops?.some(({ gateway }) => gateway?.equals(gw)) ?? false;
}
