import type { Invocation } from "../cni/env.ts";
import { CniError, cniErrorCode } from "../cni/errors.ts";
import type { GcRequest, Plugin, PluginRequest } from "../cni/plugin.ts";
import { formatResult, isDnsEmpty, type Result, type ResultInterface } from "../cni/result.ts";
import type { Ip } from "../lib/ip.ts";
import { anyOf } from "../lib/lists.ts";
import type { Prefix } from "../lib/prefix.ts";
import { type LeanLink, LeanRtnl } from "../linux/lean/rtnl.ts";
import { attachmentOf } from "./attachment.ts";
import {
  type BridgeConfig,
  bridgeKeys,
  parseBridgeConfig,
  requireMtuFor,
  usesVlans,
} from "./bridge-config.ts";
import { gatewaysOf, setGateways } from "./bridge-gateway.ts";
import { ensureBridge } from "./bridge-link.ts";
import { closingLate } from "./closing.ts";
import { delegateAdd, delegateCheck, delegateDel, delegateGc, delegateStatus } from "./delegate.ts";
import { findLeases } from "./host-local.ts";
import {
  announce,
  configureInterface,
  enableForwarding,
  refuseRouterAdvertisements,
  settleAddresses,
} from "./interface.ts";
import { addMasquerade, removeMasquerade } from "./masquerade.ts";
import { type OpenNetns, openNetns, tryOpenNetns } from "./netns.ts";
import { createVeth, vethNames, waitUntilUp } from "./veth.ts";

/** Connects a container to a bridge of the host by a veth pair. */
export const bridge: Plugin = {
  name: "bridge",
  keys: bridgeKeys,

  async add(request: PluginRequest): Promise<Result> {
    const config = parseBridgeConfig(request);
    using netns = openNetns(request.invocation.netns);
    using host = new LeanRtnl();
    using container = new LeanRtnl(netns.fd);
    const undo: Undo[] = [];
    try {
      const result = await attach({ request, config, netns, host, container, undo });
      // Old versions cannot say that there are no addresses.
      formatResult(result, request.config.cniVersion);
      return result;
    } catch (error) {
      for (const step of undo.reverse()) await attempt(step, request);
      throw error;
    }
  },

  async del(request: PluginRequest): Promise<void> {
    const { invocation, config } = request;
    const { ipMasq } = parseBridgeConfig(request);
    await closingLate(async (open) => {
      if (ipMasq) await removeMasquerade(open, attachmentOf(request), await knownAddresses(request));
      using netns = tryOpenNetns(invocation.netns);
      if (netns !== undefined) await deleteInterface(netns, request);
      if (config.ipamType !== undefined) await delegateDel(config.ipamType, request);
    });
  },

  async check(request: PluginRequest): Promise<void> {
    const config = parseBridgeConfig(request);
    if (request.config.ipamType !== undefined) await delegateCheck(request.config.ipamType, request);
    const { checkBridge } = await import("./bridge-check.ts");
    checkBridge(request, config);
  },

  async gc(request: GcRequest): Promise<void> {
    const { ipMasq } = parseBridgeConfig(request);
    if (ipMasq) {
      const { collectMasquerade } = await import("./masquerade-table.ts");
      await collectMasquerade(request.config.name, request.valid);
    }
    if (request.config.ipamType !== undefined) await delegateGc(request.config.ipamType, request);
  },

  async status(request: PluginRequest): Promise<void> {
    parseBridgeConfig(request);
    if (request.config.ipamType !== undefined) await delegateStatus(request.config.ipamType, request);
  },
};

type Undo = () => void | Promise<void>;

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
    undo.push(async () => (await import("./bridge-setup.ts")).removeUnusedBridge(bridgeLink.index));
  }
  const port = await addPort(attaching, bridgeLink);
  const result: Result = {
    interfaces: [
      describe(bridgeLink),
      describe(port.host),
      describe(port.container, request.invocation.netns),
    ],
    ips: [],
    routes: [],
    dns: {},
  };
  const { ipamType } = request.config;
  if (ipamType !== undefined) await addLayer3(attaching, ipamType, bridgeLink, port, result);
  else if (!config.disableContainerInterface) attaching.container.setUp(port.container.index, true);
  if (!config.disableContainerInterface) {
    await waitUntilUp(host, port.host.name);
    if (result.ips.length > 0) await beKnown(attaching, port.container, result);
  }
  // It may have changed with the first port or with the address.
  result.interfaces[0] = describe(host.get(bridgeLink.index));
  if (!isDnsEmpty(request.config.dns)) result.dns = request.config.dns;
  return result;
}

async function beKnown({ request, container }: Attaching, link: LeanLink, result: Result): Promise<void> {
  const { ifname } = request.invocation;
  if (anyOf(result.ips, ({ address }) => address.family === 6))
    await settleAddresses(container, link.index, ifname);
  announce(container, link);
}

interface Port {
  host: LeanLink;
  container: LeanLink;
}

async function addPort(attaching: Attaching, bridgeLink: LeanLink): Promise<Port> {
  const { request, config, netns, host, container, undo } = attaching;
  const { ifname } = request.invocation;
  const { mtu, mac } = config;
  const purpose = purposeOf(request.invocation);
  const name = createVeth(host, { netns, container, ifname, mtu, mac, master: bridgeLink.index, purpose });
  undo.push(() => void host.deleteLink(name));
  refuseRouterAdvertisements(name);
  const hostEnd = host.get(name);
  if (config.hairpinMode || config.portIsolation || usesVlans(config)) {
    const { preparePort } = await import("./bridge-setup.ts");
    preparePort(hostEnd.index, config);
  }
  return { host: hostEnd, container: container.get(ifname) };
}

async function addLayer3(
  attaching: Attaching,
  ipamType: string,
  bridgeLink: LeanLink,
  port: Port,
  result: Result,
): Promise<void> {
  const { request, config, netns, container, undo } = attaching;
  const ipam = await delegateAdd(ipamType, request);
  undo.push(() => delegateDel(ipamType, request));
  if (ipam.ips.length === 0) {
    throw new CniError(cniErrorCode.internal, "IPAM plugin returned missing IP config", {
      remedy: `Check what plugin "${ipamType}" is asked for under "ipam"`,
    });
  }
  const addresses = ipam.ips.map(({ address }) => address);
  requireMtuFor(addresses, config);
  const gateways = gatewaysOf(ipam, config);
  for (const ip of ipam.ips) ip.interface = 2;
  result.ips = ipam.ips;
  result.routes = ipam.routes;
  result.dns = ipam.dns;
  const { ifname } = request.invocation;
  const { index } = port.container;
  configureInterface({ netns, rtnl: container, ifname, index, enableDad: config.enableDad }, result);
  if (gateways.length > 0) await beGateway(attaching, bridgeLink, gateways, result);
  if (config.ipMasq) {
    const attachment = attachmentOf(request);
    const ips = addresses.map(({ ip }) => ip);
    undo.push(() => closingLate((open) => removeMasquerade(open, attachment, ips)));
    await addMasquerade(attachment, addresses);
  }
}

/** Puts the gateways' addresses on the bridge, or on the host's own port in the VLAN. */
async function beGateway(
  { config, host }: Attaching,
  bridgeLink: LeanLink,
  gateways: readonly Prefix[],
  result: Result,
): Promise<void> {
  let link = bridgeLink;
  if (config.vlan !== 0) {
    const { ensureVlanInterface } = await import("./bridge-setup.ts");
    link = host.get(ensureVlanInterface(bridgeLink, config));
    result.interfaces.push(describe(link));
  }
  await setGateways(host, link, gateways, config);
  if (anyOf(gateways, ({ family }) => family === 4)) enableForwarding(4);
  if (anyOf(gateways, ({ family }) => family === 6)) enableForwarding(6);
}

function describe({ name, mac, mtu }: LeanLink, sandbox?: string): ResultInterface {
  return sandbox === undefined ? { name, mac, mtu } : { name, mac, mtu, sandbox };
}

/** The attachment's addresses by lease record and prevResult; undefined where neither knows. */
async function knownAddresses(request: PluginRequest): Promise<Ip[] | undefined> {
  const { prevResult, ipamType } = request.config;
  const known = prevResult?.ips.map(({ address }) => address.ip) ?? [];
  for (const ip of ipamType === "host-local" ? await findLeases(request) : []) {
    if (!anyOf(known, (other) => other.equals(ip))) known.push(ip);
  }
  return known.length === 0 ? undefined : known;
}

/** What the pair of an attachment is for, after which it is named. */
function purposeOf({ containerId, ifname }: Invocation): string {
  return `${containerId}/${ifname}`;
}

/** The other end goes with it. */
async function deleteInterface(netns: OpenNetns, { invocation, deletePair }: PluginRequest): Promise<void> {
  const { ifname } = invocation;
  if (deletePair !== undefined) {
    await deletePair({ netnsFd: netns.fd, ifname, hostNames: vethNames(purposeOf(invocation)) });
    return;
  }
  using rtnl = new LeanRtnl(netns.fd);
  rtnl.deleteLink(ifname);
}

async function attempt(step: Undo, request: PluginRequest): Promise<void> {
  try {
    await step();
  } catch (error) {
    request.warn(`while taking back a failed ADD: ${(error as Error).message}`);
  }
}
