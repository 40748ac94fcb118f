/**
 * Random transactions for the kernel and the fake alike: both take or refuse each of them, for the same reason and at the
 * same operation, and hold the same afterwards. A failure names its seed and round.
 */
import { expect } from "bun:test";
import { FakeNftables } from "../../src/linux/fake/nftables.ts";
import {
  accept,
  comment,
  counter,
  ip,
  is,
  isIn,
  jump,
  masquerade,
  rule,
  type Statement,
  th,
  vmap,
} from "../../src/linux/nftables/expr.ts";
import {
  type Chain,
  type Element,
  type NftablesApi,
  type NftMap,
  type NftSet,
  type Rule,
  Transaction,
} from "../../src/linux/nftables/index.ts";
import { NftNamespace } from "../kernel/nft-fixture.ts";
import { needs, testWith } from "../lib/needs.ts";
import { outcomeOf, ref, stable } from "./nftables.ts";

const kernelTest = testWith(needs.root, needs.kernel("nftables"));
const ROUNDS = 300;

/** Numbers that are the same for the same seed (xorshift32). */
class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  below(limit: number): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return (this.#state >>> 0) % limit;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }
}

const plainSet: NftSet = { kind: "set", name: "s", key: "ipv4_addr" };
const ranges: NftSet = { kind: "set", name: "r", key: "ipv4_addr", flags: ["interval"] };
const areas: NftSet = { kind: "set", name: "a", key: ["ipv4_addr", "inet_service"], flags: ["interval"] };
const values: NftMap = { kind: "map", name: "m", key: "ipv4_addr", data: "inet_service" };
const verdicts: NftMap = { kind: "map", name: "v", key: "inet_service", data: "verdict" };
const sets = [plainSet, ranges, areas, values, verdicts] as const;
const chains = ["c0", "c1", "c2", "c3"] as const;
const bases: readonly Chain[] = [
  { kind: "chain", name: "in", type: "filter", hook: "input", priority: 0, policy: "accept" },
  { kind: "chain", name: "post", type: "nat", hook: "postrouting", priority: 100, policy: "accept" },
];

const chainOf = (dice: Dice): Chain =>
  dice.below(4) === 0 ? dice.pick(bases) : { kind: "chain", name: dice.pick(chains) };

function elementOf(dice: Dice, set: NftSet | NftMap): Element {
  const low = dice.below(24);
  const high = low + dice.below(6);
  switch (set.name) {
    case "s":
      return { key: `192.0.2.${low}` };
    case "r":
      return { key: rangeOf(4 + (low & ~3), dice.below(3)) };
    case "a":
      return { key: [`192.0.2.${low}-192.0.2.${high}`, `${dice.below(4)}-${4 + dice.below(4)}`] };
    case "m":
      return { key: `192.0.2.${low}`, data: dice.below(3) };
    default:
      return { key: low, data: dice.below(3) === 0 ? { verdict: "drop" } : verdictOf(dice) };
  }
}

/** Some that overlap, touch or enclose others. None ends where another does, which the kernel does not always notice. */
function rangeOf(block: number, shape: number): string {
  const [from, to] = [
    [block, block + 2],
    [block - 1, block + 3],
    [block + 1, block + 1],
  ][shape] as [number, number];
  return from === to ? `192.0.2.${from}` : `192.0.2.${from}-192.0.2.${to}`;
}

const verdictOf = (dice: Dice) => ({ verdict: "goto", chain: dice.pick([...chains, "in", "none"]) }) as const;

function elementsOf(dice: Dice): { kind: "elements"; set: NftSet | NftMap; elements: Element[] } {
  const set = dice.pick(sets);
  // Ranges one at a time: those of one operation are looked at before the kernel sees them.
  const count = set === ranges ? 1 : 1 + dice.below(3);
  return { kind: "elements", set, elements: Array.from({ length: count }, () => elementOf(dice, set)) };
}

function ruleOf(dice: Dice): Rule {
  const statements: (() => Statement[])[] = [
    () => [counter, accept],
    () => [is(th.dport, dice.below(9)), comment(`rule ${dice.below(1000)}`)],
    () => [jump(dice.pick([...chains, "none"]))],
    () => [isIn(ip.saddr, dice.pick([plainSet, ranges])), accept],
    () => [isIn([ip.saddr, th.dport], areas)],
    () => [vmap(th.dport, verdicts)],
    () => [masquerade()],
  ];
  return rule("inet", chainOf(dice).name, ...dice.pick(statements)());
}

/** A step of a transaction; rules are chosen by their place, since handles may differ between the two sides. */
type Step = (tx: Transaction, rules: readonly Rule[]) => void;

function stepOf(dice: Dice): Step {
  const chain = chainOf(dice);
  const set = dice.pick(sets);
  const some = elementsOf(dice);
  const one = ruleOf(dice);
  const steps: Step[] = [
    (tx) => tx.add(chain),
    (tx) => tx.add(chain),
    (tx) => tx.create(chain),
    (tx) => tx.delete(chain),
    (tx) => tx.destroy(chain),
    (tx) => tx.flush(chain),
    (tx) => tx.add(set),
    (tx) => tx.add(set),
    (tx) => tx.create(set),
    (tx) => tx.delete(set),
    (tx) => tx.flush(set),
    (tx) => tx.add(some),
    (tx) => tx.add(some),
    (tx) => tx.add(some),
    (tx) => tx.create(some),
    (tx) => tx.delete(some),
    (tx) => tx.destroy(some),
    (tx) => tx.add(one),
    (tx) => tx.add(one),
    (tx) => tx.insert(one),
  ];
  return dice.pick(steps);
}

/** A step with a rule that is there, alone in its transaction: the kernel still knows rules that it flushed just before. */
function handleStepOf(dice: Dice): Step {
  const place = dice.below(1000);
  const existing = (rules: readonly Rule[]) => rules[place % Math.max(1, rules.length)];
  const one = ruleOf(dice);
  const steps: Step[] = [
    (tx, rules) => tx.add({ ...one, position: existing(rules)?.handle ?? 9999 }),
    (tx, rules) => tx.insert({ ...one, position: existing(rules)?.handle ?? 9999 }),
    (tx, rules) => tx.replace({ ...one, handle: existing(rules)?.handle ?? 9999 }),
    (tx, rules) => {
      const { chain, handle } = existing(rules) ?? one;
      tx.delete({ kind: "rule", chain, handle: handle ?? 9999 });
    },
  ];
  return dice.pick(steps);
}

function stepsOf(dice: Dice): Step[] {
  if (dice.below(5) === 0) return [handleStepOf(dice)];
  return Array.from({ length: 1 + dice.below(3) }, () => stepOf(dice));
}

function transactionFor(nft: NftablesApi, steps: readonly Step[]): Transaction {
  const { rules } = nft.dump(ref);
  const tx = new Transaction(ref);
  for (const step of steps) step(tx, rules);
  return tx;
}

const compare = (seed: number) => {
  using namespace = new NftNamespace();
  const dice = new Dice(seed);
  const [kernel, fake] = [namespace.nft, new FakeNftables()];
  for (const side of [kernel, fake]) side.apply(new Transaction(ref).add({ kind: "table", ...ref }));
  const outcomes = new Map<string, number>();
  for (let round = 0; round < ROUNDS; round++) {
    const steps = stepsOf(dice);
    const transaction = transactionFor(kernel, steps);
    const outcome = outcomeOf(kernel, transaction);
    const what = { seed, round, operations: transaction.operations };
    expect({ ...what, outcome: outcomeOf(fake, transactionFor(fake, steps)) }).toEqual({ ...what, outcome });
    expect({ ...what, dump: stable(fake.dump(ref)) }).toEqual({ ...what, dump: stable(kernel.dump(ref)) });
    outcomes.set(outcome.replace(/@.*/, ""), (outcomes.get(outcome.replace(/@.*/, "")) ?? 0) + 1);
  }
  // Enough was taken and enough refused for the comparison to mean something.
  expect(outcomes.get("ok") ?? 0).toBeGreaterThan(ROUNDS / 10);
  expect(outcomes.size).toBeGreaterThan(3);
};

kernelTest.each([1, 2])("random transactions, seed %d", compare, 30_000);
