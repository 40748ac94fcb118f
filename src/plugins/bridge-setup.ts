import { CniError, cniErrorCode } from "../cni/errors.ts";
import { randomMac } from "../lib/mac.ts";
import { isErrno, isExists, isNotFound, isNotSupported } from "../linux/errors.ts";
import type { LeanLink } from "../linux/lean/rtnl.ts";
import { Rtnl } from "../linux/route/rtnl.ts";
import { type BridgeConfig, usesVlans, vlanInterfaceName } from "./bridge-config.ts";
import { refuseRouterAdvertisements, tryWriteSysctl } from "./interface.ts";
import { vethName } from "./veth.ts";

/*
 * What bridges need once, or only some of them: making the bridge, VLANs, modes of ports. Apart from bridge-link.ts so
 * that an ordinary ADD need not load it.
 */

/** Makes the bridge where `found` is undefined, and brings it into the state that is configured. True where it is new. */
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
  if (config.promiscMode && !link.promiscuous) rtnl.links.set(name, { promiscuous: true });
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

function applyVlans(rtnl: Rtnl, port: number, config: BridgeConfig): void {
  if (!usesVlans(config)) return;
  const { vlan, vlanTrunk, preserveDefaultVlan } = config;
  withVlanSupport(() => {
    if (!preserveDefaultVlan) {
      for (const { vid, vidEnd } of rtnl.bridgeVlans.list(port)) {
        rtnl.bridgeVlans.delete({ link: port, vid, vidEnd });
      }
    }
    if (vlan !== 0) rtnl.bridgeVlans.add({ link: port, vid: vlan, pvid: true, untagged: true });
    for (const vid of vlanTrunk) rtnl.bridgeVlans.add({ link: port, vid });
  });
}

/** Makes the host's own port in the VLAN where it is not there: it has the gateway's address instead of the bridge. */
export function ensureVlanInterface(bridgeLink: LeanLink, config: BridgeConfig): string {
  using rtnl = new Rtnl();
  const name = vlanInterfaceName(bridgeLink.name, config.vlan);
  if (rtnl.links.find(name) !== undefined) return name;
  const port = vethName(name, 1);
  const { mtu, index: master } = bridgeLink;
  try {
    rtnl.links.add({ kind: "veth", name: port, up: true, master, mtu, peer: { name, mtu } });
  } catch (error) {
    if (isExists(error)) return name;
    throw error;
  }
  refuseRouterAdvertisements(port);
  refuseRouterAdvertisements(name);
  applyVlans(rtnl, rtnl.links.index(port), config);
  rtnl.links.set(name, { up: true });
  return name;
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
