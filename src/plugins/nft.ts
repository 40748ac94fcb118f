import { createHash } from "node:crypto";
import type { AttachmentKey, PluginRequest } from "../cni/plugin.ts";
import { isNotFound } from "../linux/errors.ts";
import { isGenerationChanged } from "../linux/nftables/errors.ts";
import type { TableRef } from "../linux/nftables/model.ts";
import type { Nftables } from "../linux/nftables/nftables.ts";
import { Transaction } from "../linux/nftables/transaction.ts";

/** All that Weft's plugins have in nftables. */
export const table: TableRef = { family: "inet", name: "weft-cni" };

/** An attachment on a network. */
export interface Attachment extends AttachmentKey {
  network: string;
}

/** The attachment that a request is about. */
export function attachmentOf({ config, invocation: { containerId, ifname } }: PluginRequest): Attachment {
  return { network: config.name, containerId, ifname };
}

/** nft shows and takes comments up to this length. */
const longestComment = 128;

/**
 * Whom an element belongs to, as its comment: "network/container id/interface". DEL of one container must not take
 * what another one with the same address has by now. What would be too long is hashed.
 */
export function commentOf({ network, containerId, ifname }: Attachment): string {
  const plain = `${network}/${containerId}/${ifname}`;
  if (plain.length <= longestComment) return plain;
  return `${hash(network)}/${hash(containerId)}/${ifname}`;
}

/** True for comments of attachments of the network. */
export function isOfNetwork(comment: string, network: string): boolean {
  return comment.startsWith(`${network}/`) || comment.startsWith(`${hash(network)}/`);
}

function hash(text: string): string {
  return `sha256-${createHash("sha256").update(text).digest("hex").slice(0, 40)}`;
}

/** Deletes the table when nothing but its structure is left, so that a node without containers has no trace of it. */
export function removeEmptyTable(nft: Nftables): void {
  try {
    const { generation, sets } = nft.dump(table);
    if (sets.some(({ elements }) => (elements ?? []).length > 0)) return;
    nft.apply(new Transaction(table).delete({ kind: "table", ...table }), { generation });
  } catch (error) {
    // Gone, or used by another attachment since the dump.
    if (!isNotFound(error) && !isGenerationChanged(error)) throw error;
  }
}
