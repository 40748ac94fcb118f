import { InvalidInput } from "../lib/errors.ts";
import type { Ip } from "../lib/ip.ts";
import type { Prefix } from "../lib/prefix.ts";

/** The settings of one agent, checked. */
export interface AgentConfig {
  /** The prefixes of all pods; one per family. */
  readonly clusterCidrs: readonly Prefix[];
  /** The prefixes of ClusterIPs. */
  readonly serviceCidrs: readonly Prefix[];
  /** Further destinations that pod traffic reaches with its own address. */
  readonly nonMasqueradeCidrs: readonly Prefix[];
  /** Such as "cluster.local". */
  readonly clusterDomain: string;
  /** Addresses on which pods find the cluster's DNS. */
  readonly clusterDns: readonly Ip[];
  /** Where names outside the cluster are looked up; from resolv.conf where empty. */
  readonly upstreamDns: readonly string[];
  readonly resolvConf: string;
  /** Where runtimes look for network configurations. */
  readonly cniConfDir: string;
  /** Where runtimes look for plugin executables. */
  readonly cniBinDir: string;
  /** How the executables get there: a copy survives the removal of Weft's own files, a link is instant. */
  readonly cniInstall: "copy" | "link";
  /** Where leases are kept (host-local's `dataDir`). */
  readonly ipamDir: string;
  /** What the agent remembers over a restart; may be lost. */
  readonly stateDir: string;
  readonly bridge: string;
  /** MTU of pod links, in bytes; the node link's where undefined. */
  readonly mtu: number | undefined;
  /** Where /healthz, /readyz and /metrics listen: address and port. */
  readonly health: { readonly address: string; readonly port: number };
}

/** Refuses pods' and ClusterIPs' prefixes that overlap, or more than one of a family. */
export function checkCidrs(clusterCidrs: readonly Prefix[], serviceCidrs: readonly Prefix[]): void {
  for (const cluster of clusterCidrs) {
    for (const service of serviceCidrs) {
      if (cluster.overlaps(service)) {
        throw new InvalidInput("--cluster-cidr", String(cluster), `overlaps --service-cidr "${service}"`, {
          remedy: "Choose prefixes that share no address",
        });
      }
    }
  }
  for (const [flag, cidrs] of [
    ["--cluster-cidr", clusterCidrs],
    ["--service-cidr", serviceCidrs],
  ] as const) {
    const odd = cidrs.find(
      ({ ip }) => ip.isLoopback() || ip.isMulticast() || ip.isLinkLocal() || ip.isUnspecified(),
    );
    if (odd !== undefined) {
      throw new InvalidInput(flag, String(odd), "is not of unicast addresses that can be routed", {
        remedy: "Take a private network, such as 10.244.0.0/16 or fd00:10:244::/56",
      });
    }
    const families = cidrs.map((prefix) => prefix.family);
    if (families.length === 0) {
      throw new InvalidInput(flag, "", "has no prefix", {
        remedy: "Give one IPv4 prefix, one IPv6 prefix, or one of each",
      });
    }
    if (new Set(families).size !== families.length) {
      throw new InvalidInput(flag, cidrs.join(","), "has two prefixes of one family", {
        remedy: "Give one IPv4 prefix, one IPv6 prefix, or one of each",
      });
    }
  }
}

/** Refuses settings that contradict each other; names both fields. */
export function checkConfig(config: AgentConfig): AgentConfig {
  checkCidrs(config.clusterCidrs, config.serviceCidrs);
  for (const dns of config.clusterDns) {
    if (config.clusterCidrs.some((cidr) => cidr.contains(dns))) {
      throw new InvalidInput(
        "--cluster-dns",
        String(dns),
        "lies in a cluster CIDR, where it could be a pod's",
        {
          remedy: "Take an address of the service CIDR",
        },
      );
    }
  }
  return config;
}
