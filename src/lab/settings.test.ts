import { describe, expect, test } from "bun:test";
import { explain, InvalidInput } from "../lib/errors.ts";
import { Prefix } from "../lib/prefix.ts";
import type { NodeMasks } from "./model.ts";
import { settleNetworks } from "./settings.ts";

const prefixes = (text: string) => text.split(",").map((each) => Prefix.parse(each));
const usual = {
  clusterCidrs: prefixes("10.244.0.0/16,fd00:10:244::/56"),
  serviceCidrs: prefixes("10.96.0.0/16,fd00:10:96::/112"),
};

interface Asked {
  cluster?: string;
  service?: string;
  nodes?: number;
  joining?: number;
  masks?: NodeMasks;
}

/** Settles them as the command does: texts, or the error. */
function settle({
  cluster,
  service,
  nodes = 3,
  joining = 0,
  masks = { 4: 24, 6: 64 },
}: Asked): string | unknown {
  const typed = {
    ...(cluster === undefined ? {} : { clusterCidrs: prefixes(cluster) }),
    ...(service === undefined ? {} : { serviceCidrs: prefixes(service) }),
  };
  try {
    const { clusterCidrs, serviceCidrs } = settleNetworks({ typed, usual, nodeMasks: masks, nodes, joining });
    return `${clusterCidrs.join(",")} ${serviceCidrs.join(",")}`;
  } catch (error) {
    return error;
  }
}

describe("takes", () => {
  const good: [string, Asked, string][] = [
    [
      "the defaults",
      { nodes: 20, joining: 1 },
      "10.244.0.0/16,fd00:10:244::/56 10.96.0.0/16,fd00:10:96::/112",
    ],
    [
      "just enough podCIDRs",
      { cluster: "10.1.0.0/22,fd00::/62", nodes: 4 },
      "10.1.0.0/22,fd00::/62 10.96.0.0/16,fd00:10:96::/112",
    ],
    [
      "just enough with those that join",
      { cluster: "10.1.0.0/22", nodes: 3, joining: 1 },
      "10.1.0.0/22 10.96.0.0/16",
    ],
    [
      "small podCIDRs",
      { cluster: "10.1.0.0/24,fd00::/64", nodes: 4, masks: { 4: 26, 6: 120 } },
      "10.1.0.0/24,fd00::/64 10.96.0.0/16,fd00:10:96::/112",
    ],
    ["one podCIDR", { cluster: "10.1.0.0/24", nodes: 1 }, "10.1.0.0/24 10.96.0.0/16"],
    ["pods of one family", { cluster: "fd00::/48" }, "fd00::/48 fd00:10:96::/112"],
    ["the smallest service prefixes", { service: "10.96.0.0/27" }, "10.244.0.0/16 10.96.0.0/27"],
    ["the smallest of IPv6", { service: "fd00::/123" }, "fd00:10:244::/56 fd00::/123"],
    [
      "Services of one of two families",
      { cluster: "10.1.0.0/16,fd00::/56", service: "10.96.0.0/16" },
      "10.1.0.0/16,fd00::/56 10.96.0.0/16",
    ],
    [
      "IPv6 first",
      { cluster: "fd00:1::/56,10.1.0.0/16", service: "fd00:2::/112,10.2.0.0/16" },
      "fd00:1::/56,10.1.0.0/16 fd00:2::/112,10.2.0.0/16",
    ],
  ];
  test.each(good)("%s", (_, asked, settled) => {
    expect(settle(asked)).toBe(settled);
  });
});

describe("refuses", () => {
  const bad: [string, Asked, string][] = [
    [
      "an overlap with what was not typed",
      { cluster: "10.96.0.0/12" },
      '--cluster-cidr: "10.96.0.0/12" overlaps --service-cidr "10.96.0.0/16", its default. Choose prefixes that share no address',
    ],
    [
      "an overlap, by the option that was typed",
      { service: "10.244.8.0/24" },
      '--service-cidr: "10.244.8.0/24" overlaps --cluster-cidr "10.244.0.0/16", its default. Choose prefixes that share no address',
    ],
    [
      "an overlap of two that were typed",
      { cluster: "fd00::/48", service: "fd00::/112" },
      '--cluster-cidr: "fd00::/48" overlaps --service-cidr "fd00::/112". Choose prefixes that share no address',
    ],
    [
      "pods on the fabric",
      { cluster: "172.16.0.0/12" },
      '--cluster-cidr: "172.16.0.0/12" overlaps 172.30.0.0/24, the lab\'s own fabric. Choose a prefix that shares no address with 172.30.0.0/24',
    ],
    [
      "Services on the fabric",
      { service: "fd00:172:30::/112" },
      '--service-cidr: "fd00:172:30::/112" overlaps fd00:172:30::/64, the lab\'s own fabric. Choose a prefix that shares no address with fd00:172:30::/64',
    ],
    [
      "a service prefix of another family",
      { cluster: "10.1.0.0/16", service: "fd00:1::/112" },
      '--service-cidr: "fd00:1::/112" is of IPv6, of which --cluster-cidr "10.1.0.0/16" has no prefix. Give --cluster-cidr a prefix of IPv6 too, or --service-cidr one of IPv4 only',
    ],
    [
      "a second service prefix of a family that pods do not have",
      { cluster: "fd00:1::/56", service: "fd00:2::/112,10.2.0.0/16" },
      '--service-cidr: "10.2.0.0/16" is of IPv4, of which --cluster-cidr "fd00:1::/56" has no prefix. Give --cluster-cidr a prefix of IPv4 too, or --service-cidr one of IPv6 only',
    ],
    [
      "too few podCIDRs",
      { cluster: "10.1.0.0/23", nodes: 3 },
      '--cluster-cidr: "10.1.0.0/23" has room for 2 of 3 podCIDRs of /24, one for each node. Give a /22 or larger, or fewer --nodes',
    ],
    [
      "too few with the one that joins",
      { cluster: "fd00:1::/62", nodes: 4, joining: 1 },
      '--cluster-cidr: "fd00:1::/62" has room for 4 of 5 podCIDRs of /64, one for each node, of which 1 joins later. Give a /61 or larger, or fewer --nodes',
    ],
    [
      "too few of the length that was asked for",
      { cluster: "10.1.0.0/24", masks: { 4: 25, 6: 64 } },
      '--cluster-cidr: "10.1.0.0/24" has room for 2 of 3 podCIDRs of /25, one for each node. Give a /23 or larger, or fewer --nodes',
    ],
    [
      "a prefix smaller than a podCIDR",
      { cluster: "10.1.0.0/25", nodes: 1 },
      '--cluster-cidr: "10.1.0.0/25" has room for 0 of 1 podCIDR of /24, one for each node. Give a /24 or larger',
    ],
    [
      "a service prefix without room",
      { service: "10.96.0.0/30" },
      '--service-cidr: "10.96.0.0/30" is too small for the cluster\'s DNS, which has its tenth address, and Services. Give a /27 or larger',
    ],
    [
      "an IPv6 service prefix without room",
      { service: "10.96.0.0/16,fd00:2::/124" },
      '--service-cidr: "fd00:2::/124" is too small for the cluster\'s DNS, which has its tenth address, and Services. Give a /123 or larger',
    ],
    [
      "two prefixes of one family",
      { service: "10.1.0.0/16,10.2.0.0/16" },
      '--service-cidr: "10.1.0.0/16,10.2.0.0/16" has two prefixes of one family. Give one IPv4 prefix, one IPv6 prefix, or one of each',
    ],
    [
      "addresses that are not unicast",
      { cluster: "224.0.0.0/8" },
      '--cluster-cidr: "224.0.0.0/8" is not of unicast addresses that can be routed. Take a private network, such as 10.244.0.0/16 or fd00:10:244::/56',
    ],
  ];
  test.each(bad)("%s", (_, asked, message) => {
    const error = settle(asked);
    expect(error).toBeInstanceOf(InvalidInput);
    expect(explain(error)).toBe(message);
  });
});
