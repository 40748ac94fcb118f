import { explain, WeftError } from "../../lib/errors.ts";
import { isNotSupported } from "../../linux/errors.ts";
import { type Kernel, openKernel } from "../../linux/kernel.ts";
import { createNetns, deleteNetns } from "../../linux/netns.ts";
import { Transaction } from "../../linux/nftables/transaction.ts";

/** A feature of the kernel that pods' networks need, and a try of it in an empty namespace. */
interface Need {
  what: string;
  /** Such as "CONFIG_BRIDGE (module bridge)". */
  option: string;
  attempt(kernel: Kernel): unknown;
}

const table = { family: "inet", name: "weft-preflight" } as const;

const needs: readonly Need[] = [
  {
    what: "bridges",
    option: "CONFIG_BRIDGE (module bridge)",
    attempt: ({ rtnl }) => rtnl.links.add({ kind: "bridge", name: "br0", up: true }),
  },
  {
    what: "veth pairs",
    option: "CONFIG_VETH (module veth)",
    attempt: ({ rtnl }) => rtnl.links.add({ kind: "veth", name: "v0", peer: { name: "v1" } }),
  },
  {
    what: "IPv4",
    option: "CONFIG_INET",
    attempt: ({ rtnl }) => rtnl.addresses.add({ link: "br0", address: "192.0.2.1/24" }),
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

/**
 * Tries what pods' networks need in a namespace of its own, which goes at once. Throws one error that names every
 * feature that the kernel lacks and how to get it.
 */
export function preflight(): void {
  const name = `weft-preflight-${process.pid}`;
  createNetns(name);
  const missing: string[] = [];
  try {
    const kernel = openKernel({ name });
    try {
      for (const { what, option, attempt } of needs) {
        try {
          attempt(kernel);
        } catch (error) {
          missing.push(isNotSupported(error) ? `${what}: ${option}` : `${what}: ${explain(error)}`);
        }
      }
    } finally {
      kernel.close();
    }
  } finally {
    deleteNetns(name);
  }
  if (missing.length === 0) return;
  throw new WeftError(
    "kernel-feature",
    `this kernel cannot do what pods' networks need: ${missing.join("; ")}`,
    {
      remedy: "Load the module, or boot a kernel that has it",
    },
  );
}
