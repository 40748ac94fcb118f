import { explain, WeftError } from "../../lib/errors.ts";
import type { Family } from "../../lib/ip.ts";
import { isNotSupported } from "../../linux/errors.ts";
import { type Kernel, openKernel } from "../../linux/kernel.ts";
import { withNewNetns } from "../../linux/netns.ts";
import { Transaction } from "../../linux/nftables/transaction.ts";

/** A feature of the kernel that pods' networks need, and a try of it in an empty namespace. */
interface Need {
  what: string;
  /** Such as "CONFIG_BRIDGE (module bridge)". */
  option: string;
  /** Only where pods have addresses of this family. */
  family?: Family;
  attempt(kernel: Kernel): unknown;
}

const table = { family: "inet", name: "weft-preflight" } as const;

/** In an order in which each try finds what it builds on. */
const needs: readonly Need[] = [
  {
    what: "veth pairs",
    option: "CONFIG_VETH (module veth)",
    attempt: ({ rtnl }) => rtnl.links.add({ kind: "veth", name: "v0", up: true, peer: { name: "v1" } }),
  },
  {
    what: "bridges",
    option: "CONFIG_BRIDGE (module bridge)",
    attempt: ({ rtnl }) => {
      rtnl.links.add({ kind: "bridge", name: "br0", up: true });
      rtnl.links.set("v0", { master: "br0" });
    },
  },
  {
    what: "IPv4",
    option: "CONFIG_INET",
    family: 4,
    attempt: ({ rtnl }) => rtnl.addresses.add({ link: "lo", address: "192.0.2.1/24" }),
  },
  {
    what: "IPv6",
    option: "CONFIG_IPV6, without ipv6.disable=1 on the kernel's command line",
    family: 6,
    attempt: ({ rtnl }) => rtnl.addresses.add({ link: "lo", address: "2001:db8::1/64" }),
  },
  {
    what: "nftables with NAT",
    option:
      "CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET, CONFIG_NFT_NAT (modules nf_tables, nft_chain_nat, nft_nat)",
    attempt: ({ nft }) =>
      nft.apply(
        new Transaction(table).add(
          { kind: "table", ...table },
          { kind: "chain", name: "nat", type: "nat", hook: "postrouting", priority: 100 },
        ),
      ),
  },
];

/** Makes the empty kernel in which needs are tried; tests have one that lacks something. */
export type Trial = (attempt: (kernel: Kernel) => void) => void;

const realTrial: Trial = (attempt) =>
  withNewNetns((netns) => {
    const kernel = openKernel(netns);
    try {
      attempt(kernel);
    } finally {
      kernel.close();
    }
  });

/**
 * Tries what pods' networks of these families need, in a namespace of its own, which goes at once. Throws one error
 * that names every feature that the kernel lacks and how to get it.
 */
export function preflight(families: readonly Family[], trial = realTrial): void {
  const missing: string[] = [];
  trial((kernel) => {
    for (const { what, option, family, attempt } of needs) {
      if (family !== undefined && !families.includes(family)) continue;
      try {
        attempt(kernel);
      } catch (error) {
        missing.push(`${what}, ${option}${isNotSupported(error) ? "" : `: ${explain(error)}`}`);
      }
    }
  });
  if (missing.length === 0) return;
  throw new WeftError(
    "kernel-feature",
    `this kernel cannot do what pods' networks need: ${missing.join("; ")}`,
    {
      remedy: "Load the module, or boot a kernel that has it",
    },
  );
}
