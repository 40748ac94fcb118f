import type { Ip } from "../lib/ip.ts";
import type { Prefix } from "../lib/prefix.ts";
import { isExists, isNotFound } from "../linux/errors.ts";
import { type LeanElement, type LeanKey, LeanNft } from "../linux/lean/nft.ts";
import { type Attachment, commentOf } from "./attachment.ts";

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

function keyOf(ip: Ip): LeanKey {
  return { set: masqueradeMap(ip.family), key: ip.bytes };
}

/**
 * Masquerades what comes from these addresses (each with its network's length). An address that an earlier attachment
 * left behind is taken over.
 */
export async function addMasquerade(attachment: Attachment, addresses: readonly Prefix[]): Promise<void> {
  using nft = new LeanNft(tableName);
  const comment = commentOf(attachment);
  const chains = new Map(addresses.map((address) => [masqueradeChain(address.masked()), address.masked()]));
  const missing = [...chains]
    .filter(([chain]) => nft.chainUse(chain) === undefined)
    .map(([, network]) => network);
  if (missing.length > 0) await makeStructure(missing);
  const elements = addresses.map((address): LeanElement => {
    return { ...keyOf(address.ip), data: masqueradeChain(address.masked()), comment };
  });
  for (let attempt = 1; ; attempt++) {
    try {
      nft.add(elements, presentAmong(nft, elements));
      return;
    } catch (error) {
      // Another process removed the chain with its last element, or gave the element to somebody else.
      if (attempt === 3 || (!isNotFound(error) && !isExists(error))) throw error;
      await makeStructure([...chains.values()]);
    }
  }
}

async function makeStructure(networks: readonly Prefix[]): Promise<void> {
  const { addMasqueradeStructure } = await import("./masquerade-table.ts");
  addMasqueradeStructure(networks);
}

function presentAmong(nft: LeanNft, keys: readonly LeanKey[]): LeanKey[] {
  return keys.filter((key) => nft.find(key) !== undefined);
}

/**
 * Takes back what {@link addMasquerade} did for an attachment. Without `ips` all elements are looked through. Elements
 * that belong to another attachment by now stay. Nothing to take back is fine.
 */
export async function removeMasquerade(
  attachment: Attachment,
  ips: readonly Ip[] | undefined,
): Promise<void> {
  if (ips === undefined) {
    const { searchMasquerade } = await import("./masquerade-table.ts");
    searchMasquerade(attachment);
    return;
  }
  using nft = new LeanNft(tableName);
  const comment = commentOf(attachment);
  const own: LeanKey[] = [];
  const chains = new Set<string>();
  for (const ip of ips) {
    const element = nft.find(keyOf(ip));
    if (element?.comment !== comment) continue;
    own.push(keyOf(ip));
    if (element.chain !== undefined) chains.add(element.chain);
  }
  if (own.length === 0) return;
  try {
    nft.delete(own);
  } catch (error) {
    // A second DEL of the same attachment was quicker.
    if (!isNotFound(error)) throw error;
  }
  const unused = [...chains].filter((chain) => (nft.chainUse(chain) ?? 0) <= rulesOfChain);
  if (unused.length === 0) return;
  const { removeMasqueradeChains } = await import("./masquerade-table.ts");
  removeMasqueradeChains(unused);
}

/** True where the address of the attachment is masqueraded. */
export function isMasqueraded(attachment: Attachment, ip: Ip): boolean {
  using nft = new LeanNft(tableName);
  return nft.find(keyOf(ip))?.comment === commentOf(attachment);
}
