import { CniError, cniErrorCode } from "../../cni/errors.ts";
import { randomMac } from "../../lib/mac.ts";
import { isExists, isNotFound } from "../../linux/errors.ts";
import type { LeanLink } from "../../linux/lean/rtnl.ts";
import { Rtnl } from "../../linux/route/rtnl.ts";
import { refuseRouterAdvertisements, tryWriteSysctl } from "../shared/interface.ts";
import { type BridgeConfig, usesVlans } from "./config.ts";
import { applyVlans, withVlanSupport } from "./vlans.ts";

/*
 * What bridges need once, or only some of them: making the bridge, VLANs, modes of ports. Apart from link.ts so
 * that an ordinary ADD need not load it.
 */

/** Makes the bridge where `found` is undefined, and makes it ready for ports. True where it is new. */
export function prepareBridge(config: BridgeConfig, found: LeanLink | undefined): boolean {
  using rtnl = new Rtnl();
  const name = config.bridge;
  const created = found === undefined && createBridge(rtnl, config);
  refuseRouterAdvertisements(name);
  // While its link-local address is tentative, for two seconds, a new bridge cannot ask for neighbours, and drops what
  // is to be forwarded to the first pods by IPv6 (RFC 4862 section 5.4).
  if (created && !config.enableDad) tryWriteSysctl(`net/ipv6/conf/${name}/accept_dad`, "0");
  const link = rtnl.links.get(name);
  if (link.kind !== "bridge") {
    throw new CniError(cniErrorCode.internal, `"${name}" already exists but is not a bridge`, {
      remedy: "Choose another name for the bridge",
    });
  }
  if (usesVlans(config) && link.bridge?.vlanFiltering !== true) {
    withVlanSupport(() => rtnl.links.set(name, { bridge: { vlanFiltering: true } }));
  }
  if (!link.up) rtnl.links.set(name, { up: true });
  return created;
}

/** False where another ADD was quicker. */
function createBridge(rtnl: Rtnl, config: BridgeConfig): boolean {
  const { bridge: name, mtu } = config;
  const vlans = usesVlans(config);
  const create = () =>
    rtnl.links.add({
      kind: "bridge",
      name,
      // Without an address of its own a bridge takes that of a port, and changes it when the port goes: pods would send
      // to a gateway that is no longer there until they ask again.
      mac: randomMac(),
      ...(mtu === undefined ? {} : { mtu }),
      ...(vlans ? { bridge: { vlanFiltering: true } } : {}),
    });
  try {
    if (vlans) withVlanSupport(create);
    else create();
    return true;
  } catch (error) {
    if (isExists(error)) return false;
    throw error;
  }
}

/** Takes back a bridge that a failed ADD made, unless others use it by now. */
export function removeUnusedBridge(index: number): void {
  using rtnl = new Rtnl();
  if (rtnl.links.list({ master: index }).length > 0) return;
  try {
    rtnl.links.delete(index);
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}

/** Sets the modes of a port and puts it into its VLANs. */
export function preparePort(port: number, config: BridgeConfig): void {
  using rtnl = new Rtnl();
  if (config.hairpinMode || config.portIsolation) {
    rtnl.links.set(port, { bridgePort: { hairpin: config.hairpinMode, isolated: config.portIsolation } });
  }
  applyVlans(rtnl, port, config);
}
