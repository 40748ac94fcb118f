import { CniError, cniErrorCode } from "../cni/errors.ts";
import type { Result } from "../cni/result.ts";
import { quote } from "../lib/errors.ts";
import { Ip } from "../lib/ip.ts";
import { Prefix } from "../lib/prefix.ts";
import { isExists } from "../linux/errors.ts";
import type { Link } from "../linux/route/link.ts";
import type { Rtnl } from "../linux/route/rtnl.ts";
import type { BridgeConfig } from "./bridge-config.ts";
import { newAddress } from "./interface.ts";

/** An address that the bridge shall have. */
export interface Gateway {
  address: Prefix;
}

/**
 * Completes an IPAM result as the reference does: with isGateway each address gets a gateway (the network's first
 * address where IPAM named none), with isDefaultGateway each family a default route through it unless IPAM gave one
 * with a next hop. Returns the gateways to be put on the bridge.
 */
export function gatewaysOf(
  result: Result,
  config: Pick<BridgeConfig, "isGateway" | "isDefaultGateway">,
): Gateway[] {
  if (!config.isGateway) return [];
  const gateways: Gateway[] = [];
  for (const ip of result.ips) {
    const { address } = ip;
    ip.gateway ??= Ip.fromBigInt(address.first + 1n, address.family);
    if (config.isDefaultGateway && !hasDefaultRoute(result, address.family)) {
      result.routes.push({ dst: Prefix.default(address.family), gw: ip.gateway });
    }
    gateways.push({ address: new Prefix(ip.gateway, address.length) });
  }
  return gateways;
}

function hasDefaultRoute(result: Result, family: 4 | 6): boolean {
  return result.routes.some(
    ({ dst, gw }) => gw !== undefined && dst.family === family && dst.length === 0 && dst.ip.isUnspecified(),
  );
}

/**
 * Gives the bridge its gateway addresses. Another IPv4 address, or an IPv6 address whose network overlaps, is in the
 * way: with forceAddress it is removed, otherwise it is an error. A bridge that got an address keeps the hardware
 * address that it has, instead of taking on the lowest of its ports as they come and go.
 */
export function setGateways(
  rtnl: Rtnl,
  link: Link,
  gateways: readonly Gateway[],
  config: Pick<BridgeConfig, "forceAddress" | "enableDad">,
): void {
  const present = rtnl.addresses.list({ link: link.index }).map(({ address }) => address);
  for (const { address } of gateways) {
    if (present.some((other) => other.equals(address))) continue;
    for (const other of present) {
      if (!isInTheWay(other, address) || gateways.some((wanted) => wanted.address.equals(other))) continue;
      if (!config.forceAddress) throw occupied(link.name, other, address);
      rtnl.addresses.delete({ link: link.index, address: other });
    }
    try {
      rtnl.addresses.add(newAddress(link.index, address, config.enableDad));
    } catch (error) {
      // Another ADD was quicker.
      if (isExists(error)) continue;
      throw error;
    }
    if (link.mac !== undefined) rtnl.links.set(link.index, { mac: link.mac });
  }
}

function isInTheWay(present: Prefix, wanted: Prefix): boolean {
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
