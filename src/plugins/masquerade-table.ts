import type { AttachmentKey } from "../cni/plugin.ts";
import type { Prefix } from "../lib/prefix.ts";
import { isBusy, isNotFound } from "../linux/errors.ts";
import { ip, ip6, ipOf, is, masquerade, returnVerdict, rule, vmap } from "../linux/nftables/expr.ts";
import { type Chain, type Element, Nftables, type NftMap, Transaction } from "../linux/nftables/index.ts";
import { type Attachment, commentOf, isOfNetwork } from "./attachment.ts";
import { masqueradeChain, masqueradeMap } from "./masquerade-names.ts";
import { elementsOf, removeEmptyTable, table } from "./nft-table.ts";

/*
 * The structure around the elements that masquerade.ts adds (see masquerade-names.ts), and what looks through all of them.
 */

const srcnat = 100;

const postrouting: Chain = {
  kind: "chain",
  name: "postrouting",
  type: "nat",
  hook: "postrouting",
  priority: srcnat,
};

function mapOf(family: 4 | 6): NftMap {
  const key = family === 4 ? "ipv4_addr" : "ipv6_addr";
  return { kind: "map", name: masqueradeMap(family), key, data: "verdict" };
}

/** Makes table, maps, base chain and the networks' chains, or makes them anew. Safe to repeat. */
export function addMasqueradeStructure(networks: readonly Prefix[]): void {
  using nft = new Nftables();
  const transaction = new Transaction(table)
    .add({ kind: "table", ...table }, mapOf(4), mapOf(6), postrouting)
    .flush({ kind: "chain", name: postrouting.name })
    .add(rule(table.family, postrouting.name, vmap(ip.saddr, mapOf(4))))
    .add(rule(table.family, postrouting.name, vmap(ip6.saddr, mapOf(6))));
  for (const network of networks) addNetwork(transaction, network);
  nft.apply(transaction);
}

function addNetwork(transaction: Transaction, network: Prefix): void {
  const chain = masqueradeChain(network);
  const { daddr } = ipOf(network.family);
  const multicast = network.family === 4 ? "224.0.0.0/4" : "ff00::/8";
  transaction
    .add({ kind: "chain", name: chain })
    .flush({ kind: "chain", name: chain })
    .add(rule(table.family, chain, is(daddr, String(network)), returnVerdict))
    .add(rule(table.family, chain, is(daddr, multicast), returnVerdict))
    .add(rule(table.family, chain, masquerade()));
}

/** Removes whatever an attachment has, wherever its addresses were. */
export function searchMasquerade(attachment: Attachment): void {
  const comment = commentOf(attachment);
  removeElements((element) => element.comment === comment);
}

/** Removes the elements of a network whose attachment is not among the valid ones. */
export function collectMasquerade(network: string, valid: readonly AttachmentKey[]): void {
  const keep = new Set(valid.map(({ containerId, ifname }) => commentOf({ network, containerId, ifname })));
  removeElements(({ comment = "" }) => isOfNetwork(comment, network) && !keep.has(comment));
}

function removeElements(isGone: (element: Element) => boolean): void {
  using nft = new Nftables();
  const transaction = new Transaction(table);
  const chains = new Set<string>();
  for (const family of [4, 6] as const) {
    const gone = elementsOf(nft, mapOf(family)).filter(isGone);
    transaction.destroyElements(mapOf(family), gone);
    for (const { data } of gone) {
      if (typeof data === "object" && "chain" in data && data.chain !== undefined) chains.add(data.chain);
    }
  }
  if (transaction.operations.length === 0) return;
  nft.apply(transaction);
  removeMasqueradeChains(chains);
}

/** Removes chains that nothing leads to, and the table when they were the last. The kernel keeps one that is used. */
export function removeMasqueradeChains(chains: Iterable<string>): void {
  using nft = new Nftables();
  for (const name of chains) {
    try {
      nft.apply(new Transaction(table).delete({ kind: "chain", name }));
    } catch (error) {
      if (!isBusy(error) && !isNotFound(error)) throw error;
    }
  }
  removeEmptyTable(nft);
}
