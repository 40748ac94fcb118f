import type { Ip } from "../lib/ip.ts";
import type { Prefix } from "../lib/prefix.ts";

/** The options by which commands are told the cluster's prefixes. */
export const cidrSpecs = {
  "cluster-cidr": {
    type: "string",
    value: "PREFIX[,PREFIX]",
    help: "all pods' prefixes",
    default: "10.244.0.0/16,fd00:10:244::/56",
  },
  "service-cidr": {
    type: "string",
    value: "PREFIX[,PREFIX]",
    help: "all ClusterIPs' prefixes",
    default: "10.96.0.0/16,fd00:10:96::/112",
  },
} as const;

/** Where the cluster's DNS answers by custom: the tenth address of each service prefix. */
export function customaryDns(serviceCidrs: readonly Prefix[]): Ip[] {
  return serviceCidrs.map((cidr) => cidr.ip.add(10));
}
