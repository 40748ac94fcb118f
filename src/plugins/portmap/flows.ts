import { Conntrack } from "../../linux/conntrack/conntrack.ts";
import type { FlowFilter } from "../../linux/conntrack/model.ts";
import { isNotPermitted, isNotSupported } from "../../linux/errors.ts";
import { Rtnl } from "../../linux/route/rtnl.ts";
import { type HostPort, isOfFamily, udp } from "./config.ts";

/**
 * Makes the kernel forget the UDP flows to the mapped ports of this host's own addresses, so that their next packet is
 * looked at anew. A kernel that does not show its connections is no reason to fail.
 */
export function forgetUdpFlows(ports: readonly HostPort[]): void {
  const mappings = ports.filter(({ protocol }) => protocol === udp);
  if (mappings.length === 0) return;
  using rtnl = new Rtnl();
  const own = rtnl.addresses.list().map(({ address }) => address.ip);
  const filters: FlowFilter[] = [];
  for (const mapping of mappings) {
    const { hostIp, hostPort: destinationPort } = mapping;
    const isAnywhere = hostIp === undefined || hostIp.isUnspecified();
    const at = isAnywhere ? own : own.filter((ip) => ip.equals(hostIp));
    for (const destination of at) {
      if (!isOfFamily(mapping, destination.family)) continue;
      const { family } = destination;
      filters.push({ family, protocol: udp, original: { destination, destinationPort } });
    }
  }
  if (filters.length === 0) return;
  using conntrack = new Conntrack();
  try {
    conntrack.delete(filters);
  } catch (error) {
    if (!isNotSupported(error) && !isNotPermitted(error)) throw error;
  }
}
