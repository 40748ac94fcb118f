import type { GcRequest, Plugin, PluginRequest } from "../../cni/plugin.ts";
import { isDnsEmpty, type Result, requireExpressible } from "../../cni/result.ts";
import { anyOf } from "../../lib/lists.ts";
import type { Prefix } from "../../lib/prefix.ts";
import { type LeanLink, LeanRtnl } from "../../linux/lean/rtnl.ts";
import { addIpMasq, collectIpMasq, removeAnyIpMasq, requireIpMasq } from "../netfilter/ip-masq.ts";
import { attachmentOf } from "../shared/attachment.ts";
import { closingLate } from "../shared/closing.ts";
import { delegateCheck, delegateDel, delegateGc, delegateStatus } from "../shared/delegate.ts";
import { beKnown, configureInterface, describeLink, enableForwarding } from "../shared/interface.ts";
import { addIpam, needsLink } from "../shared/ipam.ts";
import { lowestIpv6Mtu, requireMtuFor } from "../shared/link-keys.ts";
import { type OpenNetns, openNetns, tryOpenNetns } from "../shared/netns.ts";
import { doAll } from "../shared/steps.ts";
import { type Undo, withUndo } from "../shared/undo.ts";
import { createVeth, deleteVeth, type Veth, waitUntilUp } from "../shared/veth.ts";
import { type BridgeConfig, bridgeKeys, parseBridgeConfig, usesVlans, vlanInterfaceName } from "./config.ts";
import { gatewaysOf, setGateways } from "./gateway.ts";
import { ensureBridge } from "./link.ts";
import { hasMacSpoofTable } from "./mac-spoof-table.ts";

/** Connects a container to a bridge of the host by a veth pair. */
export const bridge: Plugin = {
  name: "bridge",
  keys: bridgeKeys,
  parse: parseBridgeConfig,

  async add(request: PluginRequest): Promise<Result> {
    const config = parseBridgeConfig(request);
    using netns = openNetns(request.invocation.netns);
    using host = new LeanRtnl();
    using container = new LeanRtnl(netns.fd);
    return await withUndo(request, async (undo) => {
      const result = await attach({ request, config, netns, host, container, undo });
      requireExpressible(result, request.config.cniVersion);
      // The bridge may have been there before: what fails has not touched its mode.
      if (config.promiscMode) host.change(host.get(config.bridge), { promiscuous: true });
      return result;
    });
  },

  async del(request: PluginRequest): Promise<void> {
    // Hardly any key is looked at: what was added before somebody made a mistake in one can still be removed.
    const { ipamType } = request.config;
    const isByLink = needsLink(ipamType);
    let isGone = false;
    const release = async () => {
      if (ipamType !== undefined) await delegateDel(ipamType, request);
    };
    await closingLate((open) =>
      doAll(request, [
        async () => {
          if (isByLink) await release();
        },
        () => removeAnyIpMasq(open, request),
        async () => {
          using netns = tryOpenNetns(request.invocation.netns);
          await deleteVeth(netns, request);
          isGone = true;
        },
        async () => {
          if (!hasMacSpoofTable()) return;
          const { removeMacSpoofCheck } = await import("./mac-spoof.ts");
          await removeMacSpoofCheck(attachmentOf(request));
        },
        async () => {
          // While the container still has its address, nobody else may get it.
          if (isGone && !isByLink) await release();
        },
      ]),
    );
  },

  async check(request: PluginRequest): Promise<void> {
    const config = parseBridgeConfig(request);
    if (request.config.ipamType !== undefined) await delegateCheck(request.config.ipamType, request);
    const { checkBridge } = await import("./check.ts");
    await checkBridge(request, config);
  },

  async gc(request: GcRequest): Promise<void> {
    parseBridgeConfig(request);
    const { ipamType } = request.config;
    if (ipamType !== undefined && needsLink(ipamType)) await delegateGc(ipamType, request);
    const { collectLinks } = await import("../shared/links-gc.ts");
    await collectLinks(request, "veth");
    // Whatever the keys say by now, they may have been set when a container was added.
    await collectIpMasq(request);
    if (hasMacSpoofTable()) {
      const { collectMacSpoofChecks } = await import("./mac-spoof.ts");
      await collectMacSpoofChecks(request.config.name, request.valid);
    }
    if (ipamType !== undefined && !needsLink(ipamType)) await delegateGc(ipamType, request);
  },

  async status(request: PluginRequest): Promise<void> {
    const config = parseBridgeConfig(request);
    const { requireBridgeReady } = await import("./status.ts");
    requireBridgeReady(request, config);
    if (config.ipMasq) await requireIpMasq(request, config.ipMasqBackend);
    if (request.config.ipamType !== undefined) await delegateStatus(request.config.ipamType, request);
  },
};

/** One ADD under way. `undo` takes what has to be done, from the last to the first, if it fails. */
interface Attaching {
  request: PluginRequest;
  config: BridgeConfig;
  netns: OpenNetns;
  host: LeanRtnl;
  container: LeanRtnl;
  undo: Undo[];
}

async function attach(attaching: Attaching): Promise<Result> {
  const { request, config, host, undo } = attaching;
  const { link: bridgeLink, created } = await ensureBridge(host, config);
  if (created) {
    undo.push(async () => (await import("./setup.ts")).removeUnusedBridge(bridgeLink.index));
  }
  if (config.mtu !== undefined && config.mtu < lowestIpv6Mtu) {
    // A bridge takes on the least MTU of its ports, and would lose its IPv6 addresses, which other containers need.
    const addresses = host.addresses(bridgeLink.index).filter(({ ip }) => !ip.isLinkLocal());
    requireMtuFor(addresses, config.mtu);
  }
  const port = await addPort(attaching, bridgeLink);
  const result: Result = {
    interfaces: [
      describeLink(bridgeLink),
      describeLink(port.host),
      describeLink(port.container, request.invocation.netns),
    ],
    ips: [],
    routes: [],
    dns: {},
  };
  const { ipamType } = request.config;
  if (ipamType !== undefined) await addLayer3(attaching, ipamType, bridgeLink, port, result);
  else if (!config.disableContainerInterface) attaching.container.setUp(port.container.index, true);
  // It may have changed with the first port or with the address.
  result.interfaces[0] = describeLink(host.get(bridgeLink.index));
  if (!config.disableContainerInterface) {
    await waitUntilUp(host, port.host.name);
    // Last of all: on a bridge with many ports the kernel is busy for some time with what the neighbours are told.
    if (result.ips.length > 0) await beKnown(attaching.container, port.container, result);
  }
  if (!isDnsEmpty(request.config.dns)) result.dns = request.config.dns;
  return result;
}

async function addPort(attaching: Attaching, bridgeLink: LeanLink): Promise<Veth> {
  const { request, config, netns, host, container, undo } = attaching;
  const { mtu, mac } = config;
  const port = createVeth(request, host, { netns, container, mtu, mac, master: bridgeLink.index }, undo);
  if (config.macSpoofCheck) {
    const { addMacSpoofCheck, removeMacSpoofCheck } = await import("./mac-spoof.ts");
    const attachment = attachmentOf(request);
    undo.push(() => removeMacSpoofCheck(attachment));
    await addMacSpoofCheck(attachment, port.host.name, port.container.mac);
  }
  if (config.hairpinMode || config.portIsolation || usesVlans(config)) {
    const { preparePort } = await import("./setup.ts");
    preparePort(port.host.index, config);
  }
  return port;
}

async function addLayer3(
  attaching: Attaching,
  ipamType: string,
  bridgeLink: LeanLink,
  port: Veth,
  result: Result,
): Promise<void> {
  const { request, config, netns, host, container, undo } = attaching;
  if (needsLink(ipamType)) {
    container.setUp(port.container.index, true);
    await waitUntilUp(host, port.host.name);
  }
  const ipam = await addIpam(ipamType, request, undo);
  const addresses = ipam.ips.map(({ address }) => address);
  requireMtuFor(addresses, config.mtu);
  const gateways = gatewaysOf(ipam, config);
  for (const ip of ipam.ips) ip.interface = 2;
  result.ips = ipam.ips;
  result.routes = ipam.routes;
  result.dns = ipam.dns;
  const { ifname } = request.invocation;
  const { index } = port.container;
  configureInterface({ netns, rtnl: container, ifname, index, enableDad: config.enableDad }, result);
  if (gateways.length > 0) await beGateway(attaching, bridgeLink, port.host, gateways, result);
  if (config.ipMasq) await addIpMasq(request, config.ipMasqBackend, addresses, undo);
}

/** Puts the gateways' addresses on the bridge, or on the host's own port in the VLAN. */
async function beGateway(
  { config, host, undo }: Attaching,
  bridgeLink: LeanLink,
  port: LeanLink,
  gateways: readonly Prefix[],
  result: Result,
): Promise<void> {
  let link = bridgeLink;
  if (config.vlan !== 0) {
    const { ensureVlanInterface, removeUnusedVlanInterface } = await import("./vlans.ts");
    const isNew = ensureVlanInterface(bridgeLink, config);
    if (isNew) undo.push(() => removeUnusedVlanInterface(bridgeLink, config, port.index));
    link = host.get(vlanInterfaceName(bridgeLink.name, config.vlan));
    result.interfaces.push(describeLink(link));
  }
  await setGateways(host, link, gateways, config);
  if (anyOf(gateways, ({ family }) => family === 4)) enableForwarding(host, 4);
  if (anyOf(gateways, ({ family }) => family === 6)) enableForwarding(host, 6);
}
