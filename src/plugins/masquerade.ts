import type { Ip } from "../lib/ip.ts";
import type { Prefix } from "../lib/prefix.ts";
import { isExists, isNotFound } from "../linux/errors.ts";
import { type LeanElement, type LeanKey, LeanNft } from "../linux/lean/nft.ts";
import { type Attachment, commentOf } from "./attachment.ts";
import { masqueradeChain, masqueradeMap, rulesOfChain, tableName } from "./masquerade-names.ts";

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
