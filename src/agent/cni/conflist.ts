import type { Prefix } from "../../lib/prefix.ts";
import type { AgentConfig } from "../config.ts";

/** The name of the network, and of the folder with its leases. */
export const networkName = "weft";
/** Sorts before what others install, as runtimes take the first file by name. */
export const conflistName = "10-weft.conflist";

/** The network configuration list of a node: bridge with host-local over its podCIDRs, then portmap. */
export function conflist(config: AgentConfig, podCidrs: readonly Prefix[], mtu: number): object {
  return {
    cniVersion: "1.0.0",
    name: networkName,
    plugins: [
      {
        type: "bridge",
        bridge: config.bridge,
        mtu,
        isDefaultGateway: true,
        // A node that is registered again may have other podCIDRs: the bridge, which is Weft's, gets their gateway.
        forceAddress: true,
        hairpinMode: true,
        ipMasq: false,
        ipam: {
          type: "host-local",
          dataDir: config.ipamDir,
          ranges: podCidrs.map((cidr) => [{ subnet: String(cidr) }]),
        },
      },
      { type: "portmap", snat: true, capabilities: { portMappings: true } },
    ],
  };
}
