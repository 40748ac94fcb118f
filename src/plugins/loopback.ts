import { CniError, cniErrorCode } from "../cni/errors.ts";
import type { Plugin, PluginRequest } from "../cni/plugin.ts";
import { emptyResult, type Result } from "../cni/result.ts";
import { Rtnl } from "../linux/route/rtnl.ts";
import { openNetns, tryOpenNetns } from "./netns.ts";

/** Whatever CNI_IFNAME says, it is this interface. */
const name = "lo";

/** Brings up the loopback interface of the container. */
export const loopback: Plugin = {
  name: "loopback",
  keys: [],

  add({ invocation, config }: PluginRequest): Result {
    using netns = openNetns(invocation.netns);
    using rtnl = new Rtnl({ netns });
    rtnl.links.set(name, { up: true });
    if (config.prevResult !== undefined) return config.prevResult;
    const { index } = rtnl.links.get(name);
    const ips = [4, 6].flatMap((family) => {
      const addresses = rtnl.addresses.list({ link: index, family: family as 4 | 6 });
      const foreign = addresses.find(({ address }) => family === 4 && !address.ip.isLoopback());
      if (foreign !== undefined) {
        throw new CniError(
          cniErrorCode.internal,
          `loopback interface found with non-loopback address "${foreign.address}"`,
          { remedy: "Remove the address from lo in the container's namespace" },
        );
      }
      const first = addresses[0];
      return first === undefined ? [] : [{ interface: 0, address: first.address }];
    });
    const lo = { name, mac: "00:00:00:00:00:00", sandbox: invocation.netns };
    return { ...emptyResult(), interfaces: [lo], ips };
  },

  del({ invocation }: PluginRequest): void {
    using netns = tryOpenNetns(invocation.netns);
    if (netns === undefined) return;
    using rtnl = new Rtnl({ netns });
    rtnl.links.set(name, { up: false });
  },

  check({ invocation }: PluginRequest): void {
    using netns = openNetns(invocation.netns);
    using rtnl = new Rtnl({ netns });
    if (!rtnl.links.get(name).up) {
      throw new CniError(cniErrorCode.internal, "loopback interface is down", {
        remedy: `Set lo up in ${invocation.netns}`,
      });
    }
  },
};
