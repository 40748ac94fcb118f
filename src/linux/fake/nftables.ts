import { errno } from "../errno.ts";
import { KernelError } from "../errors.ts";
import { encodeOperations, tableOf } from "../nftables/encode.ts";
import { describe, NftError } from "../nftables/errors.ts";
import type {
  Element,
  Elements,
  NftMap,
  NftObject,
  NftSet,
  Ruleset,
  Table,
  TableRef,
} from "../nftables/model.ts";
import type { DumpOptions, NftablesApi } from "../nftables/nftables.ts";
import type {
  Applied,
  ApplyOptions,
  Flushable,
  Operation,
  Removable,
  Transaction,
} from "../nftables/transaction.ts";
import { Refused } from "./nftables-elements.ts";
import { FakeTable } from "./nftables-table.ts";

/** A refusal, and the element that it is about. */
interface Failure {
  readonly index: number;
  readonly errno: number;
  readonly element?: Element;
}

/**
 * nf_tables without a kernel, for tests: it keeps what it is given, refuses what the kernel refuses with the same errno,
 * and does all of a transaction or nothing. It does not look into registers, and lets no time pass.
 */
export class FakeNftables implements NftablesApi {
  /** Every transaction that was applied, for tests that count them. */
  readonly applied: Transaction[] = [];
  #tables = new Map<string, FakeTable>();
  #tableHandles = 0;
  #generation = 1;

  apply(transaction: Transaction, options: ApplyOptions = {}): Applied {
    // For its complaints: what the kernel could not be told is refused before anything is done.
    encodeOperations(transaction.operations, transaction.table, { destroy: true });
    const { table } = transaction;
    if (options.generation !== undefined && options.generation !== this.#generation) {
      throw new NftError("apply transaction", `to table ${table.family} ${table.name}`, errno.ERESTART);
    }
    // As the kernel does: jumps are followed at the end, and only when that fails after each operation, to name one.
    let { state, failures } = this.#attempt(transaction, false);
    if (failures.length === 0 && !state.isValid()) ({ state, failures } = this.#attempt(transaction, true));
    if (failures.length > 0) throw this.#errorOf(transaction, failures);
    this.#tables = state.tables;
    this.#tableHandles = state.tableHandles;
    if (transaction.operations.length > 0) {
      this.#generation += 1;
      this.applied.push(transaction);
    }
    const { report } = options;
    return report === true
      ? { generation: this.#generation, handles: state.handles }
      : { generation: undefined, handles: new Map() };
  }

  #attempt({ operations, table }: Transaction, validating: boolean): { state: State; failures: Failure[] } {
    const state = new State(this.#tables, this.#tableHandles, validating);
    const failures = operations.flatMap((operation, index) => {
      const failure = state.perform(operation, table);
      return failure === undefined ? [] : [{ ...failure, index }];
    });
    return { state, failures };
  }

  #errorOf({ operations, table }: Transaction, failures: readonly Failure[]): NftError {
    const errors = failures.map(({ index, errno: value, element }) => {
      const { operation, subject } = describe(operations[index] as Operation, table, element);
      return (others: readonly NftError[]) =>
        new NftError(operation, subject, value, { index, element, others });
    });
    const [first, ...rest] = errors as [(typeof errors)[number], ...typeof errors];
    return first(rest.map((make) => make([])));
  }

  dump(table: TableRef, { elements = () => true }: DumpOptions = {}): Ruleset {
    const ruleset = this.#table(table, "read").dump(this.#generation);
    return {
      ...ruleset,
      sets: ruleset.sets.map((set) => {
        const { elements: _, ...bare } = set;
        return elements(set) ? set : bare;
      }),
    };
  }

  elements(table: TableRef, { kind, name }: NftSet | NftMap): Element[] {
    const operation = `list the elements of ${kind} "${name}" in`;
    const set = this.#table(table, operation).sets.get(name);
    if (set === undefined) throw notThere(operation, table);
    return set.elements.list();
  }

  #table(table: TableRef, operation: string): FakeTable {
    const found = this.#tables.get(nameOf(table));
    if (found === undefined) throw notThere(operation, table);
    return found;
  }

  tables(): TableRef[] {
    return [...this.#tables.values()].map(({ table: { family, name } }) => ({ family, name }));
  }

  generation(): number {
    return this.#generation;
  }

  /** Tables with an owner go with it. */
  close(): void {
    for (const [name, { table }] of this.#tables) {
      if (table.flags?.includes("owner") && !table.flags.includes("persist")) this.#tables.delete(name);
    }
  }
}

const notThere = (operation: string, { family, name }: TableRef) =>
  new KernelError(operation, `table ${family} ${name}`, errno.ENOENT);

const nameOf = ({ family, name }: TableRef) => `${family} ${name}`;

/** What a transaction works on: copies of the tables that it touches. */
class State {
  readonly tables: Map<string, FakeTable>;
  readonly handles = new Map<NftObject, number>();
  tableHandles: number;
  readonly #copied = new Set<string>();
  readonly #validating: boolean;

  constructor(tables: ReadonlyMap<string, FakeTable>, tableHandles: number, validating: boolean) {
    this.tables = new Map(tables);
    this.tableHandles = tableHandles;
    this.#validating = validating;
  }

  /** True where no jump in the changed tables leads astray. */
  isValid(): boolean {
    try {
      for (const name of this.#copied) this.tables.get(name)?.validate();
      return true;
    } catch (error) {
      if (error instanceof Refused) return false;
      throw error;
    }
  }

  /** Does one operation, or says why not. */
  perform(operation: Operation, table: TableRef): Omit<Failure, "index"> | undefined {
    let element: Element | undefined;
    try {
      this.#perform(operation, tableOf(operation.object, table), (current) => {
        element = current;
      });
      return undefined;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      return { errno: error.errno, ...(element !== undefined && { element }) };
    }
  }

  #perform({ op, object }: Operation, ref: TableRef, at: (element: Element) => void): void {
    switch (op) {
      case "add":
      case "create":
        this.#add(object, ref, op === "create", at);
        break;
      case "insert":
        this.handles.set(object, this.#table(ref).addRule(object, true));
        break;
      case "replace":
        this.handles.set(object, this.#table(ref).replaceRule(object));
        break;
      case "delete":
        this.#remove(object, ref, at, false);
        break;
      case "destroy":
        this.#remove(object, ref, at, true);
        break;
      case "flush":
        this.#flush(object, ref);
        break;
    }
  }

  #add(object: NftObject, ref: TableRef, exclusive: boolean, at: (element: Element) => void): void {
    switch (object.kind) {
      case "table":
        this.#addTable(object, exclusive);
        break;
      case "chain":
        this.#table(ref).addChain(object, exclusive);
        break;
      case "rule":
        this.handles.set(object, this.#table(ref).addRule(object, false));
        break;
      case "set":
      case "map":
        this.#table(ref).addSet(object, exclusive);
        this.#addElements(ref, object.name, object.elements ?? [], exclusive, at);
        break;
      case "elements":
        this.#addElements(ref, object.set.name, object.elements, exclusive, at);
        break;
      case "counter":
        this.#table(ref).addCounter(object, exclusive);
        break;
    }
  }

  #addElements(
    ref: TableRef,
    set: string,
    elements: readonly Element[],
    exclusive: boolean,
    at: (element: Element) => void,
  ): void {
    const table = this.#table(ref);
    for (const element of elements) {
      at(element);
      table.addElement(set, element, exclusive);
    }
  }

  #addTable(table: Table, exclusive: boolean): void {
    const name = nameOf(table);
    if (!this.tables.has(name)) {
      this.tableHandles += 1;
      const { flags, ...rest } = table;
      const made = { ...rest, ...(flags?.length ? { flags } : {}), handle: this.tableHandles };
      this.tables.set(name, new FakeTable(made, this.#validating));
      this.#copied.add(name);
      return;
    }
    if (exclusive) throw new Refused(errno.EEXIST);
    const old = this.#table(table);
    const has = (flag: "dormant" | "owner", where: Table) => where.flags?.includes(flag) ?? false;
    if (has("owner", table) !== has("owner", old.table)) throw new Refused(errno.EOPNOTSUPP);
    const { flags, ...rest } = old.table;
    const others = flags?.filter((flag) => flag !== "dormant") ?? [];
    const now = has("dormant", table) ? (["dormant", ...others] as const) : others;
    old.table = { ...rest, ...(now.length > 0 && { flags: now }) };
  }

  #remove(object: Removable, ref: TableRef, at: (element: Element) => void, ifThere: boolean): void {
    if (object.kind === "elements") {
      const table = this.#table(ref);
      for (const element of object.elements) {
        at(element);
        if (!table.deleteElement(object.set.name, element) && !ifThere) throw new Refused(errno.ENOENT);
      }
      return;
    }
    try {
      this.#removeObject(object, ref);
    } catch (error) {
      if (!ifThere || !(error instanceof Refused) || error.errno !== errno.ENOENT) throw error;
    }
  }

  #removeObject(object: Exclude<Removable, Elements>, ref: TableRef): void {
    switch (object.kind) {
      case "table":
        if (!this.tables.delete(nameOf(object))) throw new Refused(errno.ENOENT);
        break;
      case "chain":
        this.#table(ref).deleteChain(object.name);
        break;
      case "rule":
        this.#table(ref).deleteRule(object.chain, object.handle);
        break;
      case "set":
      case "map":
        this.#table(ref).deleteSet(object.name);
        break;
      case "counter":
        this.#table(ref).deleteCounter(object.name);
        break;
    }
  }

  #flush(object: Flushable, ref: TableRef): void {
    const table = this.#table(ref);
    if (object.kind === "table") for (const name of table.chains.keys()) table.flushChain(name);
    else if (object.kind === "chain") table.flushChain(object.name);
    else table.flushSet(object.name);
  }

  /** A table to change: a copy, made at the first change. */
  #table(ref: TableRef): FakeTable {
    const name = nameOf(ref);
    const table = this.tables.get(name);
    if (table === undefined) throw new Refused(errno.ENOENT);
    if (this.#copied.has(name)) return table;
    const copy = table.copy(this.#validating);
    this.tables.set(name, copy);
    this.#copied.add(name);
    return copy;
  }
}
