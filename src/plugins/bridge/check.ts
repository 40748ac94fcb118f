import type { PluginRequest } from "../../cni/plugin.ts";
import type { Result } from "../../cni/result.ts";
import { Prefix } from "../../lib/prefix.ts";
import type { Link } from "../../linux/route/link.ts";
import { Rtnl } from "../../linux/route/rtnl.ts";
import { checkIpMasq } from "../netfilter/ip-masq.ts";
import { attachmentOf } from "../shared/attachment.ts";
import { describedInterface, mismatch, requireLink, requirePrevResult } from "../shared/check-link.ts";
import { checkInterface } from "../shared/interface-check.ts";
import { openNetns } from "../shared/netns.ts";
import { type BridgeConfig, usesVlans, vlanInterfaceName } from "./config.ts";
import { hasMacSpoofCheck } from "./mac-spoof.ts";
import { vlansOf } from "./vlans.ts";

/** Compares what the result of ADD says with what is there. Throws a CniError that names the difference. */
export async function checkBridge(request: PluginRequest, config: BridgeConfig): Promise<void> {
  const prevResult = requirePrevResult(request);
  using netns = openNetns(request.invocation.netns);
  using host = new Rtnl();
  using container = new Rtnl({ netns: { fd: netns.fd } });
  const bridgeLink = checkBridgeLink(host, prevResult, config);
  const containerLink = requireLink(container, describedInterface(request, prevResult), "veth");
  const port = checkPort(host, prevResult, bridgeLink, containerLink, config);
  checkInterface(container, containerLink, prevResult, config.disableContainerInterface);
  if (config.isGateway) checkGateways(host, prevResult, containerLink, config);
  if (config.macSpoofCheck && !hasMacSpoofCheck(attachmentOf(request), port.name, containerLink.mac ?? "")) {
    throw mismatch(`Interface ${port.name} lets frames with other hardware addresses pass`);
  }
  if (!config.ipMasq) return;
  const addresses = prevResult.ips.map(({ address }) => address);
  await checkIpMasq(request, config.ipMasqBackend, addresses);
}

/** The container's gateways have to be on the host still: with forceAddress another network may have taken their place. */
function checkGateways(host: Rtnl, result: Result, inside: Link, config: BridgeConfig): void {
  const name = config.vlan === 0 ? config.bridge : vlanInterfaceName(config.bridge, config.vlan);
  const present =
    host.links.find(name) === undefined
      ? []
      : host.addresses.list({ link: name }).map(({ address }) => address);
  for (const { address, gateway, interface: index } of result.ips) {
    const described = index === undefined ? undefined : result.interfaces[index];
    if (gateway === undefined || (described !== undefined && described.name !== inside.name)) continue;
    const wanted = new Prefix(gateway, address.length);
    if (!present.some((other) => other.equals(wanted))) {
      throw mismatch(`Gateway ${wanted} of the container is not on interface ${name}`);
    }
  }
}

function checkBridgeLink(host: Rtnl, result: Result, config: BridgeConfig): Link {
  const described = result.interfaces.find(
    ({ name, sandbox }) => name === config.bridge && sandbox === undefined,
  );
  if (described === undefined) throw mismatch(`prevResult does not name bridge "${config.bridge}"`);
  const link = requireLink(host, described, "bridge");
  if (!link.up) throw mismatch(`Bridge interface ${link.name} is down`);
  if (link.promiscuous !== config.promiscMode) {
    throw mismatch(
      `Bridge interface ${link.name} configured Promisc Mode ${config.promiscMode} doesn't match current state: ${link.promiscuous}`,
    );
  }
  return link;
}

function checkPort(host: Rtnl, result: Result, bridgeLink: Link, inside: Link, config: BridgeConfig): Link {
  const ports = result.interfaces.filter(
    ({ name, sandbox }) => sandbox === undefined && name !== bridgeLink.name,
  );
  for (const described of ports) {
    const link = host.links.find(described.name);
    if (link?.kind !== "veth" || link.parent !== inside.index || inside.parent !== link.index) continue;
    requireLink(host, described, "veth");
    if (!link.up) throw mismatch(`Interface ${link.name} is down`);
    if (link.master !== bridgeLink.index) {
      throw mismatch(`Interface ${link.name} is not a port of bridge ${bridgeLink.name}`);
    }
    if ((link.bridgePort?.hairpin ?? false) !== config.hairpinMode) {
      throw mismatch(`Interface ${link.name} hairpin mode is not ${config.hairpinMode}`);
    }
    if ((link.bridgePort?.isolated ?? false) !== config.portIsolation) {
      throw mismatch(`Interface ${link.name} port isolation is not ${config.portIsolation}`);
    }
    checkVlans(host, link, config);
    return link;
  }
  throw mismatch(`CNI veth created for bridge ${bridgeLink.name} was not found`);
}

/** What else the port may be in is the bridge's, or the administrator's. */
function checkVlans(host: Rtnl, { index, name }: Link, config: BridgeConfig): void {
  if (!usesVlans(config)) return;
  const present = host.bridgeVlans.list(index);
  for (const { vid, vidEnd, native } of vlansOf(config)) {
    for (let each = vid; each <= vidEnd; each++) {
      const found = present.find((vlan) => vlan.vid <= each && each <= vlan.vidEnd);
      if (found !== undefined && found.pvid === native && found.untagged === native) continue;
      throw mismatch(`Interface ${name} is not ${native ? "an untagged" : "a tagged"} port of VLAN ${each}`);
    }
  }
}
