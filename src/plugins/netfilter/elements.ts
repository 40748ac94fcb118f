import { anyOf } from "../../lib/lists.ts";
import { isNotFound } from "../../linux/errors.ts";
import type { LeanElement, LeanKey, LeanNft } from "../../linux/lean/nft.ts";
import { untilUndisturbed } from "./optimistic.ts";

/*
 * What the plugins have in the maps of table inet weft-cni: elements, whose comments say which attachment they belong to,
 * and chains that are there as long as an element leads to them.
 */

/**
 * Runs a change of elements that needs chains and maps. `make` makes them (safe to repeat): first where `isThere` is not
 * true, and anew where another process has just removed them with their last element.
 */
export async function withStructure(
  isThere: boolean,
  make: () => Promise<void>,
  change: () => Promise<void>,
): Promise<void> {
  if (!isThere) await make();
  for (let attempt = 1; ; attempt++) {
    try {
      await change();
      return;
    } catch (error) {
      if (attempt === 3 || !isNotFound(error)) throw error;
      await make();
    }
  }
}

/** Adds elements in place of those that are there, whoever they belong to. Throws ENOENT where a map or chain is missing. */
export async function setElements(nft: LeanNft, elements: readonly LeanElement[]): Promise<void> {
  await untilUndisturbed(() => {
    const generation = nft.generation();
    const present: LeanKey[] = [];
    for (const key of elements) if (nft.find(key) !== undefined) present.push(key);
    nft.add(elements, present, generation);
  });
}

/**
 * Removes those of the elements that bear a comment, and no other. Returns the chains that they led to; undefined where
 * none was there, perhaps because a DEL before was killed in the middle.
 */
export async function removeOwn(
  nft: LeanNft,
  keys: readonly LeanKey[],
  comment: string,
): Promise<ReadonlySet<string> | undefined> {
  return await untilUndisturbed(() => {
    const generation = nft.generation();
    const chains = new Set<string>();
    const own: LeanKey[] = [];
    for (const key of keys) {
      const element = nft.find(key);
      if (element?.comment !== comment) continue;
      own.push(key);
      if (element.chain !== undefined) chains.add(element.chain);
    }
    if (own.length === 0) return undefined;
    nft.delete(own, generation);
    return chains;
  });
}

/** True where no element leads to one of the chains any more; `rules` is how many rules such a chain has at most. */
export function isAnyUnused(nft: LeanNft, chains: ReadonlySet<string>, rules: number): boolean {
  return anyOf(chains, (chain) => (nft.chainUse(chain) ?? 0) <= rules);
}
