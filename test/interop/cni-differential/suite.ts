/** Makes tests of tables of cases. */
import { afterAll, expect } from "bun:test";
import { type Need, needs, testWith } from "../../lib/needs.ts";
import type { Case, Family } from "./case.ts";
import { differences } from "./differences.ts";
import { explain, runCase, type Verdict } from "./run.ts";

/** How many cases run at once: most of a case's time the kernel waits. */
const atOnce = 4;

/** Runs cases a few ahead of the tests that ask for them. */
class Ahead {
  readonly #cases: readonly [Case, Family][];
  readonly #started: Promise<Verdict>[] = [];

  constructor(cases: readonly [Case, Family][]) {
    this.#cases = cases;
  }

  async verdict(index: number): Promise<Verdict> {
    for (let i = index; i < Math.min(index + atOnce, this.#cases.length); i++) {
      const [given, { plugin }] = this.#cases[i] as [Case, Family];
      this.#started[i] ??= runCase(given, plugin);
      // Whoever asks for it gets the error.
      this.#started[i]?.catch(() => undefined);
    }
    return await (this.#started[index] as Promise<Verdict>);
  }

  async settle(): Promise<void> {
    await Promise.allSettled(this.#started);
  }
}

/** A test for each case, and one of the rules that allow differences. */
export function testFamilies(families: readonly Family[], wanted: readonly Need[]): void {
  const used = new Map<string, string>();
  for (const family of families) {
    const kernel = family.needs.map((feature) => needs.kernel(feature));
    const test = testWith(...wanted, ...kernel);
    const ahead = new Ahead(family.cases.map((given) => [given, family]));
    afterAll(() => ahead.settle());
    const rows = family.cases.map(({ name }, i) => [name, i] as const);
    test.each(rows)(
      `${family.plugin}: %s`,
      async (_, i) => {
        const verdict = await ahead.verdict(i);
        for (const [name, where] of verdict.used) used.set(name, where);
        expect(verdict.unlisted.map(explain)).toEqual([]);
      },
      60_000,
    );
  }
}
void differences;
