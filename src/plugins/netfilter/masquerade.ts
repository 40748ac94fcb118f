import type { Ip } from "../../lib/ip.ts";
import { anyOf } from "../../lib/lists.ts";
import type { Prefix } from "../../lib/prefix.ts";
import { type LeanElement, type LeanKey, LeanNft } from "../../linux/lean/nft.ts";
import { type Attachment, commentOf } from "../shared/attachment.ts";
import { isAnyUnused, removeOwn, setElements, withStructure } from "./elements.ts";
import {
  masqueradeChain,
  masqueradeMap,
  postroutingChain,
  rulesOfChain,
  tableName,
} from "./masquerade-names.ts";

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
  await withStructure(
    isInForce(nft) && !anyOf(networks, (network) => nft.chainUse(masqueradeChain(network)) === undefined),
    () => makeStructure(networks),
    () => setElements(nft, elements),
  );
}

/** False where somebody has emptied the base chain: then no element does anything. */
function isInForce(nft: LeanNft): boolean {
  return (nft.chainUse(postroutingChain.name) ?? 0) >= postroutingChain.rules;
}

async function makeStructure(networks: readonly Prefix[]): Promise<void> {
  const { addMasqueradeStructure } = await import("./masquerade-table.ts");
  addMasqueradeStructure(networks);
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
  if (ips !== undefined) {
    const chains = await removeOwn(nft, ips.map(keyOf), commentOf(attachment));
    if (chains !== undefined && !isAnyUnused(nft, chains, rulesOfChain)) return;
  }
  await sweepOwn(open, attachment);
}

/** As {@link removeMasquerade} where there is most likely nothing, and what a killed DEL left is looked for by GC. */
export async function removeKnownMasquerade(
  open: Disposable[],
  nft: LeanNft,
  attachment: Attachment,
  ips: readonly Ip[] | undefined,
): Promise<void> {
  if (ips !== undefined) {
    const chains = await removeOwn(nft, ips.map(keyOf), commentOf(attachment));
    if (chains === undefined || !isAnyUnused(nft, chains, rulesOfChain)) return;
  }
  await sweepOwn(open, attachment);
}

async function sweepOwn(open: Disposable[], attachment: Attachment): Promise<void> {
  const { sweepMasquerade } = await import("./masquerade-table.ts");
  const comment = commentOf(attachment);
  await sweepMasquerade(open, (element) => element.comment === comment);
}

/** True where the address of the attachment is masqueraded, if the rules around the elements are as they were made. */
export function isMasqueraded(attachment: Attachment, ip: Ip): boolean {
  using nft = new LeanNft(tableName);
  return nft.find(keyOf(ip))?.comment === commentOf(attachment);
}
