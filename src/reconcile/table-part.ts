import { isDeepStrictEqual } from "node:util";
import { isNotFound } from "../linux/errors.ts";
import { rule, type Statement } from "../linux/nftables/expr.ts";
import {
  type Chain,
  type Element,
  type NftablesApi,
  type NftMap,
  type NftSet,
  type Rule,
  type Table,
  type TableRef,
  Transaction,
  type Values,
  type Verdict,
} from "../linux/nftables/index.ts";

/** The agent's table, which its features share. */
export const weftTable: TableRef = { family: "inet", name: "weft" };

/** The parts of the table: all names in it begin with one of these and a dash. What does not is a stranger's. */
export const tableParts = ["services", "masquerade", "policy"] as const;
export type TablePartName = (typeof tableParts)[number];

export interface ChainWithRules {
  readonly chain: Chain;
  readonly rules: readonly Rule[];
}

/** Sets and maps, and chains with their rules in order. */
export interface Ruleset {
  readonly sets: readonly (NftSet | NftMap)[];
  readonly chains: readonly ChainWithRules[];
}

/** What shall be in a part of the table. */
export interface DesiredPart extends Ruleset {
  /** The elements of a set by their keys, both as text (see {@link elementOf}); not asked for dynamic sets. */
  elements(set: string): ReadonlyMap<string, string>;
}

/** What is in the table, with the elements of a part. */
export interface ActualPart {
  /** By name. */
  readonly chains: ReadonlyMap<string, ChainWithRules>;
  /** The elements of a set by their keys, as text. */
  elements(set: string): ReadonlyMap<string, string>;
}

/** A chain and its rules, each a list of conditions and actions. */
export function chainOf(chain: Omit<Chain, "kind">, ...rules: Statement[][]): ChainWithRules {
  return {
    chain: { kind: "chain", ...chain },
    rules: rules.map((statements) => rule(weftTable.family, chain.name, ...statements)),
  };
}

/** An element from text, as nft writes it: "10.96.0.1 . tcp . 80" and "goto chain", "10.0.0.1 . 8080", or "" in a set. */
export function elementOf(set: NftSet | NftMap, key: string, value: string): Element {
  const values: Values = typeof set.key === "string" ? key : key.split(" . ");
  if (set.kind === "set") return { key: values };
  if (set.data !== "verdict") {
    return { key: values, data: typeof set.data === "string" ? value : value.split(" . ") };
  }
  const [verdict, chain] = value.split(" ") as [Verdict["verdict"], string | undefined];
  return { key: values, data: chain === undefined ? { verdict } : { verdict, chain } };
}

/** The inverse of {@link elementOf}. */
export function elementText({ key, data }: Element): [key: string, value: string] {
  return [textOf(key), data === undefined ? "" : textOf(data)];
}

function textOf(value: Values | Verdict): string {
  if (typeof value !== "object") return String(value);
  if (!("verdict" in value)) return Array.isArray(value) ? value.join(" . ") : String(value);
  return value.chain === undefined ? value.verdict : `${value.verdict} ${value.chain}`;
}

/** All of the table as it was found. */
interface Found extends ActualPart {
  readonly generation: number;
  readonly table: Table | undefined;
  readonly sets: ReadonlyMap<string, NftSet | NftMap>;
}

/**
 * One feature's part of the table `inet weft`. It touches only names that begin with the part's own, and such as belong to
 * no part; another part's objects, and other tables, it leaves alone. Every change is one transaction.
 */
export class TablePart {
  readonly name: TablePartName;
  readonly #nft: NftablesApi;
  #generation: number | undefined;
  #read: Found | undefined;

  constructor(nft: NftablesApi, name: TablePartName) {
    this.#nft = nft;
    this.name = name;
  }

  /** What is there now. It is not read again for the next repair, if nothing changes until then. */
  read(): ActualPart {
    this.#read = this.#find();
    return this.#read;
  }

  /** The elements of one set now, as text; none where it is not there. */
  elementsOf(set: NftSet | NftMap): Map<string, string> {
    try {
      return new Map(this.#nft.elements(weftTable, set).map(elementText));
    } catch (error) {
      if (isNotFound(error)) return new Map();
      throw error;
    }
  }

  /** True where somebody else changed nftables (in whichever table) since this part was last known to be right. */
  get maybeChanged(): boolean {
    return this.#nft.generation() !== this.#generation;
  }

  /**
   * Makes the part what it shall be, whatever it is now; a part that is right is not written to. Returns how many
   * operations that took.
   */
  repair(desired: DesiredPart): number {
    const known = this.#read;
    this.#read = undefined;
    const found = known?.generation === this.#nft.generation() ? known : this.#find();
    const transaction = new Transaction(weftTable);
    plan(transaction, this.name, found, desired);
    this.#generation = found.generation;
    if (transaction.operations.length > 0) this.apply(transaction);
    return transaction.operations.length;
  }

  /** Applies a change of this part that follows from what it is known to be. */
  apply(transaction: Transaction): void {
    const before = this.#nft.generation();
    this.#nft.apply(transaction);
    // Only where nobody came between is all that happened known.
    const known = before === this.#generation && this.#nft.generation() === before + 1;
    this.#generation = known ? before + 1 : undefined;
  }

  /** Removes the part, and the table with it where nothing else is in it. Returns false where there was nothing. */
  remove(): boolean {
    const found = this.#find();
    if (found.table === undefined) return false;
    const transaction = new Transaction(weftTable);
    const names = [...found.chains.keys(), ...found.sets.keys()];
    if (names.every((name) => !isOfOther(name, this.name))) {
      transaction.delete({ kind: "table", ...weftTable });
    } else wipe(transaction, found, (name) => isOf(name, this.name));
    if (transaction.operations.length === 0) return false;
    this.#nft.apply(transaction);
    return true;
  }

  /**
   * Reads the table, and of its elements the part's own. Those are read set by set: where others write to nftables often,
   * the whole would hardly be read in one state. What changes meanwhile shows in the generation, and is looked at again.
   */
  #find(): Found {
    const generation = this.#nft.generation();
    try {
      const { table, chains, sets, rules } = this.#nft.dump(weftTable, { elements: () => false });
      const byChain = Map.groupBy(rules, (found) => found.chain);
      const own = sets.filter(({ name }) => isOf(name, this.name)).filter((set) => !isDynamic(set));
      const elements = new Map(own.map((set) => [set.name, this.elementsOf(set)] as const));
      return {
        generation,
        table,
        chains: new Map(
          chains.map((chain) => [chain.name, { chain, rules: byChain.get(chain.name) ?? [] }] as const),
        ),
        sets: new Map(sets.map((set) => [set.name, set] as const)),
        elements: (name) => elements.get(name) ?? new Map(),
      };
    } catch (error) {
      if (!isNotFound(error)) throw error;
      return { generation, table: undefined, ...nothing };
    }
  }
}

/** Its elements come from packets. */
function isDynamic(set: NftSet | NftMap): boolean {
  return set.flags?.includes("dynamic") ?? false;
}

const nothing = {
  chains: new Map<string, ChainWithRules>(),
  sets: new Map<string, NftSet | NftMap>(),
  elements: () => new Map<string, string>(),
};

function isOf(name: string, part: TablePartName): boolean {
  return name.startsWith(`${part}-`);
}

function isOfOther(name: string, part: TablePartName): boolean {
  return tableParts.some((other) => other !== part && isOf(name, other));
}

/** Adds to a transaction what makes a part right. */
function plan(transaction: Transaction, part: TablePartName, found: Found, desired: DesiredPart): void {
  const isOurs = (name: string) => !isOfOther(name, part);
  if (found.table === undefined) transaction.add({ kind: "table", ...weftTable });
  else if (found.table.flags !== undefined) transaction.add({ kind: "table", ...weftTable, flags: [] });
  let actual = found;
  if (isIncompatible(found, desired)) {
    wipe(transaction, found, isOurs);
    actual = { ...found, ...nothing };
  }
  const chains = new Map(desired.chains.map((entry) => [entry.chain.name, entry] as const));
  const sets = new Map(desired.sets.map((set) => [set.name, set] as const));
  const extraChains = [...actual.chains.keys()].filter((name) => isOurs(name) && !chains.has(name));
  const extraSets = [...actual.sets.values()].filter(({ name }) => isOurs(name) && !sets.has(name));
  transaction.flush(...extraChains.map((name) => ({ kind: "chain", name }) as const));
  transaction.add(...desired.sets.filter(({ name }) => !actual.sets.has(name)));
  transaction.add(...desired.chains.map(({ chain }) => chain).filter(({ name }) => !actual.chains.has(name)));
  for (const { chain, rules } of desired.chains) planRules(transaction, chain, rules, actual);
  for (const set of desired.sets) planElements(transaction, set, actual, desired);
  transaction.delete(...extraSets.map(({ kind, name }) => ({ kind, name }) as const));
  transaction.delete(...extraChains.map((name) => ({ kind: "chain", name }) as const));
}

/** True where something has the right name and is something else: sets and base chains cannot be changed. */
function isIncompatible(found: Found, desired: DesiredPart): boolean {
  return (
    desired.sets.some((set) => {
      const other = found.sets.get(set.name);
      return other !== undefined && !isSame(set, other);
    }) ||
    desired.chains.some(({ chain }) => {
      const other = found.chains.get(chain.name);
      return other !== undefined && !isSame(chain, other.chain);
    })
  );
}

/** The same but for what only the kernel gives. */
function isSame(wanted: object, found: object): boolean {
  const bare = (value: object) =>
    Object.fromEntries(
      Object.entries(value).filter(([name, field]) => name !== "handle" && field !== undefined),
    );
  return isDeepStrictEqual(bare(wanted), bare(found));
}

/** Removes objects by name: first rules and sets, which hold the chains. */
function wipe(transaction: Transaction, found: Found, isMeant: (name: string) => boolean): void {
  const chains = [...found.chains.keys()].filter(isMeant).map((name) => ({ kind: "chain", name }) as const);
  const sets = [...found.sets.values()]
    .filter(({ name }) => isMeant(name))
    .map(({ kind, name }) => ({ kind, name }) as const);
  transaction.flush(...chains).delete(...sets, ...chains);
}

function planRules(transaction: Transaction, chain: Chain, rules: readonly Rule[], actual: Found): void {
  const found = actual.chains.get(chain.name);
  const expressions = (list: readonly Rule[]) => list.map((entry) => entry.expressions);
  if (found !== undefined && isDeepStrictEqual(expressions(found.rules), expressions(rules))) return;
  if (found !== undefined) transaction.flush({ kind: "chain", name: chain.name });
  transaction.add(...rules);
}

function planElements(
  transaction: Transaction,
  set: NftSet | NftMap,
  actual: Found,
  desired: DesiredPart,
): void {
  if (isDynamic(set)) return;
  const is = actual.elements(set.name);
  const shall = desired.elements(set.name);
  const gone: Element[] = [];
  const added: Element[] = [];
  for (const [key, value] of is) if (shall.get(key) !== value) gone.push(elementOf(set, key, value));
  for (const [key, value] of shall) if (is.get(key) !== value) added.push(elementOf(set, key, value));
  transaction.deleteElements(set, gone).addElements(set, added);
}
