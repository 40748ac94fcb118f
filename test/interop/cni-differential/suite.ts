/** Makes tests of tables of cases. */
import { afterAll, expect } from "bun:test";
import { type Need, needs, testWith } from "../../lib/needs.ts";
import type { Case, Family } from "./case.ts";
import { differences } from "./differences.ts";
import { explain, runCase, type Verdict } from "./run.ts";

/** How many cases run at once: most of a case's time the kernel waits. A guest's processor is one. */
const atOnce = (guest: boolean) => (guest ? 2 : 5);

/** Runs the cases of a family a few ahead of the tests that ask for them. */
class Ahead {
  readonly #family: Family;
  readonly #started: Promise<Verdict>[] = [];

  constructor(family: Family) {
    this.#family = family;
  }

  async verdict(index: number): Promise<Verdict> {
    const last = Math.min(index + atOnce(this.#family.guest === true), this.#family.cases.length);
    for (let i = index; i < last; i++) {
      this.#started[i] ??= runCase(this.#family.cases[i] as Case, this.#family.plugin);
      // Whoever asks for it gets the error.
      this.#started[i]?.catch(() => undefined);
    }
    return await (this.#started[index] as Promise<Verdict>);
  }

  async settle(): Promise<void> {
    await Promise.allSettled(this.#started);
  }
}

/** A test for each case, and one that no rule allows what nobody does any more. */
export function testFamilies(families: readonly Family[], guest: boolean, wanted: readonly Need[]): void {
  const used = new Set<string>();
  const all: Need[] = [...wanted];
  for (const family of families.filter((each) => (each.guest === true) === guest)) {
    const kernel = family.needs.map((feature) => needs.kernel(feature));
    all.push(...kernel);
    const test = testWith(...wanted, ...kernel);
    const ahead = new Ahead(family);
    afterAll(() => ahead.settle());
    test.each(family.cases.map(({ name }, i) => [name, i] as const))(
      `${family.plugin}: %s`,
      async (_, i) => {
        const verdict = await ahead.verdict(i);
        for (const name of verdict.used.keys()) used.add(name);
        expect(verdict.unlisted.map(explain)).toEqual([]);
      },
      120_000,
    );
  }
  testWith(...all)("every rule that allows a difference is needed", () => {
    const rules = differences.filter((rule) => (rule.guest === true) === guest).map(({ name }) => name);
    expect(rules.filter((name) => !used.has(name))).toEqual([]);
  });
}
