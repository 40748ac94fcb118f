import type { Prefix } from "../../lib/prefix.ts";

/*
 * Packets from a container to outside of its own network leave with an address of the host. In table inet weft-cni:
 *
 *     chain postrouting (nat, srcnat)      ip saddr vmap @masquerade4      the same for IPv6
 *     map masquerade4                      10.244.1.7 : jump masquerade-10.244.1.0/24   comment: the attachment
 *     chain masquerade-10.244.1.0/24       to 10.244.1.0/24 or multicast: leave it; else masquerade
 *
 * One element for each address, one chain for each network's prefix: a packet costs one lookup, however many
 * containers there are. What is not the element is in masquerade-table.ts, which an ordinary ADD need not load.
 */

/** All that Weft's plugins have in nftables: table `inet weft-cni`. */
export const tableName = "weft-cni";

/** The base chain, and how many rules it has: one for each family. */
export const postroutingChain = { name: "postrouting", rules: 2 } as const;

/** The map of a family. */
export function masqueradeMap(family: 4 | 6): string {
  return `masquerade${family}`;
}

/** The chain for addresses of a network: "masquerade-10.244.1.0/24". nft's names cannot have colons. */
export function masqueradeChain(network: Prefix): string {
  return `masquerade-${String(network).replaceAll(":", "_")}`;
}

/** How many rules {@link masqueradeChain} has. */
export const rulesOfChain = 3;
