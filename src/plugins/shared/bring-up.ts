import type { Result } from "../../cni/result.ts";
import { LeanRtnl } from "../../linux/lean/rtnl.ts";
import { inNamespace } from "../../linux/lean/socket.ts";
import { beKnown, configureInterface, tryWriteSysctl } from "./interface.ts";
import type { OpenNetns } from "./netns.ts";

/*
 * Interfaces that may have no carrier for long, such as a tap before a virtual machine takes it: IPv6 must not look for
 * duplicates there, which would not come to an end.
 */

/** Sets up a container's interface. */
export function bringUp(netns: OpenNetns, ifname: string): void {
  inNamespace(netns.fd, () => tryWriteSysctl(`net/ipv6/conf/${ifname}/accept_dad`, "0"));
  using rtnl = new LeanRtnl(netns.fd);
  rtnl.setUp(ifname, true);
}

/** Gives a container's interface what a result says of it, and tells the neighbours. */
export async function bringUpWith(netns: OpenNetns, ifname: string, result: Result): Promise<void> {
  using rtnl = new LeanRtnl(netns.fd);
  const link = rtnl.get(ifname);
  configureInterface({ netns, rtnl, ifname, index: link.index, enableDad: false }, result);
  await beKnown(rtnl, link, result);
}
