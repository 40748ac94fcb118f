import { errno } from "../errno.ts";
import { canonicalExpressions } from "../nftables/compare.ts";
import type { Expression } from "../nftables/expressions.ts";
import type {
  Chain,
  Counter,
  NftMap,
  NftSet,
  Rule,
  Ruleset,
  SetBase,
  Table,
  Verdict,
} from "../nftables/model.ts";
import { FakeElements, Refused } from "./nftables-elements.ts";
import { validateTable, verdictsOf } from "./nftables-validate.ts";

export interface FakeChain {
  chain: Chain;
  rules: Rule[];
}

export interface FakeSet {
  set: NftSet | NftMap;
  elements: FakeElements;
}

/** One table: what is in it, and what may be done to it. All methods throw {@link Refused} with the kernel's errno. */
export class FakeTable {
  table: Table;
  readonly chains: Map<string, FakeChain>;
  readonly sets: Map<string, FakeSet>;
  readonly counters: Map<string, Counter>;
  /** Follow the jumps after each rule and verdict, to find the one that leads astray. */
  readonly #validating: boolean;
  #handles: number;

  constructor(table: Table, validating: boolean, from?: FakeTable) {
    this.table = table;
    this.#validating = validating;
    this.chains = new Map(
      from && [...from.chains].map(([name, { chain, rules }]) => [name, { chain, rules: [...rules] }]),
    );
    this.sets = new Map(
      from && [...from.sets].map(([name, { set, elements }]) => [name, { set, elements: elements.copy() }]),
    );
    this.counters = new Map(from?.counters);
    this.#handles = from === undefined ? 0 : from.#handles;
  }

  copy(validating: boolean): FakeTable {
    return new FakeTable(this.table, validating, this);
  }

  /** Throws where a jump leads where it must not. */
  validate(): void {
    validateTable(this);
  }

  #validateNow(): void {
    if (this.#validating) validateTable(this);
  }

  #handle(): number {
    this.#handles += 1;
    return this.#handles;
  }

  addChain(chain: Chain, exclusive: boolean): void {
    const old = this.chains.get(chain.name);
    if (old === undefined) {
      if (chain.hook === undefined && chain.policy !== undefined) throw new Refused(errno.EOPNOTSUPP);
      checkBase(chain);
      const { table, ...rest } = chain;
      const policy = chain.hook === undefined ? {} : { policy: chain.policy ?? "accept" };
      this.chains.set(chain.name, { chain: { ...rest, ...policy, handle: this.#handle() }, rules: [] });
      return;
    }
    if (exclusive) throw new Refused(errno.EEXIST);
    old.chain = updatedChain(old.chain, chain);
  }

  deleteChain(name: string): void {
    this.#chain(name);
    // The chain's own rules count: one that jumps to itself keeps it, too (nf_tables_delchain).
    const jumps = [
      ...this.#rules().flatMap(verdictsOf),
      ...[...this.sets.values()].flatMap(({ elements }) => elements.verdicts()),
    ];
    if (jumps.some(({ chain }) => chain === name)) throw new Refused(errno.EBUSY);
    this.chains.delete(name);
  }

  /** Adds a rule at the end, or after its position; inserts it at the start, or before its position. */
  addRule(rule: Rule, insert: boolean): number {
    const { rules } = this.#chain(rule.chain);
    const { position } = rule;
    const at =
      position === undefined ? (insert ? 0 : rules.length) : placeOf(rules, position) + (insert ? 0 : 1);
    const handle = this.#handle();
    rules.splice(at, 0, this.#checked(rule, handle));
    this.#validateNow();
    return handle;
  }

  replaceRule(rule: Rule): number {
    const { rules } = this.#chain(rule.chain);
    const at = placeOf(rules, rule.handle);
    const handle = this.#handle();
    rules.splice(at, 1, this.#checked(rule, handle));
    this.#validateNow();
    return handle;
  }

  deleteRule(chain: string, handle: number): void {
    const { rules } = this.#chain(chain);
    rules.splice(placeOf(rules, handle), 1);
  }

  flushChain(name: string): void {
    this.#chain(name).rules = [];
  }

  /** A rule as it is kept, where all that it refers to is there. */
  #checked(rule: Rule, handle: number): Rule {
    for (const expression of rule.expressions) this.#checkReferences(expression);
    return {
      kind: "rule",
      chain: rule.chain,
      expressions: canonicalExpressions(rule.expressions),
      ...(rule.comment !== undefined && { comment: rule.comment }),
      handle,
    };
  }

  #checkReferences(expression: Expression): void {
    for (const verdict of verdictsOf({ expressions: [expression] })) this.#checkVerdict(verdict);
    if (expression.name === "lookup") {
      const { set } = this.#set(expression.set ?? "");
      if (expression.register !== undefined && set.kind !== "map") throw new Refused(errno.EINVAL);
    } else if (expression.name === "dynset") {
      const { set } = this.#set(expression.set ?? "");
      if (set.flags?.includes("constant")) throw new Refused(errno.EBUSY);
      const timed = set.flags?.includes("timeout") ?? false;
      if (set.flags?.includes("interval")) throw new Refused(errno.EOPNOTSUPP);
      if ((expression.timeout ?? 0) !== 0 && !timed) throw new Refused(errno.EOPNOTSUPP);
    } else if (expression.name === "objref" && expression.object !== undefined) {
      if (!this.counters.has(expression.object)) throw new Refused(errno.ENOENT);
    }
  }

  #checkVerdict({ chain }: Verdict): void {
    if (chain === undefined) return;
    if (this.#chain(chain).chain.hook !== undefined) throw new Refused(errno.EOPNOTSUPP);
  }

  addSet(set: NftSet | NftMap, exclusive: boolean): void {
    const old = this.sets.get(set.name);
    if (old === undefined) {
      const { table, elements, ...rest } = set;
      const made = canonicalSet({ ...rest, handle: this.#handle() } as NftSet | NftMap);
      this.sets.set(set.name, { set: made, elements: new FakeElements(made) });
    } else if (exclusive || signature(old.set) !== signature(set)) {
      throw new Refused(errno.EEXIST);
    }
  }

  deleteSet(name: string): void {
    this.#set(name);
    if (this.#isBound(name)) throw new Refused(errno.EBUSY);
    this.sets.delete(name);
  }

  #isBound(set: string): boolean {
    return this.#rules().some(({ expressions }) =>
      expressions.some((one) => (one.name === "lookup" || one.name === "dynset") && one.set === set),
    );
  }

  #rules(): Rule[] {
    return [...this.chains.values()].flatMap(({ rules }) => rules);
  }

  addElement(name: string, element: NonNullable<SetBase["elements"]>[number], exclusive: boolean): void {
    const { set, elements } = this.#set(name);
    if (set.flags?.includes("constant") && this.#isBound(name)) throw new Refused(errno.EBUSY);
    const { data } = element;
    if (data !== undefined && typeof data === "object" && "verdict" in data) this.#checkVerdict(data);
    elements.add(element, exclusive);
    if (set.kind === "map" && set.data === "verdict") this.#validateNow();
  }

  /** False where there is no such element. */
  deleteElement(name: string, element: NonNullable<SetBase["elements"]>[number]): boolean {
    const { set, elements } = this.#set(name);
    if (set.flags?.includes("constant") && this.#isBound(name)) throw new Refused(errno.EBUSY);
    return elements.delete(element);
  }

  flushSet(name: string): void {
    this.#set(name).elements.clear();
  }

  addCounter(counter: Counter, exclusive: boolean): void {
    if (this.counters.has(counter.name)) {
      if (exclusive) throw new Refused(errno.EEXIST);
      return;
    }
    const { table, ...rest } = counter;
    const zero = { packets: 0, bytes: 0 };
    this.counters.set(counter.name, { ...zero, ...rest, handle: this.#handle() });
  }

  deleteCounter(name: string): void {
    if (!this.counters.has(name)) throw new Refused(errno.ENOENT);
    const used = this.#rules().some(({ expressions }) =>
      expressions.some((one) => one.name === "objref" && one.object === name),
    );
    if (used) throw new Refused(errno.EBUSY);
    this.counters.delete(name);
  }

  #chain(name: string): FakeChain {
    const chain = this.chains.get(name);
    if (chain === undefined) throw new Refused(errno.ENOENT);
    return chain;
  }

  #set(name: string): FakeSet {
    const set = this.sets.get(name);
    if (set === undefined) throw new Refused(errno.ENOENT);
    return set;
  }

  dump(generation: number): Ruleset {
    return {
      generation,
      table: this.table,
      chains: [...this.chains.values()].map(({ chain }) => chain),
      sets: [...this.sets.values()].map(({ set, elements }) =>
        elements.size === 0 ? set : { ...set, elements: elements.list() },
      ),
      counters: [...this.counters.values()],
      rules: this.#rules(),
    };
  }
}

function placeOf(rules: readonly Rule[], handle: number | undefined): number {
  const at = rules.findIndex((rule) => rule.handle === handle);
  if (at < 0) throw new Refused(errno.ENOENT);
  return at;
}

/** Chains of type nat come to work in the hooks of translation, and not before connection tracking (priority -200). */
function checkBase({ type, hook, priority }: Chain): void {
  if (type === "nat" && (hook === "forward" || (priority ?? 0) <= -200)) throw new Refused(errno.EOPNOTSUPP);
  if (type === "route" && hook !== "output") throw new Refused(errno.EOPNOTSUPP);
}

function updatedChain(old: Chain, chain: Chain): Chain {
  if (chain.hook !== undefined && old.hook !== undefined) {
    if (chain.type !== old.type) throw new Refused(errno.EEXIST);
    if (chain.hook !== old.hook || chain.priority !== old.priority) throw new Refused(errno.EOPNOTSUPP);
  }
  if (old.hook === undefined && (chain.hook !== undefined || chain.policy !== undefined)) {
    throw new Refused(errno.EOPNOTSUPP);
  }
  return chain.policy === undefined ? old : { ...old, policy: chain.policy };
}

function canonicalSet<T extends NftSet | NftMap>(set: T): T {
  const { flags, autoMerge, policy, expressions, ...rest } = set;
  const order = ["constant", "interval", "timeout", "dynamic"] as const;
  return {
    ...rest,
    ...(flags !== undefined && flags.length > 0 && { flags: order.filter((flag) => flags.includes(flag)) }),
    ...(autoMerge === true && { autoMerge }),
    ...(policy === "memory" && { policy }),
    ...(expressions !== undefined &&
      expressions.length > 0 && { expressions: canonicalExpressions(expressions) }),
  } as unknown as T;
}

/** What the kernel compares when a set is added again. */
function signature(set: NftSet | NftMap): string {
  const flags = [...(set.flags ?? [])].sort();
  return JSON.stringify([set.kind, set.key, set.kind === "map" ? set.data : null, flags, set.policy ?? null]);
}
