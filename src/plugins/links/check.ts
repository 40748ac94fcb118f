import type { PluginRequest } from "../../cni/plugin.ts";
import type { Link } from "../../linux/route/link.ts";
import type { Rtnl } from "../../linux/route/rtnl.ts";
import { describedInterface, mismatch, requireLink, requirePrevResult } from "../shared/check-link.ts";
import { checkInterface } from "../shared/interface-check.ts";
import type { ChildConfig, ChildLink } from "./link.ts";
import { requireMaster } from "./master.ts";

/**
 * Compares a container's link with the result of ADD and with the configuration. Throws a `CniError` that names the
 * difference.
 */
export function checkChild(
  request: PluginRequest,
  { link: wanted, master }: ChildConfig,
  { host, container }: { host: Rtnl; container: Rtnl },
): void {
  const prevResult = requirePrevResult(request);
  const { ifname } = request.invocation;
  const link = requireLink(container, describedInterface(request, prevResult), wanted.kind);
  checkSettings(link, wanted);
  if (master?.name !== undefined) {
    const below = requireMaster(master.inContainer ? container : host, master);
    if (link.parent !== below.index || (link.parentNetnsId === undefined) !== master.inContainer) {
      throw mismatch(`Interface ${ifname} is not on master ${below.name}`);
    }
  }
  checkInterface(container, link, prevResult);
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
