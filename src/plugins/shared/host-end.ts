import { CniError, cniErrorCode } from "../../cni/errors.ts";
import type { PluginRequest } from "../../cni/plugin.ts";
import type { Result } from "../../cni/result.ts";
import { quote } from "../../lib/errors.ts";
import { anyOf } from "../../lib/lists.ts";
import { type LeanLink, LeanRtnl } from "../../linux/lean/rtnl.ts";
import { openNetns } from "./netns.ts";

/** The host's end of the pair that CNI_IFNAME is the other end of. */
export function hostEnd(
  { invocation: { netns, ifname } }: PluginRequest,
  host: LeanRtnl,
  { interfaces }: Result,
): LeanLink {
  using open = openNetns(netns);
  using container = new LeanRtnl(open.fd);
  const link = container.find(ifname);
  const remedy = "Use bandwidth behind a plugin that makes a veth pair, such as bridge or ptp";
  const fail = (problem: string) => new CniError(cniErrorCode.internal, problem, { remedy });
  if (interfaces.length === 0) throw fail("no interfaces provided");
  if (link?.kind !== "veth" || link.parent === undefined) {
    throw fail(`container interface ${quote(ifname)} has no veth peer`);
  }
  const port = host.find(link.parent);
  if (port === undefined || port.kind !== "veth" || port.parent !== link.index) {
    throw fail(`veth peer with index ${link.parent} is not in host ns`);
  }
  if (anyOf(interfaces, ({ name, sandbox }) => sandbox === undefined && name === port.name)) return port;
  throw fail("no veth peer of container interface found in host ns");
}
