import { isNotFound } from "../../linux/errors.ts";
import {
  type Element,
  Nftables,
  type Ruleset,
  type TableRef,
  Transaction,
} from "../../linux/nftables/index.ts";
import { tableName } from "./masquerade-names.ts";
import { untilUndisturbed } from "./optimistic.ts";

/** All that Weft's plugins have in nftables. */
export const table: TableRef = { family: "inet", name: tableName };

/** How the names of the plugins' chains begin. */
const ownChains = /^(?:postrouting$|masquerade-|portmap|firewall|macspoofchk)/;

/** How the names of their sets and maps begin; the kernel names those that stand in rules. */
const ownSets = /^(?:masquerade|portmap|firewall|macspoofchk|__)/;
const adminPrefix = "firewall-admin-";

/** What a plugin has in a table. */
export interface Territory {
  /** Table inet weft-cni where not given. */
  table?: TableRef;
  isMap: (name: string) => boolean;
  /** How the names begin of the chains that are only there for elements that lead to them. */
  chains: readonly string[];
  /** A set whose elements are nobody's, but there for some of those chains. */
  derived?: {
    set: string;
    isNeeded: (key: string, used: ReadonlySet<string>) => boolean;
    /**
     * Is called before its elements go, with those and the others: perhaps several times, and not for the last time with
     * the same.
     */
    prepare?: (gone: readonly string[], kept: readonly string[]) => void;
  };
}

/**
 * Removes the elements that a condition is true for and the chains that nothing leads to any more; and the whole table
 * when nothing but structure would be left, so that a host without containers has no trace of it. One transaction, done
 * anew where somebody else changed something meanwhile. `open` takes the socket; see closingLate.
 */
export async function sweep(
  open: Disposable[],
  territory: Territory,
  isGone: (element: Element) => boolean,
): Promise<void> {
  const nft = new Nftables();
  open.push(nft);
  const of = territory.table ?? table;
  await untilUndisturbed(() => {
    try {
      const ruleset = nft.dump(of);
      nft.apply(removal(of, ruleset, territory, isGone), { generation: ruleset.generation });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  });
}

/** True where an administrator has something of his own in the table: then it stays. */
function hasForeign({
  sets,
  chains,
  rules,
  counters,
}: Pick<Ruleset, "sets" | "chains" | "rules" | "counters">): boolean {
  if (counters.length > 0 || sets.some(({ name }) => !ownSets.test(name))) return true;
  // The firewall's chain for an administrator's rules is made empty.
  const places = new Set(chains.map(({ name }) => name).filter((name) => name.startsWith(adminPrefix)));
  if (chains.some(({ name }) => !ownChains.test(name) && !places.has(`${adminPrefix}${name}`))) return true;
  return rules.some(({ chain }) => !ownChains.test(chain) || places.has(`${adminPrefix}${chain}`));
}

function removal(
  of: TableRef,
  { sets, chains, rules, counters }: Ruleset,
  territory: Territory,
  isGone: (element: Element) => boolean,
): Transaction {
  const transaction = new Transaction(of);
  const used = new Set<string>();
  let left = 0;
  for (const set of sets) {
    if (set.name === territory.derived?.set) continue;
    const isOwn = territory.isMap(set.name);
    const gone: Element[] = [];
    for (const element of set.elements ?? []) {
      if (isOwn && isGone(element)) gone.push(element);
      else {
        left++;
        const { data } = element;
        if (typeof data === "object" && "chain" in data && data.chain !== undefined) used.add(data.chain);
      }
    }
    transaction.deleteElements(set, gone);
  }
  const { derived } = territory;
  for (const set of sets) {
    if (derived === undefined || set.name !== derived.set) continue;
    const gone: Element[] = [];
    const kept: string[] = [];
    for (const element of set.elements ?? []) {
      const key = String(element.key);
      if (derived.isNeeded(key, used)) kept.push(key);
      else gone.push(element);
    }
    derived.prepare?.(
      gone.map(({ key }) => String(key)),
      kept,
    );
    transaction.deleteElements(set, gone);
  }
  if (left === 0 && !hasForeign({ sets, chains, rules, counters }))
    return new Transaction(of).delete({ kind: "table", ...of });
  for (const { name } of chains) {
    if (territory.chains.some((start) => name.startsWith(start)) && !used.has(name))
      transaction.delete({ kind: "chain", name });
  }
  return transaction;
}
