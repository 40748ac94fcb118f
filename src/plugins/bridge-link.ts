import { CniError, cniErrorCode } from "../cni/errors.ts";
import { quote } from "../lib/errors.ts";
import { isErrno, isExists, isNotFound, isNotSupported } from "../linux/errors.ts";
import type { Link } from "../linux/route/link.ts";
import type { Rtnl } from "../linux/route/rtnl.ts";
import { type BridgeConfig, vlanInterfaceName } from "./bridge-config.ts";
import { refuseRouterAdvertisements } from "./interface.ts";
import { randomVethName } from "./veth.ts";

/** The bridge, made where it is not there. Throws where something else has its name. */
export function ensureBridge(rtnl: Rtnl, config: BridgeConfig): { link: Link; created: boolean } {
  const name = config.bridge;
  const usesVlans = config.vlan !== 0 || config.vlanTrunk.length > 0;
  let link = rtnl.links.find(name);
  const created = link === undefined && createBridge(rtnl, config, usesVlans);
  link ??= rtnl.links.get(name);
  if (link.kind !== "bridge") {
    throw new CniError(cniErrorCode.internal, `${quote(name)} already exists but is not a bridge`, {
      remedy: "Choose another name for the bridge",
    });
  }
  refuseRouterAdvertisements(name);
  if (usesVlans && link.bridge?.vlanFiltering !== true) {
    withVlanSupport(() => rtnl.links.set(name, { bridge: { vlanFiltering: true } }));
  }
  if (config.promiscMode && !link.promiscuous) rtnl.links.set(name, { promiscuous: true });
  if (!link.up) rtnl.links.set(name, { up: true });
  return { link, created };
}

/** False where another ADD was quicker. */
function createBridge(rtnl: Rtnl, { bridge: name, mtu }: BridgeConfig, usesVlans: boolean): boolean {
  const create = () =>
    rtnl.links.add({
      kind: "bridge",
      name,
      ...(mtu === undefined ? {} : { mtu }),
      ...(usesVlans ? { bridge: { vlanFiltering: true } } : {}),
    });
  try {
    if (usesVlans) withVlanSupport(create);
    else create();
    return true;
  } catch (error) {
    if (isExists(error)) return false;
    throw error;
  }
}

/** Takes back a bridge that a failed ADD made, unless others use it by now. */
export function removeUnusedBridge(rtnl: Rtnl, index: number): void {
  if (rtnl.links.list({ master: index }).length > 0) return;
  try {
    rtnl.links.delete(index);
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}

/** Puts a port into its VLANs. */
export function applyVlans(
  rtnl: Rtnl,
  port: Link,
  { vlan, vlanTrunk, preserveDefaultVlan }: Pick<BridgeConfig, "vlan" | "vlanTrunk" | "preserveDefaultVlan">,
): void {
  if (vlan === 0 && vlanTrunk.length === 0) return;
  withVlanSupport(() => {
    if (!preserveDefaultVlan) {
      for (const { vid, vidEnd } of rtnl.bridgeVlans.list(port.index)) {
        rtnl.bridgeVlans.delete({ link: port.index, vid, vidEnd });
      }
    }
    if (vlan !== 0) rtnl.bridgeVlans.add({ link: port.index, vid: vlan, pvid: true, untagged: true });
    for (const vid of vlanTrunk) rtnl.bridgeVlans.add({ link: port.index, vid });
  });
}

/** The host's own port in the VLAN, made where it is not there: it has the gateway's address instead of the bridge. */
export function ensureVlanInterface(rtnl: Rtnl, bridgeLink: Link, config: BridgeConfig): Link {
  const name = vlanInterfaceName(bridgeLink.name, config.vlan);
  const found = rtnl.links.find(name);
  if (found !== undefined) return found;
  const port = randomVethName();
  try {
    rtnl.links.add({
      kind: "veth",
      name: port,
      up: true,
      master: bridgeLink.index,
      mtu: bridgeLink.mtu,
      peer: { name, mtu: bridgeLink.mtu },
    });
  } catch (error) {
    if (isExists(error)) return rtnl.links.get(name);
    throw error;
  }
  refuseRouterAdvertisements(port);
  refuseRouterAdvertisements(name);
  applyVlans(rtnl, rtnl.links.get(port), config);
  rtnl.links.set(name, { up: true });
  return rtnl.links.get(name);
}

function withVlanSupport(action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!isNotSupported(error) && !isErrno(error, "EINVAL")) throw error;
    throw new CniError(
      cniErrorCode.unsupportedField,
      `vlan: this kernel cannot filter VLANs (${error.message})`,
      {
        remedy: "Use a kernel with CONFIG_BRIDGE_VLAN_FILTERING, or leave out vlan and vlanTrunk",
        cause: error,
      },
    );
  }
}
