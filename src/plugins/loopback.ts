import { CniError, cniErrorCode } from "../cni/errors.ts";
import type { Plugin, PluginRequest } from "../cni/plugin.ts";
import { emptyResult, type Result } from "../cni/result.ts";
import { LeanRtnl } from "../linux/lean/rtnl.ts";
import { openNetns, tryOpenNetns } from "./shared/netns.ts";

/** Whatever CNI_IFNAME says, it is this interface. */
const name = "lo";

/** Brings up the loopback interface of the container. */
export const loopback: Plugin = {
  name: "loopback",
  knowsNoArgs: true,
  keys: [],

  add({ invocation, config }: PluginRequest): Result {
    using netns = openNetns(invocation.netns);
    using rtnl = new LeanRtnl(netns.fd);
    const { index, up } = rtnl.get(name);
    rtnl.setUp(index, true);
    const addresses = rtnl.addresses(index);
    const foreign = addresses.find(({ ip }) => !ip.isLoopback());
    if (foreign !== undefined) {
      if (!up) rtnl.setUp(index, false);
      throw new CniError(
        cniErrorCode.internal,
        `loopback interface found with non-loopback address "${foreign.ip}"`,
        { remedy: "Remove the address from lo in the container's namespace" },
      );
    }
    if (config.prevResult !== undefined) return config.prevResult;
    const ips = [4, 6].flatMap((family) => {
      const address = addresses.find((other) => other.family === family);
      return address === undefined ? [] : [{ interface: 0, address }];
    });
    const lo = { name, mac: "00:00:00:00:00:00", sandbox: invocation.netns };
    return { ...emptyResult(), interfaces: [lo], ips };
  },

  del({ invocation }: PluginRequest): void {
    using netns = tryOpenNetns(invocation.netns);
    if (netns === undefined) return;
    using rtnl = new LeanRtnl(netns.fd);
    rtnl.setUp(name, false);
  },

  check({ invocation }: PluginRequest): void {
    using netns = openNetns(invocation.netns);
    using rtnl = new LeanRtnl(netns.fd);
    if (!rtnl.get(name).up) {
      throw new CniError(cniErrorCode.internal, "loopback interface is down", {
        remedy: `Set lo up in ${invocation.netns}`,
      });
    }
  },
};
