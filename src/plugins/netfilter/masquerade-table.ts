import type { AttachmentKey } from "../../cni/plugin.ts";
import type { Prefix } from "../../lib/prefix.ts";
import { ip, ip6, ipOf, is, masquerade, returnVerdict, rule, vmap } from "../../linux/nftables/expr.ts";
import { type Chain, type Element, Nftables, type NftMap, Transaction } from "../../linux/nftables/index.ts";
import { commentOf, isOfNetwork } from "../shared/attachment.ts";
import { closingLate } from "../shared/closing.ts";
import { masqueradeChain, masqueradeMap, postroutingChain, rulesOfChain } from "./masquerade-names.ts";
import { sweep, table } from "./nft-table.ts";

/*
 * The structure around the elements that masquerade.ts adds (see masquerade-names.ts), and what looks through all of them.
 */

const srcnat = 100;

const postrouting: Chain = {
  kind: "chain",
  name: postroutingChain.name,
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

/** True where no rule is missing that an address (with its network's length) needs besides its element. */
export function hasMasqueradeRules(address: Prefix): boolean {
  using nft = new Nftables();
  const { rules } = nft.dump(table, { elements: () => false });
  const has = (chain: string, count: number) => rules.filter((each) => each.chain === chain).length >= count;
  return (
    has(postroutingChain.name, postroutingChain.rules) && has(masqueradeChain(address.masked()), rulesOfChain)
  );
}

/** Removes the elements that a condition is true for, and what nothing needs any more; see {@link sweep}. */
export async function sweepMasquerade(
  open: Disposable[],
  isGone: (element: Element) => boolean,
): Promise<void> {
  await sweep(open, { isMap: (name) => name.startsWith("masquerade"), chains: ["masquerade-"] }, isGone);
}

/** Removes the elements of a network whose attachment is not among the valid ones. */
export async function collectMasquerade(network: string, valid: readonly AttachmentKey[]): Promise<void> {
  const keep = new Set(valid.map(({ containerId, ifname }) => commentOf({ network, containerId, ifname })));
  await closingLate((open) =>
    sweepMasquerade(open, ({ comment = "" }) => isOfNetwork(comment, network) && !keep.has(comment)),
  );
}
