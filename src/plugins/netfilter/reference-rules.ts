import { isNotFound, isNotSupported } from "../../linux/errors.ts";
import { Nftables, type Rule, type TableRef, Transaction } from "../../linux/nftables/index.ts";
import { untilUndisturbed } from "./optimistic.ts";

/*
 * What the reference plugins made in nftables for a container, and Weft removes: a node's plugins may have been replaced
 * while containers were running. Their rules say in comments whose they are.
 */

/**
 * Removes the rules of a table of the reference's that a condition is true for, and the chains of that names. The rest of
 * the table stays. `open` takes the socket; see closingLate.
 */
export async function removeReferenceRules(
  open: Disposable[],
  table: TableRef,
  isGone: (rule: Rule) => boolean,
  chains: readonly string[] = [],
): Promise<void> {
  const nft = new Nftables();
  open.push(nft);
  await untilUndisturbed(() => {
    try {
      const { rules, chains: present, generation } = nft.dump(table, { elements: () => false });
      const transaction = new Transaction(table);
      for (const rule of rules) {
        if (rule.handle === undefined || !isGone(rule)) continue;
        transaction.delete({ kind: "rule", chain: rule.chain, handle: rule.handle });
      }
      const gone = present.filter(({ name }) => chains.includes(name));
      for (const { name } of gone) transaction.flush({ kind: "chain", name });
      for (const { name } of gone) transaction.delete({ kind: "chain", name });
      nft.apply(transaction, { generation });
    } catch (error) {
      if (!isNotFound(error) && !isNotSupported(error)) throw error;
    }
  });
}

function hash(text: string): string {
  return new Bun.CryptoHasher("sha512").update(text).digest("hex").slice(0, 16);
}

/** Whose a rule of the table cni_plugins_masquerade is, as its comment begins. */
export function masqueradeOwner(network: string, containerId: string, ifname: string): string {
  return `${hash(network)}-${hash(`${ifname}:${containerId}`)}`;
}
