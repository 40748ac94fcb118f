import type { AttachmentKey, PluginRequest } from "../../cni/plugin.ts";

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
 * Whom an nftables element belongs to, as its comment: "network/container id/interface". DEL of one container must not
 * take what another one with the same address has by now. What would be too long is hashed.
 */
export function commentOf({ network, containerId, ifname }: Attachment): string {
  const plain = `${network}/${containerId}/${ifname}`;
  if (plain.length < longestComment) return plain;
  return `${hash(network)}/${hash(containerId)}/${ifname}`;
}

/** True for comments of attachments of the network. */
export function isOfNetwork(comment: string, network: string): boolean {
  return comment.startsWith(`${network}/`) || comment.startsWith(`${hash(network)}/`);
}

const aliasPrefix = "weft: ";

/** The alias of a link of the host that is an attachment's: for GC, and for whoever reads `ip link`. */
export function aliasOf(attachment: Attachment): string {
  return `${aliasPrefix}${commentOf(attachment)}`;
}

/** True for an alias by {@link aliasOf}. */
export function isAlias(alias: string): boolean {
  return alias.startsWith(aliasPrefix);
}

/** True for the alias of an attachment of the network. */
export function isAliasOfNetwork(alias: string, network: string): boolean {
  return isAlias(alias) && isOfNetwork(alias.slice(aliasPrefix.length), network);
}

function hash(text: string): string {
  return `sha256-${new Bun.CryptoHasher("sha256").update(text).digest("hex").slice(0, 40)}`;
}
