import { CniError, cniErrorCode } from "../cni/errors.ts";
import type { PluginRequest } from "../cni/plugin.ts";
import type { Result, ResultInterface } from "../cni/result.ts";
import type { Link } from "../linux/route/link.ts";
import { Rtnl } from "../linux/route/rtnl.ts";
import { attachmentOf } from "./attachment.ts";
import type { BridgeConfig } from "./bridge-config.ts";
import { checkInterface } from "./interface-check.ts";
import { isMasqueraded } from "./masquerade.ts";
import { openNetns } from "./netns.ts";

/** Compares what the result of ADD says with what is there. Throws a {@link CniError} that names the difference. */
export function checkBridge(request: PluginRequest, config: BridgeConfig): void {
  const { prevResult } = request.config;
  const { ifname, netns: path } = request.invocation;
  if (prevResult === undefined) {
    throw new CniError(cniErrorCode.invalidNetworkConfig, "Required prevResult missing", {
      remedy: "CHECK needs the result of ADD under prevResult",
    });
  }
  using netns = openNetns(path);
  using host = new Rtnl();
  using container = new Rtnl({ netns: { fd: netns.fd } });
  const bridgeLink = checkBridgeLink(host, prevResult, config);
  const inContainer = prevResult.interfaces.find(({ name, sandbox }) => name === ifname && sandbox === path);
  if (inContainer === undefined) {
    const sandbox = prevResult.interfaces.find(({ name }) => name === ifname)?.sandbox ?? "";
    throw mismatch(`Sandbox in prevResult ${sandbox} doesn't match configured netns: ${path}`);
  }
  const containerLink = requireLink(container, inContainer, "veth");
  checkPort(host, prevResult, bridgeLink, containerLink, config);
  checkInterface(container, containerLink, prevResult);
  if (!config.ipMasq) return;
  for (const { address } of prevResult.ips) {
    if (!isMasqueraded(attachmentOf(request), address.ip)) {
      throw mismatch(`traffic from ${address.ip} is not masqueraded`);
    }
  }
}

function checkBridgeLink(host: Rtnl, result: Result, config: BridgeConfig): Link {
  const described = result.interfaces.find(
    ({ name, sandbox }) => name === config.bridge && sandbox === undefined,
  );
  if (described === undefined) throw mismatch(`prevResult does not name bridge "${config.bridge}"`);
  const link = requireLink(host, described, "bridge");
  if (link.promiscuous !== config.promiscMode) {
    throw mismatch(
      `Bridge interface ${link.name} configured Promisc Mode ${config.promiscMode} doesn't match current state: ${link.promiscuous}`,
    );
  }
  return link;
}

/** The link that a result describes. */
function requireLink(rtnl: Rtnl, { name, mac }: ResultInterface, kind: string): Link {
  const link = rtnl.links.find(name);
  if (link === undefined) throw mismatch(`Interface name ${name} not found`);
  if (link.kind !== kind) throw mismatch(`Interface ${name} does not have link type of ${kind}`);
  if (mac !== undefined && mac.toLowerCase() !== link.mac) {
    throw mismatch(`Interface ${name} Mac doesn't match: ${mac} is expected, it is ${link.mac}`);
  }
  return link;
}

function checkPort(host: Rtnl, result: Result, bridgeLink: Link, inside: Link, config: BridgeConfig): void {
  const ports = result.interfaces.filter(
    ({ name, sandbox }) => sandbox === undefined && name !== bridgeLink.name,
  );
  for (const described of ports) {
    const link = host.links.find(described.name);
    if (link?.kind !== "veth" || link.parent !== inside.index || inside.parent !== link.index) continue;
    requireLink(host, described, "veth");
    if (link.master !== bridgeLink.index) {
      throw mismatch(`Interface ${link.name} is not a port of bridge ${bridgeLink.name}`);
    }
    if ((link.bridgePort?.hairpin ?? false) !== config.hairpinMode) {
      throw mismatch(`Interface ${link.name} hairpin mode is not ${config.hairpinMode}`);
    }
    return;
  }
  throw mismatch(`CNI veth created for bridge ${bridgeLink.name} was not found`);
}

/** A difference between the result and the system. */
function mismatch(problem: string): CniError {
  return new CniError(cniErrorCode.internal, problem, {
    remedy: "Delete the container's sandbox and make it anew",
  });
}
