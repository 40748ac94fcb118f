import { isNotFound } from "../linux/errors.ts";
import {
  type Element,
  isGenerationChanged,
  type Nftables,
  type NftMap,
  type NftSet,
  type TableRef,
  Transaction,
} from "../linux/nftables/index.ts";
import { tableName } from "./masquerade-names.ts";

/** All that Weft's plugins have in nftables. */
export const table: TableRef = { family: "inet", name: tableName };

/** The elements of a set or map; none where it is not there. */
export function elementsOf(nft: Nftables, set: NftSet | NftMap): Element[] {
  try {
    return nft.elements(table, set);
  } catch (error) {
    if (isNotFound(error)) return [];
    throw error;
  }
}

/** Deletes the table when nothing but its structure is left, so that a node without containers has no trace of it. */
export function removeEmptyTable(nft: Nftables): void {
  try {
    const { generation, sets } = nft.dump(table);
    if (sets.some(({ elements = [] }) => elements.length > 0)) return;
    nft.apply(new Transaction(table).delete({ kind: "table", ...table }), { generation });
  } catch (error) {
    // Gone, or used by another attachment since the dump.
    if (!isNotFound(error) && !isGenerationChanged(error)) throw error;
  }
}
