import { CniError, cniErrorCode } from "../cni/errors.ts";
import type { GcRequest, Plugin, PluginRequest } from "../cni/plugin.ts";
import { emptyResult, isDnsEmpty, type Result, type ResultInterface } from "../cni/result.ts";
import { isNotFound } from "../linux/errors.ts";
import type { Link } from "../linux/route/link.ts";
import { Rtnl } from "../linux/route/rtnl.ts";
import { type BridgeConfig, bridgeKeys, parseBridgeConfig } from "./bridge-config.ts";
import { type Gateway, gatewaysOf, setGateways } from "./bridge-gateway.ts";
import { applyVlans, ensureBridge, ensureVlanInterface, removeUnusedBridge } from "./bridge-link.ts";
import { delegateAdd, delegateCheck, delegateDel, delegateGc, delegateStatus } from "./delegate.ts";
import { findLeases } from "./host-local.ts";
import { announce, configureInterface, enableForwarding, refuseRouterAdvertisements } from "./interface.ts";
import { type OpenNetns, openNetns, tryOpenNetns } from "./netns.ts";
import { attachmentOf } from "./nft.ts";
import { createVeth, requireAbsent, waitUntilUp } from "./veth.ts";

/** Connects a container to a bridge of the host by a veth pair. */
export const bridge: Plugin = {
  name: "bridge",
  keys: bridgeKeys,

  async add(request: PluginRequest): Promise<Result> {
    const config = parseBridgeConfig(request);
    using netns = openNetns(request.invocation.netns);
    using host = new Rtnl();
    using container = new Rtnl({ netns });
    requireAbsent(container, request.invocation.ifname, request.invocation.netns);
    const undo: (() => void | Promise<void>)[] = [];
    try {
      return await attach({ request, config, netns, host, container, undo });
    } catch (error) {
      for (const step of undo.reverse()) await attempt(step, request);
      throw error;
    }
  },

  async del(request: PluginRequest): Promise<void> {
    const { invocation, config } = request;
    const { ipMasq } = parseBridgeConfig(request);
    if (ipMasq) {
      const { removeMasquerade } = await import("./masquerade.ts");
      removeMasquerade(attachmentOf(request), knownAddresses(request));
    }
    using netns = tryOpenNetns(invocation.netns);
    if (netns !== undefined) deleteInterface(netns, invocation.ifname);
    if (config.ipamType !== undefined) await delegateDel(config.ipamType, request);
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
      const { collectMasquerade } = await import("./masquerade.ts");
      collectMasquerade(request.config.name, request.valid);
    }
    if (request.config.ipamType !== undefined) await delegateGc(request.config.ipamType, request);
  },

  async status(request: PluginRequest): Promise<void> {
    parseBridgeConfig(request);
    if (request.config.ipamType !== undefined) await delegateStatus(request.config.ipamType, request);
  },
};

/** One ADD under way. `undo` takes what has to be done, from the last to the first, if it fails. */
interface Attaching {
  request: PluginRequest;
  config: BridgeConfig;
  netns: OpenNetns;
  host: Rtnl;
  container: Rtnl;
  undo: (() => void | Promise<void>)[];
}

async function attach(attaching: Attaching): Promise<Result> {
  const { request, config, host, undo } = attaching;
  const { link: bridgeLink, created } = ensureBridge(host, config);
  if (created) undo.push(() => removeUnusedBridge(host, bridgeLink.index));
  const port = addPort(attaching, bridgeLink);
  const result: Result = {
    ...emptyResult(),
    interfaces: [
      describe(bridgeLink),
      describe(port.host),
      describe(port.container, request.invocation.netns),
    ],
  };
  const { ipamType } = request.config;
  if (ipamType !== undefined) await addLayer3(attaching, ipamType, bridgeLink, port, result);
  else if (!config.disableContainerInterface)
    attaching.container.links.set(port.container.index, { up: true });
  if (!config.disableContainerInterface) {
    await waitUntilUp(host, port.host.name);
    if (result.ips.length > 0) announce(attaching.container, port.container.index, port.container.mac ?? "");
  }
  // It may have changed with the first port or with the address.
  result.interfaces[0] = describe(host.links.get(bridgeLink.index));
  if (!isDnsEmpty(request.config.dns)) result.dns = request.config.dns;
  return result;
}

interface Port {
  host: Link;
  container: Link;
}

function addPort({ request, config, netns, host, container, undo }: Attaching, bridgeLink: Link): Port {
  const { ifname } = request.invocation;
  const hostEnd = createVeth(host, {
    netnsFd: netns.fd,
    ifname,
    master: bridgeLink.index,
    ...(config.mtu === undefined ? {} : { mtu: config.mtu }),
    ...(config.mac === undefined ? {} : { mac: config.mac }),
  });
  undo.push(() => host.links.delete(hostEnd.index));
  refuseRouterAdvertisements(hostEnd.name);
  if (config.hairpinMode || config.portIsolation) {
    const bridgePort = { hairpin: config.hairpinMode, isolated: config.portIsolation };
    host.links.set(hostEnd.index, { bridgePort });
  }
  applyVlans(host, hostEnd, config);
  return { host: hostEnd, container: container.links.get(ifname) };
}

async function addLayer3(
  attaching: Attaching,
  ipamType: string,
  bridgeLink: Link,
  port: Port,
  result: Result,
): Promise<void> {
  const { request, config, netns, host, container, undo } = attaching;
  const ipam = await delegateAdd(ipamType, request);
  undo.push(() => delegateDel(ipamType, request));
  if (ipam.ips.length === 0) {
    throw new CniError(cniErrorCode.internal, "IPAM plugin returned missing IP config", {
      remedy: `Check what plugin "${ipamType}" is asked for under "ipam"`,
    });
  }
  const gateways = gatewaysOf(ipam, config);
  result.ips = ipam.ips.map((ip) => ({ ...ip, interface: 2 }));
  result.routes = ipam.routes;
  result.dns = ipam.dns;
  const { ifname } = request.invocation;
  configureInterface(
    { netns, rtnl: container, ifname, index: port.container.index, enableDad: config.enableDad },
    result,
  );
  if (gateways.length > 0) {
    const vlanLink = config.vlan === 0 ? undefined : ensureVlanInterface(host, bridgeLink, config);
    if (vlanLink !== undefined) result.interfaces.push(describe(vlanLink));
    beGateway(host, vlanLink ?? bridgeLink, gateways, config);
  }
  if (config.ipMasq) {
    const { addMasquerade, removeMasquerade } = await import("./masquerade.ts");
    const attachment = attachmentOf(request);
    const addresses = result.ips.map(({ address }) => address);
    undo.push(() =>
      removeMasquerade(
        attachment,
        addresses.map(({ ip }) => ip),
      ),
    );
    addMasquerade(attachment, addresses);
  }
}

function beGateway(host: Rtnl, link: Link, gateways: readonly Gateway[], config: BridgeConfig): void {
  setGateways(host, link, gateways, config);
  for (const family of [4, 6] as const) {
    if (gateways.some(({ address }) => address.family === family)) enableForwarding(family);
  }
}

function describe({ name, mac, mtu }: Link, sandbox?: string): ResultInterface {
  return { name, mtu, ...(mac === undefined ? {} : { mac }), ...(sandbox === undefined ? {} : { sandbox }) };
}

/** The attachment's addresses by lease record and prevResult; undefined where neither knows. */
function knownAddresses(request: PluginRequest) {
  const { prevResult, ipamType } = request.config;
  const byResult = prevResult?.ips.map(({ address }) => address.ip) ?? [];
  const byLease = ipamType === "host-local" ? findLeases(request) : [];
  const known = [...byResult, ...byLease.filter((ip) => !byResult.some((other) => other.equals(ip)))];
  return known.length === 0 ? undefined : known;
}

/** The other end goes with it. */
function deleteInterface(netns: OpenNetns, ifname: string): void {
  using rtnl = new Rtnl({ netns });
  try {
    rtnl.links.delete(ifname);
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}

async function attempt(step: () => void | Promise<void>, request: PluginRequest): Promise<void> {
  try {
    await step();
  } catch (error) {
    request.warn(`while taking back a failed ADD: ${(error as Error).message}`);
  }
}
