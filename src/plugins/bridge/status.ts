import { CniError, cniErrorCode } from "../../cni/errors.ts";
import type { PluginRequest } from "../../cni/plugin.ts";
import { quote } from "../../lib/errors.ts";
import { Prefix } from "../../lib/prefix.ts";
import { Rtnl } from "../../linux/route/rtnl.ts";
import { parseHostLocal } from "../ipam/host-local.ts";
import { type BridgeConfig, usesVlans, vlanInterfaceName } from "./config.ts";
import { isInTheWay } from "./gateway.ts";
import { noVlanSupport } from "./vlans.ts";

/** Throws a {@link CniError} of code 50 where an ADD would fail for what the host has, as far as that can be known. */
export function requireBridgeReady(request: PluginRequest, config: BridgeConfig): void {
  const code = cniErrorCode.pluginNotAvailable;
  using rtnl = new Rtnl();
  const link = rtnl.links.find(config.bridge);
  if (link === undefined) return;
  if (link.kind !== "bridge") {
    throw new CniError(code, `${quote(config.bridge)} already exists but is not a bridge`, {
      remedy: "Choose another name for the bridge",
    });
  }
  // Kernels that cannot filter do not tell of a default VLAN.
  if (usesVlans(config) && link.bridge?.vlanDefaultPvid === undefined) throw noVlanSupport(code);
  if (config.isGateway && !config.forceAddress) requireRoomForGateways(request, config, rtnl);
}

/** Which gateways there are to be is known where host-local gives out the addresses. */
function requireRoomForGateways(request: PluginRequest, config: BridgeConfig, rtnl: Rtnl): void {
  if (request.config.ipamType !== "host-local") return;
  const name = config.vlan === 0 ? config.bridge : vlanInterfaceName(config.bridge, config.vlan);
  if (rtnl.links.find(name) === undefined) return;
  const present = rtnl.addresses.list({ link: name }).map(({ address }) => address);
  const sets = parseHostLocal(request).rangeSets.map((set) =>
    set.map(({ gateway, subnet }) => new Prefix(gateway, subnet.length)),
  );
  const isWanted = (address: Prefix) => sets.flat().some((wanted) => wanted.equals(address));
  for (const gateways of sets) {
    const obstacles = gateways.map((wanted) =>
      present.some((address) => address.equals(wanted))
        ? undefined
        : present.find((address) => isInTheWay(address, wanted) && !isWanted(address)),
    );
    const [first] = obstacles;
    if (first === undefined || obstacles.includes(undefined)) continue;
    throw new CniError(
      cniErrorCode.pluginNotAvailable,
      `${quote(name)} already has an IP address different from ${gateways.join(" or ")}: ${first}`,
      { remedy: "Remove it, use another bridge, or set forceAddress" },
    );
  }
}
