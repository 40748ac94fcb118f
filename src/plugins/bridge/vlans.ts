import { CniError, cniErrorCode } from "../../cni/errors.ts";
import { isErrno, isExists, isNotFound, isNotSupported } from "../../linux/errors.ts";
import type { LeanLink } from "../../linux/lean/rtnl.ts";
import type { Link } from "../../linux/route/link.ts";
import { Rtnl } from "../../linux/route/rtnl.ts";
import { refuseRouterAdvertisements, tryWriteSysctl } from "../shared/interface.ts";
import { vethName } from "../shared/veth.ts";
import { type BridgeConfig, usesVlans, vlanInterfaceName } from "./config.ts";

/** VLANs of a port, from `vid` to `vidEnd`. */
export interface PortVlans {
  vid: number;
  vidEnd: number;
  /** Frames without a tag are of this VLAN, both ways. */
  native: boolean;
}

/** The VLANs that a container's port gets; what it has by itself is apart. */
export function vlansOf({
  nativeVlan,
  vlanTrunk,
}: Pick<BridgeConfig, "nativeVlan" | "vlanTrunk">): PortVlans[] {
  const vlans = nativeVlan === 0 ? [] : [nativePort(nativeVlan)];
  let last: PortVlans | undefined;
  for (const vid of vlanTrunk) {
    if (vid === nativeVlan) continue;
    if (last?.vidEnd === vid - 1) {
      last.vidEnd = vid;
      continue;
    }
    last = { vid, vidEnd: vid, native: false };
    vlans.push(last);
  }
  return vlans;
}

function nativePort(vid: number): PortVlans {
  return { vid, vidEnd: vid, native: true };
}

/** Puts a container's port into its VLANs. */
export function applyVlans(rtnl: Rtnl, port: number, config: BridgeConfig): void {
  if (usesVlans(config)) setVlans(rtnl, port, vlansOf(config), config.preserveDefaultVlan);
}

function setVlans(rtnl: Rtnl, port: number, vlans: readonly PortVlans[], preserveDefault: boolean): void {
  withVlanSupport(() => {
    if (!preserveDefault) {
      for (const { vid, vidEnd } of rtnl.bridgeVlans.list(port)) {
        // What another ADD has made of the same port stays.
        const isWanted = vlans.some((wanted) => wanted.vid <= vid && vidEnd <= wanted.vidEnd);
        if (!isWanted) removeVlans(rtnl, port, vid, vidEnd);
      }
    }
    for (const { vid, vidEnd, native } of vlans) {
      rtnl.bridgeVlans.add({ link: port, vid, vidEnd, pvid: native, untagged: native });
    }
  });
}

/** One that another ADD removed meanwhile is fine. */
function removeVlans(rtnl: Rtnl, port: number, vid: number, vidEnd: number): void {
  try {
    rtnl.bridgeVlans.delete({ link: port, vid, vidEnd });
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}

/**
 * Makes the host's own port in the VLAN where it is not there: it has the gateway's address instead of the bridge. What
 * a killed ADD left half-made is completed: being up is the last step. True where it is new.
 */
export function ensureVlanInterface(bridgeLink: LeanLink, config: BridgeConfig): boolean {
  using rtnl = new Rtnl();
  const name = vlanInterfaceName(bridgeLink.name, config.vlan);
  const created = rtnl.links.find(name) === undefined && createPair(rtnl, bridgeLink, name);
  const link = rtnl.links.get(name);
  if (link.up) return created;
  const port = portOf(rtnl, link, bridgeLink.index);
  if (port !== undefined) {
    refuseRouterAdvertisements(port.name);
    setVlans(rtnl, port.index, [nativePort(config.vlan)], config.preserveDefaultVlan);
  }
  refuseRouterAdvertisements(name);
  // As with a new bridge: while its link-local address is tentative it could not ask for neighbours.
  if (!config.enableDad) tryWriteSysctl(`net/ipv6/conf/${name}/accept_dad`, "0");
  rtnl.links.set(name, { up: true });
  return created;
}

/** False where another ADD was quicker. */
function createPair(rtnl: Rtnl, { index: master, mtu }: LeanLink, name: string): boolean {
  try {
    rtnl.links.add({ kind: "veth", name: vethName(name, 1), up: true, master, mtu, peer: { name, mtu } });
    return true;
  } catch (error) {
    if (isExists(error) && rtnl.links.find(name) !== undefined) return false;
    throw error;
  }
}

/** The other end, in the bridge; undefined where the administrator made the interface in another way. */
function portOf(rtnl: Rtnl, link: Link, bridge: number): Link | undefined {
  if (link.kind !== "veth" || link.parent === undefined) return undefined;
  const port = rtnl.links.find(link.parent);
  return port?.master === bridge && port.parent === link.index ? port : undefined;
}

/** Takes back {@link ensureVlanInterface} of a failed ADD, unless another port than `own` is in the VLAN by now. */
export function removeUnusedVlanInterface(bridgeLink: LeanLink, config: BridgeConfig, own: number): void {
  using rtnl = new Rtnl();
  const link = rtnl.links.find(vlanInterfaceName(bridgeLink.name, config.vlan));
  const port = link === undefined ? undefined : portOf(rtnl, link, bridgeLink.index);
  if (link === undefined || port === undefined) return;
  for (const { index } of rtnl.links.list({ master: bridgeLink.index })) {
    if (index === own || index === port.index) continue;
    const isIn = rtnl.bridgeVlans
      .list(index)
      .some(({ vid, vidEnd }) => vid <= config.vlan && config.vlan <= vidEnd);
    if (isIn) return;
  }
  try {
    rtnl.links.delete(link.index);
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}

/** Runs what only a kernel with VLAN filtering can; throws a {@link CniError} of code 2 where it cannot. */
export function withVlanSupport(action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!isNotSupported(error) && !isErrno(error, "EINVAL")) throw error;
    throw noVlanSupport(cniErrorCode.unsupportedField, error);
  }
}

export function noVlanSupport(code: number, cause?: Error): CniError {
  const why = cause === undefined ? "" : ` (${cause.message})`;
  return new CniError(code, `vlan: this kernel cannot filter VLANs${why}`, {
    remedy: "Use a kernel with CONFIG_BRIDGE_VLAN_FILTERING, or leave out vlan and vlanTrunk",
    cause,
  });
}
