import type { Ip } from "../../lib/ip.ts";
import { anyOf } from "../../lib/lists.ts";
import type { Prefix } from "../../lib/prefix.ts";
import { isNotFound } from "../../linux/errors.ts";
import { type LeanElement, type LeanKey, LeanNft } from "../../linux/lean/nft.ts";
import { type Attachment, commentOf } from "../shared/attachment.ts";
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
  const networks: Prefix[] = [];
  const elements: LeanElement[] = [];
  for (const address of addresses) {
    const network = address.masked();
    if (!anyOf(networks, (other) => other.equals(network))) networks.push(network);
    elements.push({ ...keyOf(address.ip), data: masqueradeChain(network), comment });
  }
  if (anyOf(networks, (network) => nft.chainUse(masqueradeChain(network)) === undefined)) {
    await makeStructure(networks);
  }
  for (let attempt = 1; ; attempt++) {
    try {
      nft.atOneGeneration((generation) => nft.add(elements, presentAmong(nft, elements), generation));
      return;
    } catch (error) {
      // Another process removed the chain with its last element.
      if (attempt === 3 || !isNotFound(error)) throw error;
      await makeStructure(networks);
    }
  }
}

async function makeStructure(networks: readonly Prefix[]): Promise<void> {
  const { addMasqueradeStructure } = await import("./masquerade-table.ts");
  addMasqueradeStructure(networks);
}

function presentAmong(nft: LeanNft, keys: readonly LeanKey[]): LeanKey[] {
  const present: LeanKey[] = [];
  for (const key of keys) if (nft.find(key) !== undefined) present.push(key);
  return present;
}

/**
 * Takes back what {@link addMasquerade} did for an attachment. Without `ips` all elements are looked through. Elements
 * that belong to another attachment by now stay. Nothing to take back is fine.
 * `open` takes the sockets; see closingLate.
 */
export async function removeMasquerade(
  open: Disposable[],
  nft: LeanNft,
  attachment: Attachment,
  ips: readonly Ip[] | undefined,
): Promise<void> {
  if (ips !== undefined && removeElements(nft, attachment, ips) === "in use") return;
  await sweepOwn(open, attachment);
}

/** As {@link removeMasquerade} where there is most likely nothing, and what a killed DEL left is looked for by GC. */
export async function removeKnownMasquerade(
  open: Disposable[],
  nft: LeanNft,
  attachment: Attachment,
  ips: readonly Ip[] | undefined,
): Promise<void> {
  if (ips !== undefined && removeElements(nft, attachment, ips) !== "unused") return;
  await sweepOwn(open, attachment);
}

async function sweepOwn(open: Disposable[], attachment: Attachment): Promise<void> {
  const { sweepMasquerade } = await import("./masquerade-table.ts");
  const comment = commentOf(attachment);
  await sweepMasquerade(open, (element) => element.comment === comment);
}

/**
 * Removes the attachment's own elements: "none" where it had none, perhaps because a DEL before was killed in the middle;
 * else whether one of their chains is "unused" now, or all are still "in use".
 */
function removeElements(
  nft: LeanNft,
  attachment: Attachment,
  ips: readonly Ip[],
): "none" | "unused" | "in use" {
  const comment = commentOf(attachment);
  const chains = new Set<string>();
  const removed = nft.atOneGeneration((generation) => {
    const own: LeanKey[] = [];
    for (const ip of ips) {
      const element = nft.find(keyOf(ip));
      if (element?.comment !== comment) continue;
      own.push(keyOf(ip));
      if (element.chain !== undefined) chains.add(element.chain);
    }
    if (own.length > 0) nft.delete(own, generation);
    return own.length;
  });
  if (removed === 0) return "none";
  return anyOf(chains, (chain) => (nft.chainUse(chain) ?? 0) <= rulesOfChain) ? "unused" : "in use";
}

/** True where the address of the attachment is masqueraded. */
export function isMasqueraded(attachment: Attachment, ip: Ip): boolean {
  using nft = new LeanNft(tableName);
  return nft.find(keyOf(ip))?.comment === commentOf(attachment);
}
