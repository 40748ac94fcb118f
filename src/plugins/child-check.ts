import { CniError, cniErrorCode } from "../cni/errors.ts";
import type { PluginRequest } from "../cni/plugin.ts";
import type { ResultInterface } from "../cni/result.ts";
import type { Link } from "../linux/route/link.ts";
import type { Rtnl } from "../linux/route/rtnl.ts";
import type { ChildLink } from "./child-link.ts";
import type { ChildConfig } from "./child-plugin.ts";
import { checkInterface } from "./interface-check.ts";
import { requireMaster } from "./master.ts";

/**
 * Compares a container's link with the result of ADD and with the configuration. Throws a {@link CniError} that names the
 * difference.
 */
export function checkChild(
  request: PluginRequest,
  { link: wanted, master }: ChildConfig,
  { host, container }: { host: Rtnl; container: Rtnl },
): void {
  const { prevResult } = request.config;
  const { ifname, netns } = request.invocation;
  if (prevResult === undefined) {
    throw new CniError(cniErrorCode.invalidNetworkConfig, "Required prevResult missing", {
      remedy: "CHECK needs the result of ADD under prevResult",
    });
  }
  const described = prevResult.interfaces.find(({ name, sandbox }) => name === ifname && sandbox === netns);
  if (described === undefined) {
    const sandbox = prevResult.interfaces.find(({ name }) => name === ifname)?.sandbox ?? "";
    throw mismatch(`Sandbox in prevResult ${sandbox} doesn't match configured netns: ${netns}`);
  }
  const link = requireLink(container, described, wanted.kind);
  checkSettings(link, wanted);
  if (master?.name !== undefined) {
    const below = requireMaster(master.inContainer ? container : host, master);
    if (link.parent !== below.index || (link.parentNetnsId === undefined) !== master.inContainer) {
      throw mismatch(`Interface ${ifname} is not on master ${below.name}`);
    }
  }
  checkInterface(container, link, prevResult);
}

function requireLink(container: Rtnl, { name, mac }: ResultInterface, kind: string): Link {
  const link = container.links.find(name);
  if (link === undefined) throw mismatch(`Interface name ${name} not found`);
  if (link.kind !== kind) throw mismatch(`Container interface ${name} not of type ${kind}`);
  if (mac !== undefined && mac.toLowerCase() !== link.mac) {
    throw mismatch(`Interface ${name} Mac ${mac} doesn't match container Mac: ${link.mac}`);
  }
  return link;
}

function checkSettings(link: Link, wanted: ChildLink): void {
  const settings: [string, unknown, unknown][] = [
    ["MTU", wanted.mtu, link.mtu],
    ["mode", wanted.macvlan?.mode, link.macvlan?.mode],
    ["mode", wanted.ipvlan?.mode, link.ipvlan?.mode],
    ["VLAN", wanted.vlan?.id, link.vlan?.id],
    ["broadcast queue length", wanted.macvlan?.broadcastQueueLength, link.macvlan?.broadcastQueueLength],
  ];
  for (const [name, expected, actual] of settings) {
    if (expected !== undefined && expected !== actual) {
      throw mismatch(`Interface ${link.name} ${name} ${actual} does not match expected value: ${expected}`);
    }
  }
}

function mismatch(problem: string): CniError {
  return new CniError(cniErrorCode.internal, problem, {
    remedy: "Delete the container's sandbox and make it anew",
  });
}
