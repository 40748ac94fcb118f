import { CniError, cniErrorCode } from "../../cni/errors.ts";
import { isExists } from "../../linux/errors.ts";
import type { Address } from "../../linux/route/address.ts";
import type { Link } from "../../linux/route/link.ts";
import { type NewRoute, type Route, RT_TABLE_MAIN } from "../../linux/route/route.ts";
import type { Rtnl } from "../../linux/route/rtnl.ts";
import { waitFor } from "../shared/wait.ts";

/** Milliseconds. */
const settling = 10_000;

/**
 * Makes a link a member of a VRF, with all that it has: the kernel takes it down and up again, by which it loses its IPv6
 * addresses and all routes but those of its addresses. Routes of the main table go to the VRF's.
 */
export async function joinVrf(rtnl: Rtnl, link: Link, vrf: Link): Promise<void> {
  const addresses = rtnl.addresses.list({ link: link.index, family: 6 }).filter(isGivenAddress);
  const routes = rtnl.routes.list({ table: "all" }).filter((route) => isGivenRoute(route, link.index));
  rtnl.links.set(link.index, { master: vrf.index });
  restoreAddresses(rtnl, link, addresses);
  if (link.up && addresses.length > 0) await settle(rtnl, link);
  restoreRoutes(rtnl, routes, vrf.vrf?.table ?? RT_TABLE_MAIN);
}

/** Not by router advertisements, which come again. The link-local one that the kernel makes itself is there again or not yet. */
function isGivenAddress({ flags }: Address): boolean {
  return flags.includes("permanent");
}

function isGivenRoute({ oif, nextHops, protocol, type }: Route, index: number): boolean {
  if (type !== "unicast" || protocol === "kernel" || protocol === "ra" || protocol === "redirect")
    return false;
  return oif === index || (nextHops?.some((hop) => hop.oif === index) ?? false);
}

function restoreAddresses(rtnl: Rtnl, link: Link, addresses: readonly Address[]): void {
  // Where net.ipv6.conf.all.keep_addr_on_down is set, nothing was lost.
  const kept = rtnl.addresses.list({ link: link.index, family: 6 });
  for (const { address, peer, flags, metric } of addresses) {
    if (kept.some((other) => other.address.equals(address))) continue;
    const given = flags.filter((flag) => flag === "nodad" || flag === "noprefixroute");
    unlessThere(() =>
      rtnl.addresses.add({
        link: link.index,
        address,
        flags: given,
        ...(peer === undefined ? {} : { peer }),
        ...(metric === undefined ? {} : { metric }),
      }),
    );
  }
}

/** Waits until the addresses can be used: a route by a gateway wants that of the VRF's table. */
async function settle(rtnl: Rtnl, link: Link): Promise<void> {
  const isReady = await waitFor(settling, () => {
    const flags = rtnl.addresses.list({ link: link.index, family: 6 }).flatMap((address) => address.flags);
    if (!flags.includes("dadfailed")) return !flags.includes("tentative");
    throw new CniError(cniErrorCode.internal, `an IPv6 address of ${link.name} is in use by another host`, {
      remedy: "Find out who has it, or allocate from another range",
    });
  });
  if (isReady) return;
  throw new CniError(
    cniErrorCode.internal,
    `an IPv6 address of ${link.name} was not ready within ${settling / 1000} s`,
    { remedy: "Look whether duplicate address detection goes on in the container" },
  );
}

/** Routes on the link come before those by gateways, which need them. */
function restoreRoutes(rtnl: Rtnl, routes: readonly Route[], table: number): void {
  const byGateway = (route: Route) => Number(route.gateway !== undefined || route.nextHops !== undefined);
  for (const route of [...routes].sort((a, b) => byGateway(a) - byGateway(b))) {
    unlessThere(() =>
      rtnl.routes.append(newRoute(route, route.table === RT_TABLE_MAIN ? table : route.table)),
    );
  }
}

/** The kernel may put back its own meanwhile. */
function unlessThere(action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!isExists(error)) throw error;
  }
}

/** The route once more, in a table. */
function newRoute({ flags, nextHops, iif: _, ...route }: Route, table: number): NewRoute {
  return {
    ...route,
    table,
    ...(nextHops === undefined
      ? {}
      : {
          nextHops: nextHops.map(({ flags: hopFlags, ...hop }) => ({
            ...hop,
            onlink: hopFlags.includes("onlink"),
          })),
        }),
    ...(flags.includes("onlink") ? { onlink: true } : {}),
  };
}
