import type { Chain, Counter, Elements, NftMap, NftObject, NftSet, Rule, Table, TableRef } from "./model.ts";

/** How to apply a transaction. */
export interface ApplyOptions {
  /**
   * The generation that the caller has seen: where the ruleset has changed since, nothing is done and ERESTART thrown
   * (see {@link isGenerationChanged}).
   */
  readonly generation?: number;
  /** Ask for the new generation and the handles of new rules. */
  readonly report?: boolean;
}

/** What the kernel tells of an applied transaction, where it is asked to report. */
export interface Applied {
  /** The ruleset's generation after the transaction. */
  readonly generation: number | undefined;
  /** The handles of the rules that were added, by the objects that were given. */
  readonly handles: ReadonlyMap<NftObject, number>;
}

/** What can be named for deletion: the objects themselves, or as little of them as names them. */
export type Removable =
  | Table
  | Elements
  | (TableRef & { readonly kind: "table" })
  | (Pick<Chain, "table" | "name"> & { readonly kind: "chain" })
  | (Pick<NftSet, "table" | "name"> & { readonly kind: "set" | "map" })
  | (Pick<Counter, "table" | "name"> & { readonly kind: "counter" })
  | (Pick<Rule, "table" | "chain"> & { readonly kind: "rule"; readonly handle: number });

/** What can be emptied: all rules of a table or chain, all elements of a set or map. */
export type Flushable =
  | (TableRef & { readonly kind: "table" })
  | (Pick<Chain, "table" | "name"> & { readonly kind: "chain" })
  | (Pick<NftSet, "table" | "name"> & { readonly kind: "set" | "map" });

/** One step of a transaction. */
export type Operation =
  | { readonly op: "add" | "create"; readonly object: NftObject }
  | { readonly op: "insert"; readonly object: Rule }
  | { readonly op: "replace"; readonly object: Rule & { readonly handle: number } }
  | { readonly op: "delete" | "destroy"; readonly object: Removable }
  | { readonly op: "flush"; readonly object: Flushable };

/**
 * A list of operations that the kernel does all or none of. Objects without a table of their own belong to the one
 * given here. Nothing is sent before {@link Nftables.apply}.
 */
export class Transaction {
  readonly table: TableRef;
  readonly operations: Operation[] = [];

  constructor(table: TableRef) {
    this.table = { family: table.family, name: table.name };
  }

  /** Adds; what is there already in the same form is no error. Rules go to the end of their chain. */
  add(...objects: readonly NftObject[]): this {
    for (const object of objects) this.operations.push({ op: "add", object });
    return this;
  }

  /** Adds; what is there already is an error (EEXIST). */
  create(...objects: readonly NftObject[]): this {
    for (const object of objects) this.operations.push({ op: "create", object });
    return this;
  }

  /** Puts rules at the start of their chain, or before their `position`. */
  insert(...rules: readonly Rule[]): this {
    for (const object of rules) this.operations.push({ op: "insert", object });
    return this;
  }

  /** Puts a rule in the place of the one with the same handle. */
  replace(rule: Rule & { readonly handle: number }): this {
    this.operations.push({ op: "replace", object: rule });
    return this;
  }

  /** Deletes; what is not there is an error (ENOENT). */
  delete(...objects: readonly Removable[]): this {
    for (const object of objects) this.operations.push({ op: "delete", object });
    return this;
  }

  /** Deletes if there. Kernels before 6.3 cannot do so by themselves; see {@link Nftables.apply}. */
  destroy(...objects: readonly Removable[]): this {
    for (const object of objects) this.operations.push({ op: "destroy", object });
    return this;
  }

  /** Removes all rules of a table or chain, or all elements of a set or map. */
  flush(...objects: readonly Flushable[]): this {
    for (const object of objects) this.operations.push({ op: "flush", object });
    return this;
  }

  /** Adds elements to a set or map. An element that is there already with other data is an error (EEXIST or EBUSY). */
  addElements(set: NftSet | NftMap, elements: Elements["elements"]): this {
    return elements.length === 0 ? this : this.add({ kind: "elements", set, elements });
  }

  /** Deletes elements by their keys; one that is not there is an error (ENOENT). */
  deleteElements(set: NftSet | NftMap, elements: Elements["elements"]): this {
    return elements.length === 0 ? this : this.delete({ kind: "elements", set, elements });
  }

  /** Deletes those of the elements that are there. */
  destroyElements(set: NftSet | NftMap, elements: Elements["elements"]): this {
    return elements.length === 0 ? this : this.destroy({ kind: "elements", set, elements });
  }
}
