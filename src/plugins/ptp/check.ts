import type { PluginRequest } from "../../cni/plugin.ts";
import type { Result } from "../../cni/result.ts";
import { LeanRtnl } from "../../linux/lean/rtnl.ts";
import type { Link } from "../../linux/route/link.ts";
import { Rtnl } from "../../linux/route/rtnl.ts";
import { checkIpMasq } from "../netfilter/ip-masq.ts";
import { describedInterface, mismatch, requireLink, requirePrevResult } from "../shared/check-link.ts";
import { checkInterface } from "../shared/interface-check.ts";
import { openNetns } from "../shared/netns.ts";
import type { PtpConfig } from "./config.ts";

/** Compares what the result of ADD says with what is there, at both ends. Throws a CniError that names the difference. */
export async function checkPtp(request: PluginRequest, { ipMasq, ipMasqBackend }: PtpConfig): Promise<void> {
  const prevResult = requirePrevResult(request);
  using netns = openNetns(request.invocation.netns);
  using container = new Rtnl({ netns: { fd: netns.fd } });
  const inside = requireLink(container, describedInterface(request, prevResult), "veth");
  checkInterface(container, inside, prevResult);
  checkHost(prevResult, inside);
  if (!ipMasq) return;
  const addresses = prevResult.ips.map(({ address }) => address);
  await checkIpMasq(request, ipMasqBackend, addresses);
}

function checkHost(prevResult: Result, inside: Link): void {
  using host = new Rtnl();
  const outside = prevResult.interfaces
    .filter(({ sandbox }) => sandbox === undefined)
    .flatMap(({ name }) => host.links.find(name) ?? [])
    .find(({ index, parent }) => index === inside.parent && parent === inside.index);
  if (outside === undefined) throw mismatch(`the host's end of ${inside.name} was not found`);
  const described = prevResult.interfaces.find(({ name }) => name === outside.name);
  if (described !== undefined) requireLink(host, described, "veth");
  if (!outside.up) throw mismatch(`interface ${outside.name} is down`);
  const present = host.addresses.list({ link: outside.index }).map(({ address }) => address.ip);
  using lookup = new LeanRtnl();
  for (const { address, gateway } of prevResult.ips) {
    if (gateway !== undefined && !present.some((ip) => ip.equals(gateway))) {
      throw mismatch(`gateway ${gateway} is not an address of interface ${outside.name}`);
    }
    if (lookup.outgoingLink(address.ip) !== outside.index) {
      throw mismatch(`${address.ip} is not reached by interface ${outside.name}`);
    }
  }
}
