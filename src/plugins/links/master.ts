import { CniError, cniErrorCode } from "../../cni/errors.ts";
import type { Fields } from "../../cni/fields.ts";
import { requireConfiguredInterface } from "../../cni/validate.ts";
import { InvalidInput, quote } from "../../lib/errors.ts";
import type { Link } from "../../linux/route/link.ts";
import type { Route } from "../../linux/route/route.ts";
import type { Rtnl } from "../../linux/route/rtnl.ts";

/** Which link is to be the master of a container's. */
export interface MasterConfig {
  /** That of the default route where not given. */
  name?: string;
  inContainer: boolean;
}

/** The keys `master` and `linkInContainer`. Throws {@link InvalidInput}. */
export function parseMaster(fields: Fields): MasterConfig {
  const name = fields.string("master") ?? "";
  return {
    ...(name === "" ? {} : { name: requireConfiguredInterface(name, "master") }),
    inContainer: fields.boolean("linkInContainer") ?? false,
  };
}

/** The master in the namespace of `rtnl`. Throws a {@link CniError} of the given code where there is none. */
export function requireMaster(
  rtnl: Rtnl,
  { name, inContainer }: MasterConfig,
  code: number = cniErrorCode.internal,
): Link {
  const place = inContainer ? "the container" : "the host";
  if (name !== undefined) {
    const link = rtnl.links.find(name);
    if (link !== undefined) return link;
    throw new CniError(code, `failed to lookup master ${quote(name)}: there is no such link in ${place}`, {
      remedy: inContainer
        ? 'Make it by a plugin before this one, or leave "linkInContainer" out for a master of the host'
        : 'Name an interface of the host under "master"',
    });
  }
  const index = defaultRouteLink(rtnl);
  if (index !== undefined) return rtnl.links.get(index);
  throw new CniError(code, "no default route interface found", {
    remedy: `Name the interface under "master": ${place} has no default route`,
  });
}

/** The link of the default route, that of IPv4 where both families have one. */
function defaultRouteLink(rtnl: Rtnl): number | undefined {
  for (const dst of ["0.0.0.0/0", "::/0"]) {
    const routes = rtnl.routes.list({ dst, type: "unicast" });
    const links = routes.sort(byPriority).map(({ oif, nextHops }) => oif ?? nextHops?.[0]?.oif);
    const found = links.find((link) => link !== undefined);
    if (found !== undefined) return found;
  }
  return undefined;
}

function byPriority(a: Route, b: Route): number {
  return (a.priority ?? 0) - (b.priority ?? 0);
}

/** Throws {@link InvalidInput} for an MTU that is more than the master's: such frames would not get through. */
export function requireMtuWithin(mtu: number | undefined, master: Link): void {
  if (mtu === undefined || mtu <= master.mtu) return;
  throw new InvalidInput("mtu", mtu, `is more than the master's: ${master.name} has ${master.mtu}`, {
    remedy: `Set it to ${master.mtu} at most, or leave it out`,
  });
}

/** Throws a {@link CniError} where a link on the master could not be brought up. */
export function requireMasterUp(master: Link, code: number = cniErrorCode.internal): void {
  if (master.up) return;
  throw new CniError(code, `master ${quote(master.name)} is down`, {
    remedy: `Set it up: ip link set ${master.name} up`,
  });
}
