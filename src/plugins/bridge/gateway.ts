import { CniError, cniErrorCode } from "../../cni/errors.ts";
import type { Result } from "../../cni/result.ts";
import { quote } from "../../lib/errors.ts";
import { Ip } from "../../lib/ip.ts";
import { anyOf } from "../../lib/lists.ts";
import { Prefix } from "../../lib/prefix.ts";
import { isExists } from "../../linux/errors.ts";
import type { LeanLink, LeanRtnl } from "../../linux/lean/rtnl.ts";
import { waitFor } from "../shared/wait.ts";
import type { BridgeConfig } from "./config.ts";

/** Milliseconds. */
const settling = 1000;

/**
 * Completes an IPAM result as the reference does: with isGateway each address gets a gateway (the network's first
 * address where IPAM named none), with isDefaultGateway each family a default route through it unless IPAM gave one
 * with a next hop. Returns the gateways to be put on the bridge.
 */
export function gatewaysOf(
  result: Result,
  config: Pick<BridgeConfig, "isGateway" | "isDefaultGateway">,
): Prefix[] {
  if (!config.isGateway) return [];
  const gateways: Prefix[] = [];
  for (const ip of result.ips) {
    const { address } = ip;
    ip.gateway ??= Ip.fromBigInt(address.first + 1n, address.family);
    if (config.isDefaultGateway && !hasDefaultRoute(result, address.family)) {
      result.routes.push({ dst: Prefix.default(address.family), gw: ip.gateway });
    }
    gateways.push(new Prefix(ip.gateway, address.length));
  }
  return gateways;
}

function hasDefaultRoute(result: Result, family: 4 | 6): boolean {
  return anyOf(
    result.routes,
    ({ dst, gw }) => gw !== undefined && dst.family === family && dst.length === 0 && dst.ip.isUnspecified(),
  );
}

/**
 * Gives the bridge its gateway addresses. Another IPv4 address, or an IPv6 address whose network overlaps, is in the
 * way: with forceAddress it is removed, otherwise it is an error. A bridge that got an address keeps the hardware
 * address that it has, instead of taking on the lowest of its ports as they come and go.
 */
export async function setGateways(
  rtnl: LeanRtnl,
  link: LeanLink,
  gateways: readonly Prefix[],
  config: Pick<BridgeConfig, "forceAddress" | "enableDad">,
): Promise<void> {
  const present = rtnl.addresses(link.index);
  for (const address of gateways) {
    if (anyOf(present, (other) => other.equals(address))) continue;
    const others: Prefix[] = [];
    for (const other of present) {
      if (isInTheWay(other, address) && !anyOf(gateways, (wanted) => wanted.equals(other)))
        others.push(other);
    }
    const [first] = others;
    if (first !== undefined && !config.forceAddress) throw occupied(link.name, first, address);
    if (first !== undefined) await removeAddresses(link, others);
    try {
      rtnl.addAddress(link.index, address, { nodad: !config.enableDad });
    } catch (error) {
      // Another ADD was quicker.
      if (isExists(error)) continue;
      throw error;
    }
    // A bridge whose last port went has no hardware address until the next one comes.
    const hasMac = link.macBytes.some((byte) => byte !== 0);
    rtnl.confirmMac(hasMac ? link : rtnl.get(link.index));
    // The kernel makes an IPv6 address known to itself a moment later.
    if (!config.enableDad) await waitFor(settling, () => rtnl.isLocal(address.ip));
  }
}

async function removeAddresses(link: LeanLink, addresses: readonly Prefix[]): Promise<void> {
  const { Rtnl } = await import("../../linux/route/rtnl.ts");
  using rtnl = new Rtnl();
  for (const address of addresses) rtnl.addresses.delete({ link: link.index, address });
}

/** True where an address of a bridge keeps it from having a gateway's address. */
export function isInTheWay(present: Prefix, wanted: Prefix): boolean {
  if (present.family !== wanted.family) return false;
  if (wanted.family === 4) return true;
  // The kernel's own link-local address is none of ours.
  return present.overlaps(wanted) && !present.ip.isLinkLocal();
}

function occupied(name: string, present: Prefix, wanted: Prefix): CniError {
  return new CniError(
    cniErrorCode.internal,
    `${quote(name)} already has an IP address different from ${wanted}: ${present}`,
    { remedy: "Remove it, use another bridge, or set forceAddress" },
  );
}
